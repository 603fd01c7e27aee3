/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_rdma.c - the connections of RDMA clients, all on the main thread.
 *
 *   CONNECT_REQUEST kind CONTROL/CLONE -> peer: protection domain, queue pair, socket pair to a worker -> accept
 *   CONNECT_REQUEST kind of a lane     -> queue pair in the domain of the peer with that token -> accept
 *   message arrived                    -> written to the socket; bytes on the socket -> one SEND for each message
 *   socket closed (session ended)      -> what is queued is sent, then the peer ends
 *   DISCONNECTED, device error         -> a lane ends, or the peer with its socket, which ends the session
 *
 * An ended peer is let go of after the round, since the round's events may still name it.
 */
#define _GNU_SOURCE
#include "donor/serve_rdma.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "donor/rdma_peer.h"
#include "donor/report.h"
#include "donor/serve.h"
#include "libleap/util/sys.h"

#define BACKLOG       128
#define LANES_MAX     256
#define PROBES        4 /* within a client's timeout */
#define EVENTS        64
#define BUFFERS_BYTES ((size_t)(RDMA_RECVS + RDMA_SENDS) * RDMA_MESSAGE_BYTES)

/*
 * Connections
 */
static void reject(struct rdma_cm_id *id, enum proto_status status)
{
	struct rdma_welcome w = {
		.magic = PROTO_MAGIC, .version = PROTO_VERSION, .status = (uint16_t)status};

	rdma_welcome_order(&w);
	rdma_reject(id, &w, sizeof(w));
	rdma_destroy_id(id);
}

static int accept_end(struct rdma_end *end, uint32_t reads)
{
	struct rdma_welcome w = {.magic = PROTO_MAGIC, .version = PROTO_VERSION};
	struct rdma_conn_param param = {.responder_resources = (uint8_t)reads,
					.initiator_depth = 1,
					.rnr_retry_count = 7,
					.private_data = &w,
					.private_data_len = sizeof(w)};

	rdma_welcome_order(&w);
	return rdma_accept(end->id, &param) ? -errno : 0;
}

static int end_queues(struct rdma_end *end, uint32_t sends, uint32_t recvs)
{
	struct ibv_qp_init_attr init = {.qp_context = end,
					.qp_type = IBV_QPT_RC,
					.send_cq = end->peer->cq,
					.recv_cq = end->peer->cq,
					.cap = {.max_send_wr = sends,
						.max_recv_wr = recvs,
						.max_send_sge = 1,
						.max_recv_sge = 1}};

	end->id->context = end;
	return rdma_create_qp(end->id, end->peer->pd, &init) ? -errno : 0;
}

static void peer_describe(struct rdma_peer *p, struct rdma_cm_id *id)
{
	char host[64] = "?", port[8] = "?";
	struct ibv_port_attr attr;
	struct sockaddr *sa = rdma_get_peer_addr(id);

	getnameinfo(sa,
		    sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					      : sizeof(struct sockaddr_in),
		    host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(p->name, sizeof(p->name), strchr(host, ':') ? "rdma://[%s]:%s" : "rdma://%s:%s",
		 host, port);
	p->port_num = id->port_num;
	if (!ibv_query_port(id->verbs, id->port_num, &attr))
		p->mtu = 128u << attr.active_mtu;
}

static int peer_build(struct rdma_peer *p, struct rdma_cm_id *id)
{
	int r;

	p->pd = ibv_alloc_pd(id->verbs);
	p->cq = ibv_create_cq(id->verbs, RDMA_RECVS + RDMA_SENDS + 2, p, p->host->comp, 0);
	if (!p->pd || !p->cq || posix_memalign((void **)&p->buffers, 4096, BUFFERS_BYTES))
		return -ENOMEM;
	p->buffers_mr = ibv_reg_mr(p->pd, p->buffers, BUFFERS_BYTES, IBV_ACCESS_LOCAL_WRITE);
	if (!p->buffers_mr || ibv_req_notify_cq(p->cq, 0))
		return -ENOMEM;
	r = end_queues(&p->control, RDMA_SENDS + 1, RDMA_RECVS);
	for (uint32_t i = 0; i < RDMA_RECVS && !r; i++)
		r = -rdma_peer_post_recv(p, i);
	return r;
}

/* The worker's end of the socket pair; holds the second reference. */
static int peer_adopt(struct rdma_server *s, struct rdma_peer *p)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds))
		return -errno;
	p->fd = fds[0];
	atomic_store(&p->refs, 2);
	worker_adopt(s->donor, fds[1], FROM_STRANGER, false, p->name, p);
	return rdma_watch(s, EPOLL_CTL_ADD, p->fd, EPOLLIN, p);
}

