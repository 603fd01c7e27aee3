/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp_conn.h - one lane of the tcp transport: framing, and the two ways to move bytes.
 *
 * An io goes queue -> flight -> done list -> its caller. It enters flight when its request is put
 * into the batch that is being sent, and leaves it when its reply is complete; replies come in the
 * order of the requests, and their length is known beforehand, so the bytes that the socket
 * delivers go straight to the buffers of the first RX_MAX ios in flight. A failure moves
 * everything to the done list at once, after the kernel is known to have let go of the buffers.
 *
 * A backend only moves bytes: it sends tx.iov and calls lane_sent(), receives into what
 * lane_rx_prepare() made and calls lane_received(). All but fd shutdown is the lane's thread
 * alone.
 */
#ifndef LEAP_TRANSPORT_TCP_CONN_H
#define LEAP_TRANSPORT_TCP_CONN_H

#include <liburing.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "libleap/lock.h"
#include "libleap/proto.h"
#include "libleap/transport/ctl.h"
#include "libleap/transport/io_list.h"
#include "libleap/transport/late.h"
#include "libleap/transport/transport.h"

#define TX_MAX      64 /* requests of one batch */
#define RX_MAX      32 /* replies of one receive */
#define PORT_SPARES 64

struct lane_backend {
	const char *name;
	int (*open)(struct lane *lane);
	/* Waits until the kernel uses none of our memory, then frees. forked: the socket is the
	 * parent's. */
	void (*close)(struct lane *lane, bool forked);
	/* Starts sending and receiving what there is. 0 or -errno (the connection is dead). */
	int (*push)(struct lane *lane);
	/* Moves what can be moved. 0 or -errno. */
	int (*poll)(struct lane *lane);
	/* The lane has failed: makes the kernel let go of all buffers. */
	void (*quiesce)(struct lane *lane);
	int (*fd)(struct lane *lane);
};

extern const struct lane_backend lane_backend_plain, lane_backend_uring;

struct lane {
	struct port *port;
	struct lane *prev, *next; /* of the port; its lock */
	const struct lane_backend *backend;
	enum lane_kind kind;
	int fd;
	int failed; /* 0, or what all ios get from now on */
	bool delivering;
	uint64_t next_id;
	uint32_t idle_polls;
	struct late late;
	struct io_list queue, flight, done;
	_Atomic uint64_t bytes_read, bytes_written; /* one writer */

	struct {
		struct proto_head head[TX_MAX]; /* wire order */
		struct iovec iov[TX_MAX * 2];
		unsigned first, count; /* of iov, still to be sent */
		struct msghdr msg;
	} tx;
	struct {
		struct proto_head head[RX_MAX];
		struct iovec iov[RX_MAX * 2];
		struct msghdr msg;
		uint32_t bytes; /* received of the first reply */
	} rx;

	/* plain */
	int epoll_fd;
	bool want_out;
	/* uring */
	struct io_uring ring;
	bool tx_armed, rx_armed;
};

struct port {
	struct transport_params params;
	struct donor_uri uri;
	struct sockaddr_storage sa; /* the address that worked */
	socklen_t sa_len;
	char text[300];
	_Atomic int dead; /* 0, -EPIPE, -ETIMEDOUT */
	_Atomic bool uring_refused;
	struct ctl control;
	struct lock lock; /* lanes */
	struct lane *lanes;
	/* Sockets for the next child, not connected yet: it may be in another network then. Control context. */
	int spare[PORT_SPARES];
	unsigned spares;
	bool adopting;                              /* in the child, which takes them */
	_Atomic uint64_t bytes_read, bytes_written; /* of closed lanes */
};

/* Marks the port dead with code (-EPIPE, -ETIMEDOUT) and wakes everyone who waits for it. Any
 * thread. */
void port_die(struct port *port, int code);

/* Is there a batch, or can one be made? Makes it. */
bool lane_tx_prepare(struct lane *lane);
void lane_sent(struct lane *lane, size_t bytes);
/* Points rx.iov at what is awaited; false when nothing is in flight. Returns the bytes wanted. */
bool lane_rx_prepare(struct lane *lane, size_t *ret_bytes);
/* 0, or -EPIPE when the donor broke the protocol. */
int lane_received(struct lane *lane, size_t bytes);

#endif
