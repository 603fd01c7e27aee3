/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_cm.c - making and ending one connection.
 *
 *   resolve address -> (device) -> resolve route -> queue pair, INIT -> receive buffers -> connect -> answer:
 *   READY TO RECEIVE, READY TO SEND -> established
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/transport/rdma_conn.h"
#include "libleap/uffd/pinned.h"
#include "libleap/util/fd.h"
#include "libleap/util/sys.h"

#define REJECT_NO_LISTENER 8 /* the connection manager's "invalid service ID" */
#define RETRIES            7
#define RNR_RETRIES        7 /* for ever */
#define INLINE_BYTES       64

static void fd_nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static int left_ms(uint64_t end_ns)
{
	uint64_t now = run_clock_ns();

	return now < end_ns ? (int)((end_ns - now) / 1000000) + 1 : 0;
}

static int refused(const struct rdma_cm_event *event, const char *text)
{
	struct rdma_welcome w = {0};
	int code;

	if (event->status == REJECT_NO_LISTENER)
		return error_set(ECONNREFUSED,
				 "cannot connect to donor %s: connection refused; is leap-donor "
				 "running there and listening on this address with rdma://?",
				 text);
	if (event->param.conn.private_data && event->param.conn.private_data_len >= sizeof(w))
		memcpy(&w, event->param.conn.private_data, sizeof(w));
	rdma_welcome_order(&w);
	if (w.magic != PROTO_MAGIC || !w.status || w.status >= PROTO_STATUSES)
		return error_set(ECONNREFUSED,
				 "cannot connect to donor %s: what listens there refuses (reason "
				 "%d); is it a leap-donor of this version?",
				 text, event->status);
	code = -proto_status_errno(w.status);
	if (w.status == PROTO_VERSION_MISMATCH)
		return error_set(code,
				 "donor %s speaks protocol version %u, this is version %u; use the "
				 "same release on both sides",
				 text, w.version, PROTO_VERSION);
	return error_set(code, "donor %s refused the connection: %s", text,
			 w.status == PROTO_BAD_TOKEN ? "there is no session with this token"
			 : w.status == PROTO_BUSY    ? "too many connections"
						     : "it could not make it");
}

static int unexpected(const struct rdma_cm_event *event, const char *text)
{
	switch (event->event) {
	case RDMA_CM_EVENT_REJECTED:
		return refused(event, text);
	case RDMA_CM_EVENT_ADDR_ERROR:
		if (event->status == -ENODEV)
			return error_set(
				ENODEV,
				"cannot connect to donor %s: no RDMA device of this machine "
				"leads there; 'rdma link' lists them; or use tcp://",
				text);
		return error_set(ENETUNREACH,
				 "cannot connect to donor %s: its address cannot be resolved over "
				 "RDMA (errno %d); check the address and the network",
				 text, -event->status);
	case RDMA_CM_EVENT_ROUTE_ERROR:
		return error_set(
			ENETUNREACH,
			"cannot connect to donor %s: there is no RDMA route to it (errno %d)", text,
			-event->status);
	case RDMA_CM_EVENT_UNREACHABLE:
		return error_set(
			event->status == -ETIMEDOUT ? ETIMEDOUT : EHOSTUNREACH,
			"cannot connect to donor %s: no answer; check the address, the "
			"firewall (RoCE is UDP port 4791) and that leap-donor listens there "
			"with rdma://",
			text);
	default:
		return error_set(EPIPE, "donor %s: the connection broke while it was made (%d)",
				 text, (int)event->event);
	}
}

/* Waits for the event that must come next. It is acknowledged by the caller when it is 0. */
static int wait_event(struct rdma_link *link, enum rdma_cm_event_type want, uint64_t end_ns,
		      const char *text, struct rdma_cm_event **ret_event)
{
	struct pollfd p = {.fd = link->events->fd, .events = POLLIN};
	struct rdma_cm_event *event;
	int r;

	while (RDMA(rdma_get_cm_event)(link->events, &event)) {
		if (errno != EAGAIN && errno != EINTR)
			return error_set(EPIPE,
					 "donor %s: the connection manager failed (errno %d)", text,
					 errno);
		if (!left_ms(end_ns))
			return error_set(ETIMEDOUT,
					 "cannot connect to donor %s: no answer within the "
					 "deadline; check the address and the firewall",
					 text);
		poll(&p, 1,
		     left_ms(end_ns) < RUN_CLOCK_SLICE_MS ? left_ms(end_ns) : RUN_CLOCK_SLICE_MS);
	}
	if (event->event == want) {
		*ret_event = event;
		return 0;
	}
	r = unexpected(event, text);
	RDMA(rdma_ack_cm_event)(event);
	return r;
}