static void connect_control(struct rdma_server *s, struct rdma_cm_id *id, uint32_t reads)
{
	struct rdma_host *h = rdma_host_get(s, id->verbs);
	struct rdma_peer *p = h ? calloc(1, sizeof(*p)) : NULL;
	int r;

	if (!p) {
		reject(id, PROTO_IO);
		return;
	}
	pthread_mutex_init(&p->lock, NULL);
	atomic_store(&p->refs, 1);
	p->server = s;
	p->host = h;
	p->fd = -1;
	p->probed_ns = clock_ns();
	p->control.peer = p;
	p->control.id = id;
	p->reads = reads < h->reads_max ? reads : h->reads_max;
	peer_describe(p, id);
	r = peer_build(p, id);
	if (r) {
		report_warn("no connection for %s: %s; is the limit on locked memory (ulimit -l) "
			    "too low?",
			    p->name, strerror(-r));
		goto fail_reject;
	}
	p->next = s->peers;
	if (p->next)
		p->next->prev = p;
	s->peers = p;
	s->npeers++;
	r = peer_adopt(s, p);
	if (!r)
		r = accept_end(&p->control, p->reads);
	if (r)
		rdma_peer_drop(p, strerror(-r));
	return;
fail_reject:
	if (id->qp)
		rdma_destroy_qp(id);
	p->control.id = NULL;
	rdma_peer_release(p);
	rdma_peer_put(p);
	reject(id, PROTO_IO);
}

/* The peer whose session has this token. */
static struct rdma_peer *peer_find(struct rdma_server *s, const uint8_t *token)
{
	for (struct rdma_peer *p = s->peers; p; p = p->next) {
		unsigned diff = 0;
		bool named;

		pthread_mutex_lock(&p->lock);
		for (int i = 0; i < PROTO_TOKEN_BYTES; i++)
			diff |= token[i] ^ p->token[i];
		named = p->named && !p->left;
		pthread_mutex_unlock(&p->lock);
		if (named && !diff)
			return p;
	}
	return NULL;
}

static void connect_lane(struct rdma_server *s, struct rdma_cm_id *id, const uint8_t *token,
			 uint32_t reads)
{
	struct rdma_peer *p = peer_find(s, token);
	struct rdma_end *end;
	int r;

	if (!p || p->host->verbs != id->verbs) {
		reject(id, PROTO_BAD_TOKEN);
		return;
	}
	end = atomic_load(&p->nlanes) < LANES_MAX ? calloc(1, sizeof(*end)) : NULL;
	if (!end) {
		reject(id, PROTO_BUSY);
		return;
	}
	end->peer = p;
	end->id = id;
	end->lane = true;
	r = end_queues(end, 1, 1);
	if (r) {
		report_warn("no lane for %s: %s", p->name, strerror(-r));
		free(end);
		reject(id, PROTO_IO);
		return;
	}
	end->next = p->lanes;
	if (end->next)
		end->next->prev = end;
	p->lanes = end;
	if (atomic_fetch_add(&p->nlanes, 1) == atomic_load(&p->nlanes_most))
		atomic_fetch_add(&p->nlanes_most, 1);
	r = accept_end(end, reads < p->host->reads_max ? reads : p->host->reads_max);
	if (r) {
		report_warn("no lane for %s: %s", p->name, strerror(-r));
		rdma_lane_end(end);
	}
}

static void connect_request(struct rdma_server *s, struct rdma_cm_id *id,
			    const struct rdma_hello *hello, uint32_t reads)
{
	if (hello->magic != PROTO_MAGIC || hello->kind >= PROTO_KINDS)
		reject(id, PROTO_IO);
	else if (hello->version != PROTO_VERSION)
		reject(id, PROTO_VERSION_MISMATCH);
	else if (hello->auth_length)
		reject(id, PROTO_AUTH);
	else if (proto_kind_is_lane(hello->kind))
		connect_lane(s, id, hello->token, reads);
	else if (s->npeers >= atomic_load(&s->donor->sessions.clients_max) + BACKLOG)
		reject(id, PROTO_BUSY);
	else
		connect_control(s, id, reads);
}

