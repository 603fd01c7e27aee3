/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - clients: what each holds, who may join it, and the tickets of forks to come.
 *
 * A session lives as long as its control connection. It owns a table of slabs, indexed by the
 * numbers that the client uses. Lanes on other workers look slabs up in it while the control
 * connection changes it, so the table is behind the session's lock, and who uses a slab's bytes
 * takes a reference.
 *
 * Lock order: sessions -> session -> store.
 */
#ifndef DONOR_SESSION_H
#define DONOR_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "donor/keeper.h"
#include "donor/store.h"
#include "libleap/proto.h"

struct conn;

struct session {
	struct session *prev, *next; /* list of all; sessions.lock */
	uint64_t id;
	uint64_t client_id[2];
	uint64_t features;
	uint8_t token[PROTO_TOKEN_BYTES];
	char name[PROTO_NAME_BYTES];
	char peer[96];
	atomic_uint refs; /* connections, and look-ups under way */
	_Atomic uint64_t bytes_in, bytes_out;
	atomic_uint notice_due;  /* tell the client that the donor drains */
	atomic_uint reclaim_due; /* ask the client for so many slabs */

	pthread_mutex_t lock; /* all below */
	bool ended;
	bool broken; /* ended by us, for a broken rule */
	struct conn *conns;
	unsigned nconns;
	struct slab **slabs;
	uint32_t nslots; /* of the table */
	uint32_t held;   /* of these filled */

	/* when it has ended */
	struct keeper_job departure; /* with a reference */
	char why[128];
	struct slab **gone; /* the table */
	uint32_t ngone, ngone_held;
};

struct ticket {
	struct ticket *next;
	uint8_t bytes[PROTO_TOKEN_BYTES];
	uint64_t expires_ns;
	uint64_t session; /* whose it is */
	char name[PROTO_NAME_BYTES];
	uint32_t nslots, held;
	struct slab **slabs;
};

struct sessions {
	pthread_mutex_t lock;
	struct store *store;
	struct session *list;
	struct ticket *tickets;
	unsigned count, ntickets;
	uint64_t next_id;
	uint64_t ticket_life_ns;
	atomic_uint clients_max;
	_Atomic uint64_t quota_bytes; /* 0 = none */
	_Atomic bool draining;
};

/* No ticket lives longer than ticket_life_ns. */
void sessions_init(struct sessions *sessions, struct store *store, uint64_t ticket_life_ns);

/*
 * A session for a HELLO of kind CONTROL or CLONE, with one reference. Returns a status, PROTO_OK
 * with the session; otherwise the sentence says why not.
 */
enum proto_status session_new(struct sessions *sessions, const struct proto_hello *hello,
			      const char *peer, struct session **ret_session, char *sentence);
/* The session of a lane's token, with a reference; NULL when there is none. */
struct session *session_find(struct sessions *sessions, const uint8_t *token);
void session_put(struct session *session);
/* Adds or removes a connection (conn.h's session_prev/session_next); joining fails when it has
 * ended. */
bool session_join(struct session *session, struct conn *conn);
void session_leave(struct session *session, struct conn *conn);
/* Ends it: all its connections are shut down, nobody finds it or its slabs any more. The keeper frees these and logs who
 * left. Idempotent. */
void session_end(struct sessions *sessions, struct session *session, const char *why, bool broken);

enum proto_status session_grant(struct sessions *sessions, struct session *session, bool mapped,
				uint32_t *ret_slab, char *sentence);
enum proto_status session_release(struct session *session, uint32_t slab);
/* The slab with a reference, or NULL. */
struct slab *session_slab(struct session *session, uint32_t slab);
enum proto_status session_shared(struct session *session, uint32_t slab, uint32_t *ret_shared);
enum proto_status session_clone(struct sessions *sessions, struct session *session,
				uint32_t life_ms, struct proto_ticket *ret_ticket, char *sentence);
void session_info(struct sessions *sessions, struct session *session, struct proto_info *ret_info);

/* Drops tickets that nobody came for. */
void sessions_expire(struct sessions *sessions, uint64_t now_ns);
/* Clients and tickets left. */
unsigned sessions_left(struct sessions *sessions);
/* Asks every client that understands it for its share of `slabs`; the caller wakes the workers. */
void sessions_ask_reclaim(struct sessions *sessions, unsigned slabs);
/* Refuses new sessions and grants from now on and tells the clients; the caller wakes the workers.
 */
void sessions_drain(struct sessions *sessions);

#endif
