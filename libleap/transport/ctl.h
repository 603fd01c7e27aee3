/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.h - the client's control connection to leap-donor, over TCP, a unix socket or another carrier of
 * messages, and what every stream connection needs (connect, handshake).
 *
 * One thread at a time (transport.h's control thread); only *dead is shared with the lanes. Calls
 * block up to the deadline, whatever comes meanwhile; ctl_tick() never does. After -EPIPE or -ETIMEDOUT the port is
 * dead. It is when a request or a ping is not answered within the deadline, counted by run_clock.h.
 */
#ifndef LEAP_TRANSPORT_CTL_H
#define LEAP_TRANSPORT_CTL_H

#include <netdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "libleap/proto.h"
#include "libleap/transport/transport.h"

struct ctl;

/* How bytes travel when it is not by a socket. Never blocks but for wait(). */
struct ctl_carrier {
	/* One whole message. 0 or -errno; -EAGAIN: no room. */
	int (*send)(struct ctl *control, const void *message, size_t bytes);
	/* Some bytes of the next message, 0 at the end, or -errno; -EAGAIN: nothing is there. */
	ssize_t (*recv)(struct ctl *control, void *buf, size_t bytes);
	/* Until something is there, for ms at most. As poll(). */
	int (*wait)(struct ctl *control, int ms);
};

struct ctl {
	const struct ctl_carrier *carrier; /* NULL: the socket fd */
	void *link;                        /* the carrier's */
	int fd;                            /* -1 when closed */
	bool heartbeat;                    /* ping when due */
	_Atomic int *dead;                 /* of the port: 0, -EPIPE or -ETIMEDOUT */
	const char *text;                  /* the donor's address, for sentences */
	uint64_t deadline_ns;
	uint64_t next_id;
	/* run_clock.h */
	uint64_t ping_ns; /* when the unanswered ping was sent; 0 = none */
	uint64_t ping_id;
	uint64_t owed_ns; /* when the oldest request was sent that is not answered; 0 = none */
	uint64_t owed_id;
	uint64_t heard_ns;          /* when the donor last said something */
	const uint64_t *all_end_ns; /* transport.h: call_end_ns */
	uint64_t session;
	uint8_t token[PROTO_TOKEN_BYTES];
	_Atomic uint64_t free_bytes, total_bytes;
	uint32_t reclaim_slabs; /* the donor would like so many back */
	bool passes;   /* descriptors that come along are received in the clerk (clerk.h) */
	int passed_fd; /* the clerk's; came with the message being read; or -1 */
	uint32_t in_bytes;
	uint8_t in[sizeof(struct proto_head) + PROTO_BODY_MAX];
};

/* A closed one, zeroed before, of a port with this address and this word for its death. */
static inline void ctl_init(struct ctl *control, _Atomic int *dead, const char *text,
			    bool heartbeat)
{
	control->fd = control->passed_fd = -1;
	control->heartbeat = heartbeat;
	control->dead = dead;
	control->text = text;
}

/* Addresses of a donor; freeaddrinfo(). Calls malloc. */
int stream_resolve(const char *host, uint16_t port, const char *text, struct addrinfo **ret_ai);
/* Connects the non-blocking stream socket *fd (-1: makes it) by end_ns (clock_ns()); it is closed on failure. Sets the
 * sentence, which names text. */
int stream_connect(const struct sockaddr *sa, socklen_t len, uint64_t end_ns, const char *text,
		   int *io_fd);
/* HELLO and its answer. Refusals set the donor's sentence. */
int stream_hello(int fd, enum proto_kind kind, const uint8_t *token,
		 const struct transport_params *params, uint64_t end_ns, const char *text,
		 struct proto_hello_ack *ret_ack);

struct hello_message {
	struct proto_head head;
	struct proto_hello hello;
};

/* The two halves of stream_hello(), for other carriers: HELLO in wire order, and what the answer (head in wire
 * order, body as its head says) means. */
void hello_make(struct hello_message *message, enum proto_kind kind, const uint8_t *token,
		const struct transport_params *params);
int hello_answer_head(struct proto_head *head, const char *text);
int hello_answer(const struct proto_head *head, const void *body, const char *text,
		 struct proto_hello_ack *ret_ack);

/* What the donor's answer to HELLO says; the connection is ready for calls. */
void ctl_begin(struct ctl *control, const struct proto_hello_ack *ack,
	       const struct transport_params *params);
/* Takes fd over on success. kind is CONTROL, or CLONE with the ticket. */
int ctl_open(struct ctl *control, int fd, enum proto_kind kind, const uint8_t *ticket,
	     const struct transport_params *params, uint64_t end_ns);
/*
 * Sends one request and waits for its answer; head and *ret_head are in host order. body takes up
 * to PROTO_BODY_MAX bytes (may be NULL); ret_fd takes the descriptor that came along (the clerk's
 * if `passes` is set; may be NULL). A status other than OK becomes its errno, with the donor's sentence set.
 */
int ctl_call(struct ctl *control, struct proto_head head, struct proto_head *ret_head, void *body,
	     int *ret_fd);
int ctl_tick(struct ctl *control);
/* Says goodbye without waiting, and closes. */
void ctl_close(struct ctl *control);
/* Closes without a word: after fork(), the connection is the parent's. */
void ctl_forget(struct ctl *control);

/* The donor operations that are the same on every carrier. */
int ctl_release(struct ctl *control, uint32_t slab);
int ctl_shared(struct ctl *control, uint32_t slab);
int ctl_refresh(struct ctl *control);
/* ret_fd: a connection for the child, or -1; NULL: none is wanted. */
int ctl_clone(struct ctl *control, struct port_ticket *ret_ticket, int *ret_fd);

#endif
