/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - one connection of a client: buffers, framing, turns.
 *
 * A connection belongs to one worker thread, which alone reads, writes and frees it: to the control worker until it is a
 * lane. Other threads may only shutdown() its socket (session_end()).
 *
 * Work is done in turns of bounded length, so that one client's bulk transfer cannot starve
 * others; on a control connection it ends with each answer. A turn alternates: consume what is buffered, send what is queued, receive more. Replies
 * are sent straight from slab memory; the payload of a WRITE is received straight into it, but for
 * what came in with a head. A WRITE is not begun while replies to READs are queued: they would
 * show bytes written after them.
 */
#ifndef DONOR_CONN_H
#define DONOR_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "donor/session.h"
#include "libleap/proto.h"

#define CONN_IN_BYTES   16384
#define CONN_OUT_MAX    64
#define CONN_TURN_BYTES (256u << 10)

struct rdma_peer;
struct worker;

enum conn_state { CONN_HELLO, CONN_CONTROL, CONN_LANE };
/* A client's fork gets a connection that its parent asked for. */
enum conn_from { FROM_STRANGER, FROM_CLIENT };
/* TURN_MOVE: it has become a lane, which the control worker does not serve. */
enum turn { TURN_WAIT, TURN_MORE, TURN_CLOSE, TURN_MOVE };

/* One message on its way out. */
struct conn_out {
	struct proto_head head; /* wire order */
	const void *payload;
	uint32_t length;   /* of the payload */
	int fd;            /* goes along and is closed; or -1 */
	struct slab *slab; /* reference held until it is sent; or NULL */
};

struct conn {
	struct worker *worker;
	struct conn *prev, *next;                 /* of the worker */
	struct conn *session_prev, *session_next; /* of the session */
	struct conn *ready_next;
	struct session *session;
	struct rdma_peer *rdma; /* the socket leads to an RDMA client; or NULL */
	int fd;
	bool stranger; /* came by itself: one of many that may wait for their HELLO */
	bool local;    /* unix socket: GRANT passes descriptors */
	bool ready;    /* on the worker's list of those with work left */
	bool blocked;  /* socket takes no more output */
	bool drained;  /* socket had no more input */
	bool closing;  /* close when all is sent */
	bool closed;
	bool rule_broken; /* closing ends the session, whatever the connection was */
	enum conn_state state;
	enum proto_kind kind;
	unsigned interest; /* epoll events asked for */
	uint64_t opened_ns;
	char peer[96];
	const char *why; /* cause of closing, for the log */

	/* WRITE under way */
	struct slab *sink_slab; /* NULL: throw the bytes away */
	uint8_t *sink;
	size_t sink_left;
	struct proto_head sink_head; /* host order */

	uint32_t in_first, in_end;
	uint32_t out_first, out_count;
	uint32_t out_reads; /* queued READ replies */
	size_t out_sent;    /* bytes of the first entry */
	struct conn_out out[CONN_OUT_MAX];
	uint8_t body[PROTO_BODY_MAX]; /* of the one control reply under way */
	uint8_t in[CONN_IN_BYTES];
};

enum turn conn_turn(struct conn *conn);
/* Queues a reply; head in host order, its length is set here. There must be room
 * (conn_out_room()). */
void conn_reply(struct conn *conn, struct proto_head head, const void *payload, uint32_t length,
		struct slab *slab, int fd);
bool conn_out_room(const struct conn *conn);
/* Drops what it refers to; the socket is closed by the worker. */
void conn_release(struct conn *conn);

/* request.c: one message, validated then executed. head in host order; the body follows it in the
 * buffer. 0, -EPROTO with conn->why, or -ESHUTDOWN (close when the answer is out). */
int request_handle(struct conn *conn, const struct proto_head *head, const void *body);
/* The payload of a WRITE has arrived. */
void request_write_done(struct conn *conn);
/* Donor-initiated messages that are due. */
void request_notices(struct conn *conn);

#endif
