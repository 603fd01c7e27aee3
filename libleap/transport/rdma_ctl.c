/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_ctl.c - control messages over a link: one message, one SEND.
 *
 * Receive buffers are posted again as soon as they have been read; the donor, if it is faster, is made to wait by
 * the device (receiver not ready). Send buffers are a ring; there are more than requests that can be on their way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/transport/rdma_conn.h"
#include "libleap/util/sys.h"

#define SENDS     RDMA_RECVS
#define SEND_FLAG (1ull << 32) /* in wr_id; the rest is the buffer */

static uint8_t *buffer(struct rdma_ctl *rc, uint32_t i)
{
	return rc->memory.base + (size_t)i * RDMA_MESSAGE_BYTES;
}

static int post_recv(struct rdma_ctl *rc, uint32_t i)
{
	struct ibv_sge sge = {.addr = (uintptr_t)buffer(rc, i),
			      .length = RDMA_MESSAGE_BYTES,
			      .lkey = rc->memory.mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = i, .sg_list = &sge, .num_sge = 1}, *bad;

	return -ibv_post_recv(rc->link.qp, &wr, &bad);
}

static int ctl_prepare(struct port *port)
{
	struct rdma_ctl *rc = &port->ctl;
	int r;

	r = rdma_memory_open(&rc->memory, port, (RDMA_RECVS + SENDS) * RDMA_MESSAGE_BYTES);
	for (uint32_t i = 0; i < RDMA_RECVS && !r; i++)
		if (post_recv(rc, i))
			r = error_set(EIO, "donor %s: the RDMA device takes no receive buffers",
				      port->text);
	return r;
}

/* Notes what has completed. 0 or -EPIPE. */
static int reap(struct rdma_ctl *rc)
{
	struct ibv_wc wc[8];
	int n = ibv_poll_cq(rc->link.cq, 8, wc);

	if (n < 0)
		return -EPIPE;
	for (int i = 0; i < n; i++) {
		uint32_t at = (rc->arrived_first + rc->arrived_count) % RDMA_RECVS;

		if (wc[i].status != IBV_WC_SUCCESS) {
			log_debug("rdma control connection: %s",
				  RDMA(ibv_wc_status_str)(wc[i].status));
			return -EPIPE;
		}
		if (wc[i].wr_id & SEND_FLAG) {
			rc->sent_done++;
			continue;
		}
		rc->arrived[at] = (uint32_t)wc[i].wr_id;
		rc->arrived_bytes[at] = wc[i].byte_len;
		rc->arrived_count++;
	}
	return 0;
}

static int carrier_send(struct ctl *control, const void *message, size_t bytes)
{
	struct rdma_ctl *rc = control->link;
	uint32_t i = (uint32_t)(rc->sent % SENDS);
	struct ibv_sge sge = {.addr = (uintptr_t)buffer(rc, RDMA_RECVS + i),
			      .length = (uint32_t)bytes,
			      .lkey = rc->memory.mr->lkey};
	struct ibv_send_wr wr = {.wr_id = SEND_FLAG | i,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED};
	struct ibv_send_wr *bad;
	int r = reap(rc);

	if (r)
		return r;
	if (rc->sent - rc->sent_done == SENDS)
		return -EAGAIN;
	memcpy(buffer(rc, RDMA_RECVS + i), message, bytes);
	if (bytes <= rc->link.inline_max)
		wr.send_flags |= IBV_SEND_INLINE;
	if (ibv_post_send(rc->link.qp, &wr, &bad))
		return -EPIPE;
	rc->sent++;
	return 0;
}

static ssize_t carrier_recv(struct ctl *control, void *buf, size_t bytes)
{
	struct rdma_ctl *rc = control->link;
	uint32_t i, left;
	int r = rc->arrived_count ? 0 : reap(rc);

	if (r)
		return r;
	if (!rc->arrived_count)
		return rdma_link_events(&rc->link) ? 0 : -EAGAIN;
	i = rc->arrived[rc->arrived_first];
	left = rc->arrived_bytes[rc->arrived_first] - rc->read_bytes;
	if (bytes > left)
		bytes = left;
	memcpy(buf, buffer(rc, i) + rc->read_bytes, bytes);
	rc->read_bytes += (uint32_t)bytes;
	if (bytes == left) {
		rc->read_bytes = 0;
		rc->arrived_first = (rc->arrived_first + 1) % RDMA_RECVS;
		rc->arrived_count--;
		if (post_recv(rc, i))
			return -EPIPE;
	}
	/* an empty message is no end of the stream */
	return bytes ? (ssize_t)bytes : -EPIPE;
}