static int step(struct rdma_link *link, enum rdma_cm_event_type want, uint64_t end_ns,
		const char *text)
{
	struct rdma_cm_event *event = NULL; /* stays so when it fails */
	int r = wait_event(link, want, end_ns, text, &event);

	if (event)
		RDMA(rdma_ack_cm_event)(event);
	return r;
}

static int call_failed(const char *what, const char *text)
{
	int code = errno ? errno : EIO;

	if (code == ENOMEM)
		return error_set(code,
				 "donor %s: %s failed: out of memory; the limit on locked memory "
				 "(ulimit -l) may be too low",
				 text, what);
	if (code == ENODEV)
		return error_set(code,
				 "cannot connect to donor %s: no RDMA device of this machine leads "
				 "there; 'rdma link' lists them; or use tcp://",
				 text);
	return error_set(code, "cannot connect to donor %s: %s failed (errno %d)", text, what,
			 code);
}

static int link_resolve(struct rdma_link *link, struct port *port, uint64_t end_ns)
{
	int r;

	link->events = RDMA(rdma_create_event_channel)();
	if (!link->events)
		return error_set(
			errno ? errno : ENODEV,
			"donor %s: this machine has no RDMA (errno %d): no device, or the kernel module "
			"rdma_ucm is not loaded, or /dev/infiniband/rdma_cm is not accessible; "
			"or use tcp://",
			port->text, errno);
	link->events->fd = fd_own(link->events->fd);
	fd_nonblock(link->events->fd);
	if (RDMA(rdma_create_id)(link->events, &link->id, link, RDMA_PS_TCP))
		return call_failed("rdma_create_id", port->text);
	if (RDMA(rdma_resolve_addr)(
		    link->id, port->source.ss_family ? (struct sockaddr *)&port->source : NULL,
		    (struct sockaddr *)&port->sa, left_ms(end_ns)))
		return call_failed("rdma_resolve_addr", port->text);
	r = step(link, RDMA_CM_EVENT_ADDR_RESOLVED, end_ns, port->text);
	if (r)
		return r;
	if (!rdma_wish_is(&port->wish, link->id))
		return rdma_wish_failed(&port->wish, port->text);
	if (!port->device.verbs) {
		r = rdma_device_open(&port->device, link->id, port->text);
		if (r)
			return r;
	} else if (strcmp(link->id->verbs->device->name, port->device.verbs->device->name)) {
		return error_set(ENODEV,
				 "donor %s: its address moved from one RDMA device to another",
				 port->text);
	}
	if (RDMA(rdma_resolve_route)(link->id, left_ms(end_ns)))
		return call_failed("rdma_resolve_route", port->text);
	return step(link, RDMA_CM_EVENT_ROUTE_RESOLVED, end_ns, port->text);
}

/* Attributes by the connection manager. */
static int link_modify(struct rdma_link *link, enum ibv_qp_state state, uint32_t reads_max)
{
	struct ibv_qp_attr attr;
	int mask = 0;

	memset(&attr, 0, sizeof(attr));
	attr.qp_state = state;
	if (RDMA(rdma_init_qp_attr)(link->id, &attr, &mask))
		return errno ? -errno : -EIO;
	/* for the donor's sign of life, a WRITE of no bytes; no memory of ours is open to it */
	if (state == IBV_QPS_INIT)
		attr.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
	if (state == IBV_QPS_RTS) {
		if (attr.max_rd_atomic > reads_max)
			attr.max_rd_atomic = (uint8_t)reads_max;
		link->reads_max = attr.max_rd_atomic;
	}
	return -RDMA(ibv_modify_qp)(link->qp, &attr, mask);
}

static int create_queues(struct rdma_link *link, struct port *port, uint32_t sends, uint32_t recvs)
{
	struct ibv_qp_init_attr init = {.qp_type = IBV_QPT_RC, .sq_sig_all = 0};
	struct ibv_context *verbs = port->device.verbs;

	link->cq = RDMA(ibv_create_cq)(verbs, (int)(sends + recvs) + 1, link, link->comp, 0);
	if (!link->cq)
		return call_failed("ibv_create_cq", port->text);
	init.send_cq = init.recv_cq = link->cq;
	init.cap.max_send_wr = sends;
	init.cap.max_recv_wr = recvs ? recvs : 1;
	init.cap.max_send_sge = init.cap.max_recv_sge = 1;
	init.cap.max_inline_data = recvs ? INLINE_BYTES : 0;
	link->qp = RDMA(ibv_create_qp)(port->device.pd, &init);
	if (!link->qp)
		return call_failed("ibv_create_qp", port->text);
	link->inline_max = init.cap.max_inline_data;
	return 0;
}

