/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp_uring.c - lanes on io_uring: one ring a lane, at most one send and one receive in the
 * kernel.
 *
 * A receive is armed only while something is in flight, so an idle lane has nothing in the kernel
 * and fork() finds it quiet. Completions are run when the lane's thread enters the kernel
 * (COOP_TASKRUN): no interrupt to a thread that polls anyway. The ring is not bound to a thread
 * (no SINGLE_ISSUER), because a lane may change hands.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "libleap/transport/tcp_conn.h"
#include "libleap/util/fd.h"
#include "libleap/util/sys.h"

#define RING_ENTRIES 4

enum { UD_TX = 1, UD_RX = 2 };

static int uring_open(struct lane *lane)
{
	struct io_uring_params params = {.flags = IORING_SETUP_COOP_TASKRUN |
						  IORING_SETUP_TASKRUN_FLAG};
	int r;

	r = io_uring_queue_init_params(RING_ENTRIES, &lane->ring, &params);
	if (r == -EINVAL) { /* before 5.19 */
		memset(&params, 0, sizeof(params));
		r = io_uring_queue_init_params(RING_ENTRIES, &lane->ring, &params);
	}
	if (!r)
		lane->ring.ring_fd = lane->ring.enter_ring_fd = fd_own(lane->ring.ring_fd);
	return r;
}

static void uring_close(struct lane *lane, bool forked)
{
	int fd = lane->ring.ring_fd;

	io_uring_queue_exit(&lane->ring);
	fd_disown(fd);
}

static void uring_arm_tx(struct lane *lane)
{
	struct io_uring_sqe *sqe;

	if (lane->tx_armed || !lane_tx_prepare(lane))
		return;
	sqe = io_uring_get_sqe(&lane->ring);
	io_uring_prep_sendmsg(sqe, lane->fd, &lane->tx.msg, MSG_NOSIGNAL | MSG_WAITALL);
	sqe->user_data = UD_TX;
	lane->tx_armed = true;
}

static void uring_arm_rx(struct lane *lane)
{
	struct io_uring_sqe *sqe;
	size_t want;

	if (lane->rx_armed || !lane_rx_prepare(lane, &want))
		return;
	sqe = io_uring_get_sqe(&lane->ring);
	io_uring_prep_recvmsg(sqe, lane->fd, &lane->rx.msg, 0);
	sqe->user_data = UD_RX;
	lane->rx_armed = true;
}

static int uring_submit(struct lane *lane)
{
	int r = 0;

	if (io_uring_sq_ready(&lane->ring))
		r = io_uring_submit(&lane->ring);
	/* What is not taken now (-EAGAIN, -EBUSY, -EINTR) is taken by the next call. */
	return r == -EAGAIN || r == -EBUSY || r == -EINTR || r > 0 ? 0 : r;
}

static int uring_push(struct lane *lane)
{
	uring_arm_tx(lane);
	uring_arm_rx(lane);
	return uring_submit(lane);
}

static int uring_complete(struct lane *lane, uint64_t what, int res)
{
	/* Requests of a thread that exits are cancelled, but the lane may have changed hands. */
	bool again = res == -EAGAIN || res == -EINTR || res == -ECANCELED;

	if (what == UD_TX) {
		lane->tx_armed = false;
		if (res < 0 && !again)
			return res;
		lane_sent(lane, again ? 0 : (size_t)res);
		return 0;
	}
	lane->rx_armed = false;
	if (res == 0)
		return -EPIPE;
	if (res < 0)
		return again ? 0 : res;
	return lane_received(lane, (size_t)res);
}

static int uring_poll(struct lane *lane)
{
	struct io_uring_cqe *cqe;
	bool moved = false;
	int r = 0, res;
	uint64_t what;

	while (!r && !io_uring_peek_cqe(&lane->ring, &cqe)) {
		what = cqe->user_data;
		res = cqe->res;
		io_uring_cqe_seen(&lane->ring, cqe);
		r = uring_complete(lane, what, res);
		moved = true;
	}
	if (r)
		return r;
	return moved || io_uring_sq_ready(&lane->ring) ? uring_push(lane) : 0;
}

/* The socket is shut down, so both requests end by themselves. */
static void uring_quiesce(struct lane *lane)
{
	struct io_uring_cqe *cqe;

	while (io_uring_sq_ready(&lane->ring) && io_uring_submit(&lane->ring) < 0)
		sched_yield();
	while (lane->tx_armed || lane->rx_armed) {
		if (io_uring_wait_cqe(&lane->ring, &cqe))
			continue;
		if (cqe->user_data == UD_TX)
			lane->tx_armed = false;
		else
			lane->rx_armed = false;
		io_uring_cqe_seen(&lane->ring, cqe);
	}
}

static int uring_fd(struct lane *lane)
{
	return lane->ring.ring_fd;
}

const struct lane_backend lane_backend_uring = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.push = uring_push,
	.poll = uring_poll,
	.quiesce = uring_quiesce,
	.fd = uring_fd,
};
