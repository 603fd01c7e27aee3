/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - what a client may ask, validated (proto.h) and then executed.
 *
 * Validation knows only the message and the kind of connection; execution may rely on it. What is
 * well-formed but cannot be had is answered with a status; what is malformed ends the session.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "donor/conn.h"
#include "donor/metrics.h"
#include "donor/report.h"
#include "donor/serve.h"
#include "donor/serve_rdma.h"
#include "leap.h"

static const uint8_t zeroes[PROTO_IO_PAGES_MAX * PROTO_PAGE_BYTES];

static int broken(struct conn *c, const char *rule)
{
	c->why = rule;
	return -EPROTO;
}

static struct proto_head reply_to(const struct proto_head *request, enum proto_status status)
{
	struct proto_head head = proto_head_make(request->type, request->id, 0);

	head.status = (uint16_t)status;
	return head;
}

static void reply_info(struct conn *c, struct proto_head head, int fd, struct slab *slab)
{
	struct proto_info *info = (struct proto_info *)c->body;

	session_info(&c->worker->donor->sessions, c->session, info);
	proto_info_order(info);
	conn_reply(c, head, info, sizeof(*info), slab, fd);
}

static void reply_sentence(struct conn *c, struct proto_head head, const char *sentence)
{
	size_t length = strnlen(sentence, PROTO_SENTENCE_MAX);

	memmove(c->body, sentence, length);
	conn_reply(c, head, c->body, (uint32_t)length, NULL, -1);
}

/*
 * HELLO
 */
static enum proto_status hello_refuse(const struct proto_hello *hello, char *sentence)
{
	if (hello->version != PROTO_VERSION) {
		snprintf(sentence, PROTO_SENTENCE_MAX,
			 "client speaks version %u of the protocol, this donor "
			 "(Leap " LEAP_VERSION_STRING
			 ") version %u; use the same release on both sides",
			 hello->version, PROTO_VERSION);
		return PROTO_VERSION_MISMATCH;
	}
	if (hello->auth_length) {
		snprintf(sentence, PROTO_SENTENCE_MAX, "this donor knows no authentication");
		return PROTO_AUTH;
	}
	return PROTO_OK;
}

static enum proto_status hello_enter(struct conn *c, const struct proto_hello *hello,
				     char *sentence)
{
	struct sessions *sessions = &c->worker->donor->sessions;
	enum proto_status status;

	if (proto_kind_is_lane(hello->kind)) {
		c->session = session_find(sessions, hello->token);
		if (!c->session) {
			snprintf(sentence, PROTO_SENTENCE_MAX,
				 "there is no session with this token");
			return PROTO_BAD_TOKEN;
		}
	} else {
		status = session_new(sessions, hello, c->peer, &c->session, sentence);
		if (status)
			return status;
	}
	if (!session_join(c->session, c)) {
		session_put(c->session);
		c->session = NULL;
		snprintf(sentence, PROTO_SENTENCE_MAX,
			 "the session has ended or has too many connections");
		return PROTO_BAD_TOKEN;
	}
	c->kind = hello->kind;
	c->state = proto_kind_is_lane(hello->kind) ? CONN_LANE : CONN_CONTROL;
	return PROTO_OK;
}

static int hello_validate(struct conn *c, const struct proto_head *head, const void *body,
			  struct proto_hello *ret_hello)
{
	const char *rule = proto_hello_head_check(head);

	if (rule)
		return broken(c, rule);
	memcpy(ret_hello, body, sizeof(*ret_hello));
	proto_hello_order(ret_hello);
	rule = proto_hello_check(ret_hello);
	if (!rule && c->rdma && proto_kind_is_lane(ret_hello->kind))
		rule = "a lane's HELLO as an RDMA message";
	return rule ? broken(c, rule) : 0;
}