/* A connection that was ours has ended. */
static void end_gone(struct rdma_end *end)
{
	if (!end || end->peer->ended)
		return;
	if (end->lane)
		rdma_lane_end(end);
	else
		rdma_peer_end(end->peer);
}

static void server_event(struct rdma_server *s)
{
	struct rdma_cm_event *event;
	struct rdma_hello hello;
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	uint32_t reads;

	while (!rdma_get_cm_event(s->channel, &event)) {
		type = event->event;
		id = event->id;
		reads = event->param.conn.responder_resources;
		memset(&hello, 0, sizeof(hello));
		if (type == RDMA_CM_EVENT_CONNECT_REQUEST && event->param.conn.private_data &&
		    event->param.conn.private_data_len >= sizeof(hello))
			memcpy(&hello, event->param.conn.private_data, sizeof(hello));
		rdma_hello_order(&hello);
		rdma_ack_cm_event(event);
		switch (type) {
		case RDMA_CM_EVENT_CONNECT_REQUEST:
			connect_request(s, id, &hello, reads);
			break;
		case RDMA_CM_EVENT_DISCONNECTED:
		case RDMA_CM_EVENT_CONNECT_ERROR:
		case RDMA_CM_EVENT_UNREACHABLE:
		case RDMA_CM_EVENT_REJECTED:
			end_gone(id->context);
			break;
		case RDMA_CM_EVENT_DEVICE_REMOVAL:
			if (id == s->id)
				report_error("the RDMA device that clients come by was removed: "
					     "restart leap-donor when it is back");
			else
				end_gone(id->context);
			break;
		default:
			break;
		}
	}
}

/*
 * Time
 */
/* A write of nothing, answered by the device: a program that is stopped is alive, a machine that is gone is not. */
static void peer_probe(struct rdma_peer *p, uint64_t now_ns)
{
	uint64_t every = p->server->donor->options.client_timeout_ns / PROBES;
	struct ibv_send_wr wr = {.wr_id = RDMA_WR_PROBE,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED};
	struct ibv_send_wr *bad;

	if (p->probing || now_ns - p->probed_ns < every)
		return;
	p->probed_ns = now_ns;
	p->probing = !ibv_post_send(p->control.id->qp, &wr, &bad);
}

/* Did the device refuse it something? Not all devices tell by an event. */
static bool end_broken(struct rdma_end *end)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	if (!end->id->qp || ibv_query_qp(end->id->qp, &attr, IBV_QP_STATE, &init))
		return false;
	return attr.qp_state == IBV_QPS_ERR;
}

void serve_rdma_tick(struct listener *listener, uint64_t now_ns)
{
	struct rdma_server *s = listener->rdma;

	for (struct rdma_peer *p = s->peers, *next; p; p = next) {
		bool broken = false;

		next = p->next;
		for (struct rdma_end *l = p->lanes; l && !broken; l = l->next)
			broken = end_broken(l);
		if (broken)
			rdma_peer_drop(p, "the device refused it an address or key, or broke the "
					  "connection");
		else if (!p->closing)
			peer_probe(p, now_ns);
	}
	serve_rdma_run(listener);
}

void serve_rdma_report(struct listener *listener)
{
	for (struct rdma_peer *p = listener->rdma->peers; p; p = p->next)
		rdma_peer_report(p);
}

static void bury(struct rdma_server *s)
{
	struct rdma_peer *p;

	while ((p = s->ended)) {
		s->ended = p->next;
		rdma_peer_put(p);
	}
}

void serve_rdma_run(struct listener *listener)
{
	struct rdma_server *s = listener->rdma;
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(s->epoll_fd, ev, EVENTS, 0);
	bool device = false;

	for (int i = 0; i < n; i++) {
		struct rdma_peer *p = ev[i].data.ptr;

		if (ev[i].data.ptr == s)
			device = true;
		else if (!p->ended)
			rdma_peer_pump(p);
	}
	if (device) {
		for (struct rdma_host *h = s->hosts; h; h = h->next) {
			rdma_host_completions(h);
			rdma_host_events(s, h);
		}
		server_event(s);
	}
	bury(s);
}

/*
 * Listening
 */