static int link_queues(struct rdma_link *link, struct port *port, uint32_t sends, uint32_t recvs)
{
	long before;
	int r;

	link->comp = RDMA(ibv_create_comp_channel)(port->device.verbs);
	if (!link->comp)
		return call_failed("ibv_create_comp_channel", port->text);
	link->comp->fd = fd_own(link->comp->fd);
	fd_nonblock(link->comp->fd);
	before = pinned_own_begin();
	r = create_queues(link, port, sends, recvs);
	link->pinned = pinned_own_end_counted(before);
	if (r)
		return r;
	r = link_modify(link, IBV_QPS_INIT, 0);
	if (r) {
		errno = -r;
		return call_failed("INIT of the queue pair", port->text);
	}
	return 0;
}

static int link_connect(struct rdma_link *link, struct port *port, struct rdma_hello hello,
			uint64_t end_ns)
{
	uint32_t reads =
		port->device.reads_max < RDMA_READS_MAX ? port->device.reads_max : RDMA_READS_MAX;
	struct rdma_conn_param param = {.initiator_depth = (uint8_t)reads,
					.responder_resources = 1,
					.retry_count = RETRIES,
					.rnr_retry_count = RNR_RETRIES,
					.private_data = &hello,
					.private_data_len = sizeof(hello),
					.qp_num = link->qp->qp_num};
	struct rdma_cm_event *event = NULL; /* stays so when it fails */
	int r;

	rdma_hello_order(&hello);
	if (RDMA(rdma_connect)(link->id, &param))
		return call_failed("rdma_connect", port->text);
	r = wait_event(link, RDMA_CM_EVENT_CONNECT_RESPONSE, end_ns, port->text, &event);
	if (!event)
		return r;
	if (event->param.conn.initiator_depth < reads)
		reads = event->param.conn.initiator_depth;
	RDMA(rdma_ack_cm_event)(event);
	r = link_modify(link, IBV_QPS_RTR, 0);
	if (!r)
		r = link_modify(link, IBV_QPS_RTS, reads ? reads : 1);
	if (r) {
		errno = -r;
		return call_failed("starting the queue pair", port->text);
	}
	if (!link->reads_max)
		return error_set(EPROTO, "donor %s allows no RDMA reads; is it a leap-donor?",
				 port->text);
	if (RDMA(rdma_establish)(link->id))
		return call_failed("rdma_establish", port->text);
	return 0;
}

int rdma_link_open(struct rdma_link *link, struct port *port, struct rdma_hello hello,
		   uint32_t sends, uint32_t recvs, int (*prepare)(struct port *port),
		   uint64_t end_ns)
{
	int r;

	memset(link, 0, sizeof(*link));
	hello.magic = PROTO_MAGIC;
	hello.version = PROTO_VERSION;
	r = link_resolve(link, port, end_ns);
	if (!r)
		r = link_queues(link, port, sends, recvs);
	if (!r && prepare)
		r = prepare(port);
	if (!r)
		r = link_connect(link, port, hello, end_ns);
	if (r)
		rdma_link_close(link);
	return r;
}

/* Takes what is left in the channel of the completion queue, which waits for that. */
static void drain_completions(struct rdma_link *link)
{
	struct ibv_cq *cq;
	void *context;

	while (!RDMA(ibv_get_cq_event)(link->comp, &cq, &context))
		RDMA(ibv_ack_cq_events)(cq, 1);
}

void rdma_link_close(struct rdma_link *link)
{
	if (link->qp)
		RDMA(rdma_disconnect)(link->id);
	pinned_own_begin();
	if (link->qp)
		RDMA(ibv_destroy_qp)(link->qp);
	if (link->cq) {
		drain_completions(link);
		RDMA(ibv_destroy_cq)(link->cq);
	}
	pinned_own_end(-link->pinned);
	if (link->comp) {
		fd_disown(link->comp->fd);
		RDMA(ibv_destroy_comp_channel)(link->comp);
	}
	if (link->id)
		RDMA(rdma_destroy_id)(link->id);
	if (link->events) {
		fd_disown(link->events->fd);
		RDMA(rdma_destroy_event_channel)(link->events);
	}
	memset(link, 0, sizeof(*link));
}

void rdma_link_forget(struct rdma_link *link)
{
	if (link->comp)
		fd_close(link->comp->fd);
	if (link->events)
		fd_close(link->events->fd);
	memset(link, 0, sizeof(*link));
}

int rdma_link_events(struct rdma_link *link)
{
	struct rdma_cm_event *event;
	int r = 0;

	while (!RDMA(rdma_get_cm_event)(link->events, &event)) {
		log_debug("rdma connection event %d, status %d", (int)event->event, event->status);
		switch (event->event) {
		case RDMA_CM_EVENT_DISCONNECTED:
		case RDMA_CM_EVENT_DEVICE_REMOVAL:
		case RDMA_CM_EVENT_CONNECT_ERROR:
		case RDMA_CM_EVENT_REJECTED:
			r = -EPIPE;
			break;
		default:
			break;
		}
		RDMA(rdma_ack_cm_event)(event);
	}
	return r;
}