static int hello_execute(struct conn *c, const struct proto_head *head,
			 const struct proto_hello *hello)
{
	struct proto_hello_ack *ack = (struct proto_hello_ack *)c->body;
	struct proto_head answer = proto_head_make(PROTO_HELLO_ACK, head->id, 0);
	enum proto_status status;

	memset(ack, 0, sizeof(*ack));
	status = hello_refuse(hello, ack->sentence);
	if (!status)
		status = hello_enter(c, hello, ack->sentence);
	ack->version = PROTO_VERSION;
	ack->slab_bytes = PROTO_SLAB_BYTES;
	if (!status) {
		ack->features = c->session->features;
		ack->session = c->session->id;
		memcpy(ack->token, c->session->token, sizeof(ack->token));
		session_info(&c->worker->donor->sessions, c->session, &ack->info);
		if (c->rdma)
			rdma_peer_named(c->rdma, c->session);
	} else {
		metrics_add(&metrics.clients_refused, 1);
		report_info("refused '%s' from %s: %s", hello->name, c->peer, ack->sentence);
	}
	proto_hello_ack_order(ack);
	answer.status = (uint16_t)status;
	conn_reply(c, answer, ack, sizeof(*ack), NULL, -1);
	return status ? -ESHUTDOWN : 0;
}

/*
 * Control requests
 */
static enum proto_status attach_execute(struct conn *c, uint32_t number, char *sentence)
{
	struct slab *slab = c->rdma ? session_slab(c->session, number) : NULL;
	struct proto_region *region = (struct proto_region *)c->body;
	enum proto_status status;

	if (!c->rdma)
		snprintf(sentence, PROTO_SENTENCE_MAX, "only RDMA clients can attach slabs");
	if (!slab)
		return c->rdma ? PROTO_BAD_SLAB : PROTO_IO;
	status = rdma_peer_attach(c->rdma, number, slab, region, sentence);
	slab_put(slab);
	if (!status)
		proto_region_order(region);
	return status;
}

/* The child may not find our socket any more, or not be let in: it gets a connection with its ticket. The other end, or
 * -1: it connects as others do. */
static int connection_for_child(struct conn *c)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
		return -1;
	worker_adopt(c->worker->donor, ends[0], FROM_CLIENT, true, c->peer, NULL);
	return ends[1];
}

static enum proto_status grant_execute(struct conn *c, uint32_t *ret_number, struct slab **ret_slab,
				       int *ret_fd, char *sentence)
{
	enum proto_status status = session_grant(&c->worker->donor->sessions, c->session, c->local,
						 ret_number, sentence);
	struct slab *slab = status ? NULL : session_slab(c->session, *ret_number);
	int r = slab && c->local ? slab_share(slab, ret_fd) : 0;

	if (r) {
		snprintf(sentence, PROTO_SENTENCE_MAX,
			 "the donor cannot hand over a slab: %s; raise its limit on descriptors "
			 "(ulimit -n)",
			 strerror(-r));
		slab_put(slab);
		session_release(c->session, *ret_number);
		return PROTO_IO;
	}
	*ret_slab = slab;
	return status;
}

static int control_execute(struct conn *c, const struct proto_head *head)
{
	struct sessions *sessions = &c->worker->donor->sessions;
	struct proto_head answer = reply_to(head, PROTO_OK);
	char sentence[PROTO_SENTENCE_MAX] = "the session does not hold that slab";
	enum proto_status status = PROTO_OK;
	struct slab *slab = NULL;
	uint32_t shared = 0;
	int fd = -1;

	switch (head->type) {
	case PROTO_BYE:
		return -ESHUTDOWN;
	case PROTO_GRANT:
		status = grant_execute(c, &answer.slab, &slab, &fd, sentence);
		break;
	case PROTO_ATTACH:
		status = attach_execute(c, head->slab, sentence);
		break;
	case PROTO_RELEASE:
		if (c->rdma)
			rdma_peer_detach(c->rdma, head->slab);
		status = session_release(c->session, head->slab);
		break;
	case PROTO_SHARED:
		status = session_shared(c->session, head->slab, &shared);
		answer.npages = shared;
		break;
	case PROTO_CLONE:
		status = session_clone(sessions, c->session, head->page,
				       (struct proto_ticket *)c->body, sentence);
		break;
	}
	answer.status = (uint16_t)status;
	if (status)
		reply_sentence(c, answer, sentence);
	else if (head->type == PROTO_CLONE)
		conn_reply(c, answer, c->body, sizeof(struct proto_ticket), NULL,
			   c->local ? connection_for_child(c) : -1);
	else if (head->type == PROTO_ATTACH)
		conn_reply(c, answer, c->body, sizeof(struct proto_region), NULL, -1);
	else if (head->type == PROTO_SHARED)
		conn_reply(c, answer, NULL, 0, NULL, -1);
	else
		reply_info(c, answer, fd, slab);
	return 0;
}

