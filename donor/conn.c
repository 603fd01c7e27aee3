/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "donor/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "donor/metrics.h"
#include "donor/serve.h"

#define FLUSH_BYTES (512u << 10) /* most sent with one call */

static uint32_t in_bytes(const struct conn *c)
{
	return c->in_end - c->in_first;
}

bool conn_out_room(const struct conn *conn)
{
	return conn->out_count < CONN_OUT_MAX;
}

void conn_reply(struct conn *conn, struct proto_head head, const void *payload, uint32_t length,
		struct slab *slab, int fd)
{
	struct conn_out *o = &conn->out[(conn->out_first + conn->out_count) % CONN_OUT_MAX];

	if (head.type == PROTO_READ)
		conn->out_reads++;
	head.length = length;
	proto_head_order(&head);
	o->head = head;
	o->payload = payload;
	o->length = length;
	o->slab = slab;
	o->fd = fd;
	conn->out_count++;
}

static void out_pop(struct conn *c)
{
	struct conn_out *o = &c->out[c->out_first];

	if (o->head.type == PROTO_READ)
		c->out_reads--;
	if (o->slab)
		slab_put(o->slab);
	if (o->fd >= 0)
		close(o->fd);
	c->out_first = (c->out_first + 1) % CONN_OUT_MAX;
	c->out_count--;
	c->out_sent = 0;
}

void conn_release(struct conn *conn)
{
	while (conn->out_count)
		out_pop(conn);
	if (conn->sink_slab)
		slab_put(conn->sink_slab);
	conn->sink_slab = NULL;
}

/* Fills iov with what is to be sent; returns how many bytes. A descriptor goes with the first byte
 * of its message, so such a message begins a call. */
static size_t out_gather(struct conn *c, struct iovec *iov, int *ret_niov, int *ret_fd)
{
	size_t total = 0, skip = c->out_sent;
	int n = 0;

	*ret_fd = -1;
	for (uint32_t i = 0; i < c->out_count && total < FLUSH_BYTES; i++) {
		struct conn_out *o = &c->out[(c->out_first + i) % CONN_OUT_MAX];

		if (o->fd >= 0 && i)
			break;
		if (o->fd >= 0 && !skip)
			*ret_fd = o->fd;
		if (skip < PROTO_HEAD_BYTES) {
			iov[n].iov_base = (uint8_t *)&o->head + skip;
			iov[n].iov_len = PROTO_HEAD_BYTES - skip;
			total += iov[n++].iov_len;
			skip = 0;
		} else {
			skip -= PROTO_HEAD_BYTES;
		}
		if (o->length > skip) {
			iov[n].iov_base = (uint8_t *)(uintptr_t)o->payload + skip;
			iov[n].iov_len = o->length - skip;
			total += iov[n++].iov_len;
		}
		skip = 0;
	}
	*ret_niov = n;
	return total;
}

static void out_advance(struct conn *c, size_t sent)
{
	while (sent) {
		struct conn_out *o = &c->out[c->out_first];
		size_t left = PROTO_HEAD_BYTES + o->length - c->out_sent;

		if (sent < left) {
			c->out_sent += sent;
			return;
		}
		sent -= left;
		out_pop(c);
	}
}

