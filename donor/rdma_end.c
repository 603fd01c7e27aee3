/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_end.c - how connections end, and the messages between a client and its worker. Main thread.
 *
 * A message that has arrived is written to the socket, which holds more than a client that keeps to the protocol can
 * have on its way. Bytes on the socket become one SEND for each message; while no send buffer is free the socket is
 * not read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "donor/rdma_peer.h"
#include "donor/report.h"

/* what: the server (connection manager), a host's channel or events, or a peer's socket */
int rdma_watch(struct rdma_server *s, int op, int fd, unsigned events, void *what)
{
	struct epoll_event ev = {.events = events, .data.ptr = what};

	return epoll_ctl(s->epoll_fd, op, fd, &ev) ? -errno : 0;
}

void rdma_lane_end(struct rdma_end *end)
{
	struct rdma_peer *p = end->peer;

	if (end->prev)
		end->prev->next = end->next;
	else
		p->lanes = end->next;
	if (end->next)
		end->next->prev = end->prev;
	atomic_fetch_sub(&p->nlanes, 1);
	rdma_disconnect(end->id);
	rdma_destroy_qp(end->id);
	rdma_destroy_id(end->id);
	free(end);
}

void rdma_peer_release(struct rdma_peer *p)
{
	if (p->control.id && p->control.id->qp)
		rdma_destroy_qp(p->control.id);
	if (p->cq)
		ibv_destroy_cq(p->cq);
	if (p->buffers_mr)
		ibv_dereg_mr(p->buffers_mr);
	free(p->buffers);
	if (p->control.id)
		rdma_destroy_id(p->control.id);
	p->control.id = NULL;
	p->cq = NULL;
	p->buffers_mr = NULL;
	p->buffers = NULL;
}

void rdma_peer_end(struct rdma_peer *p)
{
	struct rdma_server *s = p->server;
	struct rdma_end *next;

	if (p->ended)
		return;
	p->ended = true;
	close(p->fd); /* the worker ends the session */
	rdma_disconnect(p->control.id);
	for (struct rdma_end *lane = p->lanes; lane; lane = next) {
		next = lane->next;
		rdma_lane_end(lane);
	}
	rdma_peer_release(p);
	if (p->prev)
		p->prev->next = p->next;
	else
		s->peers = p->next;
	if (p->next)
		p->next->prev = p->prev;
	s->npeers--;
	p->next = s->ended;
	s->ended = p;
}

void rdma_peer_drop(struct rdma_peer *p, const char *why)
{
	if (!p->ended)
		report_warn("%s dropped: %s", p->name, why);
	rdma_peer_end(p);
}

static uint8_t *buffer(struct rdma_peer *p, uint32_t i)
{
	return p->buffers + (size_t)i * RDMA_MESSAGE_BYTES;
}

int rdma_peer_post_recv(struct rdma_peer *p, uint32_t i)
{
	struct ibv_sge sge = {.addr = (uintptr_t)buffer(p, i),
			      .length = RDMA_MESSAGE_BYTES,
			      .lkey = p->buffers_mr->lkey};
	struct ibv_recv_wr wr = {.wr_id = i, .sg_list = &sge, .num_sge = 1}, *bad;

	return ibv_post_recv(p->control.id->qp, &wr, &bad);
}

static int post_send(struct rdma_peer *p, const void *message, uint32_t bytes)
{
	uint32_t i = (uint32_t)(p->sent % RDMA_SENDS);
	struct ibv_sge sge = {.addr = (uintptr_t)buffer(p, RDMA_RECVS + i),
			      .length = bytes,
			      .lkey = p->buffers_mr->lkey};
	struct ibv_send_wr wr = {.wr_id = RDMA_WR_SEND,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED};
	struct ibv_send_wr *bad;

	memcpy(buffer(p, RDMA_RECVS + i), message, bytes);
	p->sent++;
	return ibv_post_send(p->control.id->qp, &wr, &bad);
}

/* Sends the messages that are whole. */
static int peer_messages(struct rdma_peer *p)
{
	struct proto_head head;
	uint32_t bytes;

	while (p->in_bytes >= PROTO_HEAD_BYTES && p->sent - p->sent_done < RDMA_SENDS) {
		memcpy(&head, p->in, sizeof(head));
		proto_head_order(&head);
		bytes = (uint32_t)PROTO_HEAD_BYTES + head.length;
		if (bytes > RDMA_MESSAGE_BYTES)
			return -EPROTO;
		if (p->in_bytes < bytes)
			break;
		if (post_send(p, p->in, bytes))
			return -EPIPE;
		p->in_bytes -= bytes;
		memmove(p->in, p->in + bytes, p->in_bytes);
	}
	return 0;
}

/* From the worker to the client. */
void rdma_peer_pump(struct rdma_peer *p)
{
	ssize_t n;

	while (!p->ended) {
		if (peer_messages(p)) {
			rdma_peer_end(p);
			return;
		}
		if (p->closing) {
			if (p->sent == p->sent_done)
				rdma_peer_end(p);
			return;
		}
		if (p->in_bytes == sizeof(p->in) || p->sent - p->sent_done == RDMA_SENDS) {
			/* goes on when a SEND has completed */
			rdma_watch(p->server, EPOLL_CTL_MOD, p->fd, 0, p);
			p->blocked = true;
			return;
		}
		n = recv(p->fd, p->in + p->in_bytes, sizeof(p->in) - p->in_bytes, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			epoll_ctl(p->server->epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
			p->closing = true;
		} else {
			p->in_bytes += (uint32_t)n;
		}
	}
}

/* From the client to the worker. False: the peer has ended. */
static bool peer_arrived(struct rdma_peer *p, const struct ibv_wc *wc)
{
	uint32_t i = (uint32_t)wc->wr_id;
	ssize_t n = send(p->fd, buffer(p, i), wc->byte_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n != (ssize_t)wc->byte_len && (n >= 0 || errno != EPIPE)) {
		rdma_peer_drop(p, "it sends faster than it is answered");
		return false;
	}
	if (rdma_peer_post_recv(p, i)) {
		rdma_peer_drop(p, "the device takes no receive buffer");
		return false;
	}
	return true;
}

static void peer_failed(struct rdma_peer *p, const struct ibv_wc *wc)
{
	if (wc->status == IBV_WC_RETRY_EXC_ERR)
		rdma_peer_drop(p, "its machine does not answer");
	else if (wc->status != IBV_WC_WR_FLUSH_ERR)
		rdma_peer_drop(p, ibv_wc_status_str(wc->status));
	else
		rdma_peer_end(p);
}

void rdma_peer_reap(struct rdma_peer *p)
{
	struct ibv_wc wc[16];
	int n;

	do {
		n = ibv_poll_cq(p->cq, 16, wc);
		for (int i = 0; i < n; i++) {
			if (wc[i].status != IBV_WC_SUCCESS) {
				peer_failed(p, &wc[i]);
				return;
			}
			if (wc[i].wr_id & RDMA_WR_PROBE)
				p->probing = false;
			else if (wc[i].wr_id & RDMA_WR_SEND)
				p->sent_done++;
			else if (!peer_arrived(p, &wc[i]))
				return;
		}
	} while (n == 16);
	if (p->blocked && p->sent - p->sent_done < RDMA_SENDS) {
		p->blocked = false;
		rdma_watch(p->server, EPOLL_CTL_MOD, p->fd, EPOLLIN, p);
	}
	if (p->closing)
		rdma_peer_pump(p);
}