/* Arms, looks once more, sleeps. */
static int carrier_wait(struct ctl *control, int ms)
{
	struct rdma_ctl *rc = control->link;
	struct pollfd p[2] = {{.fd = rc->link.comp->fd, .events = POLLIN},
			      {.fd = rc->link.events->fd, .events = POLLIN}};
	struct ibv_cq *cq;
	void *context;

	while (!RDMA(ibv_get_cq_event)(rc->link.comp, &cq, &context))
		RDMA(ibv_ack_cq_events)(cq, 1);
	if (ibv_req_notify_cq(rc->link.cq, 0) || reap(rc) || rc->arrived_count)
		return 1; /* the next receive tells */
	return poll(p, 2, ms);
}

static const struct ctl_carrier carrier = {
	.send = carrier_send,
	.recv = carrier_recv,
	.wait = carrier_wait,
};

static int hello_failed(struct port *port, int code)
{
	if (code == -ETIMEDOUT)
		return error_set(ETIMEDOUT,
				 "donor %s accepted the connection but did not answer within the "
				 "deadline; it may be overloaded or stopped",
				 port->text);
	return error_set(EPIPE, "donor %s closed the connection during the handshake", port->text);
}

/* Exactly so many bytes. */
static int recv_all(struct port *port, void *buf, size_t bytes, uint64_t end_ns)
{
	uint8_t *p = buf;

	while (bytes) {
		ssize_t n = carrier_recv(&port->control, p, bytes);
		uint64_t now = run_clock_ns();

		if (n > 0) {
			p += n;
			bytes -= (size_t)n;
			continue;
		}
		if (n != -EAGAIN)
			return hello_failed(port, -EPIPE);
		if (now >= end_ns)
			return hello_failed(port, -ETIMEDOUT);
		now = (end_ns - now) / 1000000 + 1;
		carrier_wait(&port->control,
			     now < RUN_CLOCK_SLICE_MS ? (int)now : RUN_CLOCK_SLICE_MS);
	}
	return 0;
}

static int shake_hands(struct port *port, enum proto_kind kind, const uint8_t *ticket,
		       uint64_t end_ns)
{
	uint8_t body[PROTO_BODY_MAX];
	struct proto_hello_ack ack;
	struct hello_message m;
	struct proto_head head;
	int r;

	hello_make(&m, kind, ticket, &port->params);
	r = carrier_send(&port->control, &m, sizeof(m));
	if (r)
		return hello_failed(port, r);
	r = recv_all(port, &head, sizeof(head), end_ns);
	if (!r)
		r = hello_answer_head(&head, port->text);
	if (!r)
		r = recv_all(port, body, head.length, end_ns);
	if (!r)
		r = hello_answer(&head, body, port->text, &ack);
	if (!r)
		ctl_begin(&port->control, &ack, &port->params);
	return r;
}

int rdma_ctl_open(struct port *port, enum proto_kind kind, const uint8_t *ticket, uint64_t end_ns)
{
	struct rdma_hello hello = {.kind = (uint16_t)kind};
	struct rdma_ctl *rc = &port->ctl;
	int r;

	memset(rc, 0, sizeof(*rc));
	port->control.carrier = &carrier;
	port->control.link = rc;
	r = rdma_link_open(&rc->link, port, hello, SENDS, RDMA_RECVS, ctl_prepare, end_ns);
	if (!r)
		r = shake_hands(port, kind, ticket, end_ns);
	if (r)
		rdma_ctl_close(port);
	return r;
}

void rdma_ctl_close(struct port *port)
{
	rdma_link_close(&port->ctl.link);
	rdma_memory_close(&port->ctl.memory, port);
}

void rdma_ctl_forget(struct port *port)
{
	rdma_link_forget(&port->ctl.link);
	memset(&port->ctl, 0, sizeof(port->ctl));
}