static ssize_t out_send(struct conn *c, struct iovec *iov, int niov, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)niov};
	struct cmsghdr *cmsg;
	ssize_t r;

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	do {
		r = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* Sends what is queued, as far as the budget goes. 0 or -errno. */
static int conn_flush(struct conn *c, size_t *budget)
{
	struct iovec iov[CONN_OUT_MAX * 2];
	size_t total;
	ssize_t r;
	int n, fd;

	c->blocked = false;
	while (c->out_count && *budget) {
		total = out_gather(c, iov, &n, &fd);
		r = out_send(c, iov, n, fd);
		if (r == -EAGAIN) {
			c->blocked = true;
			return 0;
		}
		if (r < 0)
			return (int)r;
		out_advance(c, (size_t)r);
		*budget -= (size_t)r < *budget ? (size_t)r : *budget;
		if ((size_t)r < total) {
			c->blocked = true;
			return 0;
		}
	}
	return 0;
}

/* Moves what is buffered to the write under way. */
static void sink_consume(struct conn *c)
{
	size_t n = in_bytes(c) < c->sink_left ? in_bytes(c) : c->sink_left;

	if (c->sink_slab) {
		memcpy(c->sink, c->in + c->in_first, n);
		c->sink += n;
	}
	c->in_first += (uint32_t)n;
	c->sink_left -= n;
	if (!c->sink_left)
		request_write_done(c);
}

static bool conn_misplaced(const struct conn *c)
{
	return c->state == CONN_LANE && c->worker->control;
}

/* Handles all that is buffered. 1: stopped until output is sent; 0: needs more input; < 0: close.
 */
static int conn_consume(struct conn *c)
{
	struct proto_head head;
	uint32_t body;
	int r;

	while (!c->closing && !conn_misplaced(c)) {
		if (c->sink_left) {
			if (!in_bytes(c))
				return 0;
			if (!conn_out_room(c))
				return 1;
			sink_consume(c);
			continue;
		}
		if (in_bytes(c) < PROTO_HEAD_BYTES)
			return 0;
		/* A control connection has one body buffer, so one answer at a time. */
		if (!conn_out_room(c) || (c->state != CONN_LANE && c->out_count))
			return 1;
		memcpy(&head, c->in + c->in_first, sizeof(head));
		proto_head_order(&head);
		if (head.type == PROTO_WRITE && c->out_reads)
			return 1;
		body = head.type == PROTO_WRITE ? 0 : head.length;
		if (head.magic == PROTO_MAGIC && body <= PROTO_BODY_MAX &&
		    in_bytes(c) < PROTO_HEAD_BYTES + body)
			return 0;
		if (body > PROTO_BODY_MAX || head.magic != PROTO_MAGIC)
			body = 0; /* will be refused */
		c->in_first += (uint32_t)PROTO_HEAD_BYTES + body;
		r = request_handle(c, &head, c->in + c->in_first - body);
		if (r == -ESHUTDOWN)
			c->closing = true;
		else if (r)
			return r;
	}
	return c->closing && !c->out_count ? -ESHUTDOWN : 1;
}

/* Receives once. Bytes, 0 at the end of the stream, or -errno. */
static ssize_t conn_fill(struct conn *c)
{
	struct iovec iov[2];
	struct msghdr msg = {.msg_iov = iov};
	size_t want = 0, first;
	ssize_t r;

	if (c->in_first) {
		memmove(c->in, c->in + c->in_first, in_bytes(c));
		c->in_end -= c->in_first;
		c->in_first = 0;
	}
	if (c->sink_left) { /* nothing is buffered then */
		iov[0].iov_base = c->sink_slab ? c->sink : c->worker->scratch;
		iov[0].iov_len = c->sink_slab || c->sink_left < WORKER_SCRATCH_BYTES
					 ? c->sink_left
					 : WORKER_SCRATCH_BYTES;
		want = iov[0].iov_len;
		msg.msg_iovlen = 1;
	}
	first = want;
	if (first == c->sink_left) {
		iov[msg.msg_iovlen].iov_base = c->in + c->in_end;
		iov[msg.msg_iovlen].iov_len = CONN_IN_BYTES - c->in_end;
		want += iov[msg.msg_iovlen++].iov_len;
	}
	do {
		r = recvmsg(c->fd, &msg, MSG_DONTWAIT);
	} while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : 0;
	c->drained = (size_t)r < want;
	if ((size_t)r < first)
		first = (size_t)r;
	if (c->sink_slab)
		c->sink += first;
	c->in_end += (uint32_t)((size_t)r - first);
	if (c->sink_left) {
		c->sink_left -= first;
		if (!c->sink_left)
			request_write_done(c);
	}
	return r;
}

static enum turn conn_fail(struct conn *c, int code)
{
	c->rule_broken = code == -EPROTO;
	if (!c->why)
		c->why = code == -ESHUTDOWN ? "it said goodbye" : strerror(-code);
	return TURN_CLOSE;
}

enum turn conn_turn(struct conn *c)
{
	size_t budget = CONN_TURN_BYTES;
	bool answers;
	ssize_t n;
	int stopped, r;

	c->drained = false;
	if (c->state == CONN_CONTROL)
		request_notices(c);
	for (;;) {
		stopped = conn_consume(c);
		if (stopped < 0)
			return conn_fail(c, stopped);
		if (conn_misplaced(c))
			return TURN_MOVE;
		answers = c->out_count;
		r = conn_flush(c, &budget);
		if (r)
			return conn_fail(c, r);
		if (c->blocked)
			return TURN_WAIT;
		if (c->closing && !c->out_count)
			return conn_fail(c, -ESHUTDOWN);
		if (!budget || (answers && c->state != CONN_LANE))
			return TURN_MORE;
		if (stopped)
			continue;
		if (c->drained)
			return TURN_WAIT;
		/* A finished write queues its answer. */
		if (!conn_out_room(c))
			continue;
		n = conn_fill(c);
		if (n == -EAGAIN)
			return TURN_WAIT;
		if (n <= 0)
			return conn_fail(c, n ? (int)n : -ECONNRESET);
		budget -= (size_t)n < budget ? (size_t)n : budget;
	}
}
