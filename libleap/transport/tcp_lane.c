/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp_lane.c - framing of a lane: requests into batches, bytes received into replies.
 */
#include <errno.h>
#include <string.h>

#include "libleap/log.h"
#include "libleap/transport/tcp_conn.h"

static struct proto_head request_head(const struct io *io)
{
	struct proto_head head =
		proto_head_make(io->op == IO_READ ? PROTO_READ : PROTO_WRITE, io->id, 0);

	head.slab = io->slab;
	head.page = io->page;
	head.npages = io->npages;
	if (io->op == IO_WRITE)
		head.length = io->npages * PROTO_PAGE_BYTES;
	return head;
}

bool lane_tx_prepare(struct lane *lane)
{
	struct iovec *iov = lane->tx.iov;
	unsigned n = 0, count = 0;
	struct io *io;

	if (lane->tx.count)
		goto out;
	while (n < TX_MAX && (io = io_list_pop(&lane->queue))) {
		io->id = ++lane->next_id;
		lane->tx.head[n] = request_head(io);
		proto_head_order(&lane->tx.head[n]);
		iov[count++] = (struct iovec){&lane->tx.head[n++], PROTO_HEAD_BYTES};
		if (io->op == IO_WRITE)
			iov[count++] = (struct iovec){io->buf, io->npages * PROTO_PAGE_BYTES};
		io_list_add(&lane->flight, io);
	}
	lane->tx.first = 0;
	lane->tx.count = count;
out:
	memset(&lane->tx.msg, 0, sizeof(lane->tx.msg));
	lane->tx.msg.msg_iov = iov + lane->tx.first;
	lane->tx.msg.msg_iovlen = lane->tx.count;
	return lane->tx.count;
}

void lane_sent(struct lane *lane, size_t bytes)
{
	while (lane->tx.count) {
		struct iovec *iov = &lane->tx.iov[lane->tx.first];

		if (bytes < iov->iov_len) {
			iov->iov_base = (uint8_t *)iov->iov_base + bytes;
			iov->iov_len -= bytes;
			return;
		}
		bytes -= iov->iov_len;
		lane->tx.first++;
		lane->tx.count--;
	}
}

static uint32_t reply_bytes(const struct io *io)
{
	return (uint32_t)PROTO_HEAD_BYTES + (io->op == IO_READ ? io->npages * PROTO_PAGE_BYTES : 0);
}

bool lane_rx_prepare(struct lane *lane, size_t *ret_bytes)
{
	struct iovec *iov = lane->rx.iov;
	uint32_t skip = lane->rx.bytes;
	unsigned n = 0, count = 0;
	size_t total = 0;

	for (struct io *io = lane->flight.first; io && n < RX_MAX; io = io->next, n++) {
		uint8_t *head = (uint8_t *)&lane->rx.head[n];
		uint32_t payload = reply_bytes(io) - (uint32_t)PROTO_HEAD_BYTES;

		if (skip < PROTO_HEAD_BYTES) {
			iov[count++] = (struct iovec){head + skip, PROTO_HEAD_BYTES - skip};
			skip = 0;
		} else {
			skip -= (uint32_t)PROTO_HEAD_BYTES;
		}
		if (payload > skip)
			iov[count++] = (struct iovec){(uint8_t *)io->buf + skip, payload - skip};
		skip = 0;
	}
	for (unsigned i = 0; i < count; i++)
		total += iov[i].iov_len;
	memset(&lane->rx.msg, 0, sizeof(lane->rx.msg));
	lane->rx.msg.msg_iov = iov;
	lane->rx.msg.msg_iovlen = count;
	*ret_bytes = total;
	return count;
}

static int reply_accept(struct lane *lane, struct io *io, struct proto_head *head)
{
	struct proto_head request = request_head(io);
	const char *rule;

	proto_head_order(head);
	rule = proto_io_reply_check(head, &request);
	if (rule) {
		log_error("donor %s broke the protocol: %s", lane->port->text, rule);
		return -EPIPE;
	}
	io_list_pop(&lane->flight);
	io->status = proto_status_errno(head->status) ? -EIO : 0;
	io_list_add(&lane->done, io);
	if (!io->status) {
		_Atomic uint64_t *counter =
			io->op == IO_READ ? &lane->bytes_read : &lane->bytes_written;

		atomic_store_explicit(counter,
				      atomic_load_explicit(counter, memory_order_relaxed) +
					      io->npages * PROTO_PAGE_BYTES,
				      memory_order_relaxed);
	}
	return 0;
}

int lane_received(struct lane *lane, size_t bytes)
{
	unsigned n = 0;
	int r;

	while (bytes) {
		struct io *io = lane->flight.first;
		size_t left;

		if (!io || n == RX_MAX)
			return -EPIPE;
		left = reply_bytes(io) - lane->rx.bytes;
		if (bytes < left) {
			lane->rx.bytes += (uint32_t)bytes;
			break;
		}
		bytes -= left;
		lane->rx.bytes = 0;
		lane->late.progress = true;
		r = reply_accept(lane, io, &lane->rx.head[n++]);
		if (r)
			return r;
	}
	/* The reply that is under way continues as the first one. */
	if (lane->rx.bytes && n)
		lane->rx.head[0] = lane->rx.head[n];
	return 0;
}