/*
 * Pages
 */
static void read_execute(struct conn *c, const struct proto_head *head)
{
	uint32_t length = head->npages * PROTO_PAGE_BYTES;
	struct slab *slab = session_slab(c->session, head->slab);
	struct proto_head answer = reply_to(head, slab ? PROTO_OK : PROTO_BAD_SLAB);

	answer.slab = head->slab;
	answer.page = head->page;
	answer.npages = head->npages;
	metrics_add(&metrics.reads, 1);
	if (!slab) {
		conn_reply(c, answer, zeroes, length, NULL, -1);
		return;
	}
	metrics_add(&metrics.bytes_out, length);
	metrics_add(&c->session->bytes_out, length);
	conn_reply(c, answer, slab->base + (size_t)head->page * PROTO_PAGE_BYTES, length, slab, -1);
}

static void write_execute(struct conn *c, const struct proto_head *head)
{
	c->sink_slab = session_slab(c->session, head->slab);
	if (c->sink_slab)
		slab_touch(c->sink_slab, head->page, head->npages);
	c->sink = c->sink_slab ? c->sink_slab->base + (size_t)head->page * PROTO_PAGE_BYTES : NULL;
	c->sink_left = head->npages * PROTO_PAGE_BYTES;
	c->sink_head = *head;
}

void request_write_done(struct conn *c)
{
	struct proto_head answer =
		reply_to(&c->sink_head, c->sink_slab ? PROTO_OK : PROTO_BAD_SLAB);

	answer.slab = c->sink_head.slab;
	answer.page = c->sink_head.page;
	answer.npages = c->sink_head.npages;
	metrics_add(&metrics.writes, 1);
	metrics_add(&metrics.bytes_in, c->sink_head.length);
	metrics_add(&c->session->bytes_in, c->sink_head.length);
	if (c->sink_slab)
		slab_put(c->sink_slab);
	c->sink_slab = NULL;
	c->sink = NULL;
	conn_reply(c, answer, NULL, 0, NULL, -1);
}

static int lane_execute(struct conn *c, const struct proto_head *head)
{
	switch (head->type) {
	case PROTO_READ:
		read_execute(c, head);
		break;
	case PROTO_WRITE:
		write_execute(c, head);
		break;
	default:
		reply_info(c, reply_to(head, PROTO_OK), -1, NULL);
		break;
	}
	return 0;
}

int request_handle(struct conn *conn, const struct proto_head *head, const void *body)
{
	struct proto_hello hello;
	const char *rule;
	int r;

	if (conn->state == CONN_HELLO) {
		r = hello_validate(conn, head, body, &hello);
		return r ? r : hello_execute(conn, head, &hello);
	}
	rule = proto_request_check(head, conn->state == CONN_LANE);
	if (rule)
		return broken(conn, rule);
	return conn->state == CONN_LANE ? lane_execute(conn, head) : control_execute(conn, head);
}

void request_notices(struct conn *c)
{
	struct proto_head head;
	unsigned n;

	if (c->state != CONN_CONTROL || c->out_count || c->closing)
		return;
	n = atomic_exchange(&c->session->reclaim_due, 0);
	if (n) {
		head = proto_head_make(PROTO_RECLAIM, 0, 0);
		head.npages = n;
		metrics_add(&metrics.reclaims, 1);
		conn_reply(c, head, NULL, 0, NULL, -1);
	}
	if (atomic_exchange(&c->session->notice_due, 0))
		reply_sentence(
			c, proto_head_make(PROTO_NOTICE, 0, 0),
			"the donor is shutting down: it grants nothing more and will stop soon");
}
