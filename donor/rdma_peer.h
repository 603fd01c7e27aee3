/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_peer.h - what serve_rdma.c (connections) and rdma_peer.c (keys) share.
 *
 * A peer has two owners: the main thread, which runs its connections and ends them, and the connection on the worker's
 * end of the socket pair, which attaches slabs. It is freed when both have let go. Keys are behind its lock.
 */
#ifndef DONOR_RDMA_PEER_H
#define DONOR_RDMA_PEER_H

#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "donor/keeper.h"
#include "libleap/transport/rdma_proto.h"

#define RDMA_SENDS    RDMA_RECVS
#define RDMA_WR_SEND  (1ull << 32) /* in wr_id */
#define RDMA_WR_PROBE (1ull << 33)

struct donor;
struct rdma_peer;
struct slab;

/* One listener and its clients. */
struct rdma_server {
	struct donor *donor;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	int epoll_fd;
	struct rdma_host *hosts;
	struct rdma_peer *peers;
	struct rdma_peer *ended;
	unsigned npeers;
};

/* One connection: the control connection, or a lane. */
struct rdma_end {
	struct rdma_peer *peer;
	struct rdma_cm_id *id;
	struct rdma_end *prev, *next; /* lanes */
	bool lane;
};

/* A device with clients. */
struct rdma_host {
	struct rdma_host *next;
	struct ibv_context *verbs;
	struct ibv_comp_channel *comp;
	uint32_t reads_max; /* that it answers at once, a connection */
};

struct peer_key {
	struct slab *slab; /* with a reference; NULL: none */
	struct ibv_mr *mr;
};

struct rdma_peer {
	/* main thread */
	struct rdma_server *server;
	struct rdma_peer *prev, *next;
	struct rdma_host *host;
	struct rdma_end control;
	struct rdma_end *lanes;
	struct ibv_cq *cq;
	struct ibv_mr *buffers_mr;
	uint8_t *buffers; /* RDMA_RECVS to receive into, as many to send from */
	int fd;           /* our end of the socket pair */
	uint64_t sent, sent_done;
	uint32_t in_bytes; /* of the message coming from the worker */
	bool blocked;      /* no send buffer: the socket is not read */
	bool closing;      /* the worker has closed: ends when all is sent */
	bool ended;
	bool probing;
	uint64_t probed_ns;
	uint8_t in[RDMA_MESSAGE_BYTES];
	char name[96]; /* for the log */

	struct ibv_pd *pd;
	uint8_t port_num;
	unsigned mtu;
	uint32_t reads; /* outstanding, a lane */
	atomic_uint refs;
	atomic_uint nlanes, nlanes_most; /* now, and at most so far */

	struct keeper_job leave;
	pthread_mutex_t lock; /* all below */
	bool named;
	bool left;
	uint64_t session;
	uint8_t token[PROTO_TOKEN_BYTES];
	struct peer_key *keys;
	uint32_t nkeys;
	uint64_t registered_bytes, registered_most;
};

void rdma_peer_put(struct rdma_peer *peer);
/* Logs what it has of the device. */
void rdma_peer_report(struct rdma_peer *peer);

/*
 * rdma_host.c; main thread
 */
void rdma_fd_nonblock(int fd);
/* The device of these verbs, watched by the server; NULL: no memory. */
struct rdma_host *rdma_host_get(struct rdma_server *server, struct ibv_context *verbs);
void rdma_host_completions(struct rdma_host *host);
void rdma_host_events(struct rdma_server *server, struct rdma_host *host);

/*
 * rdma_end.c; main thread
 */
int rdma_watch(struct rdma_server *server, int op, int fd, unsigned events, void *what);
void rdma_lane_end(struct rdma_end *end);
/* Destroys what it has been given of queues and buffers; not the keys, nor the peer. */
void rdma_peer_release(struct rdma_peer *peer);
/* Ends all its connections, and by the socket its session. Idempotent. */
void rdma_peer_end(struct rdma_peer *peer);
void rdma_peer_drop(struct rdma_peer *peer, const char *why);
int rdma_peer_post_recv(struct rdma_peer *peer, uint32_t i);
/* From the worker to the client. */
void rdma_peer_pump(struct rdma_peer *peer);
/* Completions: messages that arrived go to the worker. */
void rdma_peer_reap(struct rdma_peer *peer);

#endif