static int listen_fail(const struct listen_address *a, int code, char *error, size_t size)
{
	const char *remedy = "check the address";

	if (code == EADDRINUSE)
		remedy = "another program (perhaps another leap-donor) listens there: stop it or "
			 "choose another port";
	else if (code == ENODEV || code == EADDRNOTAVAIL)
		remedy = "no RDMA device of this machine has that address: 'rdma link' lists the "
			 "devices; for soft-RoCE: rdma link add rxe0 type rxe netdev eth0; or "
			 "listen on tcp://";
	else if (code == ENOENT)
		remedy = "the kernel module rdma_ucm is not loaded (modprobe rdma_ucm), or this "
			 "machine has no RDMA device: listen on tcp://";
	else if (code == EACCES || code == EPERM)
		remedy = "this user may not use /dev/infiniband/rdma_cm";
	snprintf(error, size, "cannot listen on rdma %s port %s: %s; %s", a->host, a->port,
		 strerror(code), remedy);
	return -code;
}

static int resolve(const struct listen_address *a, struct addrinfo **ret_ai)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};

	return getaddrinfo(a->host, a->port, &hints, ret_ai);
}

/* Binds; 0 or -errno. Addresses that mean all have no device of their own. */
static int server_bind(struct rdma_server *s, const struct addrinfo *ai)
{
	s->channel = rdma_create_event_channel();
	if (!s->channel)
		return errno ? -errno : -ENODEV;
	rdma_fd_nonblock(s->channel->fd);
	if (rdma_create_id(s->channel, &s->id, NULL, RDMA_PS_TCP) ||
	    rdma_bind_addr(s->id, ai->ai_addr))
		return errno ? -errno : -ENODEV;
	return 0;
}

static void server_free(struct rdma_server *s)
{
	if (s->id)
		rdma_destroy_id(s->id);
	if (s->channel)
		rdma_destroy_event_channel(s->channel);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	free(s);
}

bool serve_rdma_owns(const struct listen_address *a)
{
	struct rdma_server probe = {.epoll_fd = -1};
	struct addrinfo *ai;
	bool owns;

	if (resolve(a, &ai))
		return false;
	owns = !server_bind(&probe, ai) && probe.id && probe.id->verbs;
	freeaddrinfo(ai);
	if (probe.id)
		rdma_destroy_id(probe.id);
	if (probe.channel)
		rdma_destroy_event_channel(probe.channel);
	return owns;
}

static void listener_describe(const struct rdma_server *s, const struct listen_address *a,
			      struct listener *l)
{
	unsigned port = ntohs(rdma_get_src_port(s->id));
	struct ibv_port_attr attr;

	snprintf(l->text, sizeof(l->text), strchr(a->host, ':') ? "rdma://[%s]:%u" : "rdma://%s:%u",
		 a->host, port);
	if (s->id->verbs && !ibv_query_port(s->id->verbs, s->id->port_num, &attr))
		report_info("%s: device %s port %u, MTU %u", l->text, s->id->verbs->device->name,
			    s->id->port_num, 128u << attr.active_mtu);
}

int serve_rdma_listen(struct donor *donor, const struct listen_address *a, struct listener *ret,
		      char *error, size_t size)
{
	struct rdma_server *s = calloc(1, sizeof(*s));
	struct addrinfo *ai;
	int r;

	if (!s)
		return listen_fail(a, ENOMEM, error, size);
	s->donor = donor;
	s->epoll_fd = -1;
	r = resolve(a, &ai);
	if (r) {
		snprintf(error, size,
			 "cannot listen on '%s': %s; give a numeric address or a name of this "
			 "machine",
			 a->host, gai_strerror(r));
		free(s);
		return -EINVAL;
	}
	r = server_bind(s, ai);
	freeaddrinfo(ai);
	if (!r && rdma_listen(s->id, BACKLOG))
		r = -errno;
	if (!r) {
		s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		r = s->epoll_fd < 0 ? -errno
				    : rdma_watch(s, EPOLL_CTL_ADD, s->channel->fd, EPOLLIN, s);
	}
	if (r) {
		server_free(s);
		return listen_fail(a, -r, error, size);
	}
	memset(ret, 0, sizeof(*ret));
	ret->fd = s->epoll_fd;
	ret->rdma = s;
	listener_describe(s, a, ret);
	return 0;
}

void serve_rdma_close(struct listener *listener)
{
	struct rdma_server *s = listener->rdma;
	struct rdma_host *h;

	while (s->peers)
		rdma_peer_end(s->peers);
	bury(s);
	while ((h = s->hosts)) {
		s->hosts = h->next;
		ibv_destroy_comp_channel(h->comp);
		free(h);
	}
	server_free(s);
	listener->fd = -1;
	listener->rdma = NULL;
}
