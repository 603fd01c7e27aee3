/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp_plain.c - lanes on non-blocking sockets.
 *
 * The lane's descriptor is an epoll instance around the socket: it is readable when there is
 * something to receive, or room for what is stuck. Input is always awaited, output only while it
 * is stuck, so that the fast path makes no epoll calls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/epoll.h>

#include "libleap/transport/tcp_conn.h"
#include "libleap/util/fd.h"
#include "libleap/util/sys.h"

#define IDLE_CHECK 64 /* look for a closed connection in every so many idle polls */

static int plain_open(struct lane *lane)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int r;

	lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (lane->epoll_fd < 0)
		return -errno;
	lane->epoll_fd = fd_own(lane->epoll_fd);
	if (epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, lane->fd, &ev)) {
		r = -errno;
		fd_close(lane->epoll_fd);
		return r;
	}
	return 0;
}

static void plain_close(struct lane *lane, bool forked)
{
	fd_close(lane->epoll_fd);
}

static void plain_want_out(struct lane *lane, bool want)
{
	struct epoll_event ev = {.events = EPOLLIN | (want ? EPOLLOUT : 0)};

	if (lane->want_out == want)
		return;
	lane->want_out = want;
	epoll_ctl(lane->epoll_fd, EPOLL_CTL_MOD, lane->fd, &ev);
}

static int plain_push(struct lane *lane)
{
	ssize_t n;

	while (lane_tx_prepare(lane)) {
		n = sendmsg(lane->fd, &lane->tx.msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			plain_want_out(lane, true);
			return 0;
		}
		if (n < 0)
			return -errno;
		lane_sent(lane, (size_t)n);
	}
	plain_want_out(lane, false);
	return 0;
}

static int plain_check_idle(struct lane *lane)
{
	char byte;
	ssize_t n;

	if (++lane->idle_polls % IDLE_CHECK)
		return 0;
	n = recv(lane->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
	/* The donor says nothing unasked. */
	return n >= 0 ? -EPIPE : errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static int plain_poll(struct lane *lane)
{
	size_t want;
	ssize_t n;
	int r;

	if (!lane->flight.first && !lane->queue.first)
		return plain_check_idle(lane);
	while (lane_rx_prepare(lane, &want)) {
		n = recvmsg(lane->fd, &lane->rx.msg, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			return n ? -errno : -EPIPE;
		r = lane_received(lane, (size_t)n);
		if (r)
			return r;
		if ((size_t)n < want)
			break;
	}
	return lane->tx.count || lane->queue.first ? plain_push(lane) : 0;
}

/* Quiet from now on, so that a sleeper does not spin on a dead connection. */
static void plain_quiesce(struct lane *lane)
{
	epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, lane->fd, NULL);
}

static int plain_fd(struct lane *lane)
{
	return lane->epoll_fd;
}

const struct lane_backend lane_backend_plain = {
	.name = "sockets",
	.open = plain_open,
	.close = plain_close,
	.push = plain_push,
	.poll = plain_poll,
	.quiesce = plain_quiesce,
	.fd = plain_fd,
};
