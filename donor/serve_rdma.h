/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_rdma.h - clients that read and write their slabs by RDMA.
 *
 * A *peer* is one client: its control connection, its lanes, its protection domain and the keys of its slabs. The main
 * thread runs all connections (listener.fd tells when there is work). Control messages travel between the control
 * connection and a socket pair whose other end is an ordinary connection of a worker: sessions, requests and notices
 * are the same code for all carriers. Reads and writes pass by this process.
 */
#ifndef DONOR_SERVE_RDMA_H
#define DONOR_SERVE_RDMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libleap/proto.h"

struct donor;
struct listen_address;
struct listener;
struct rdma_peer;
struct session;
struct slab;

/* Opens a listener; 0 or -errno with a sentence. */
int serve_rdma_listen(struct donor *donor, const struct listen_address *address,
		      struct listener *ret, char *error, size_t size);
/* Is it the address of an RDMA device here? */
bool serve_rdma_owns(const struct listen_address *address);
/* Main thread: does what waits; never blocks. */
void serve_rdma_run(struct listener *listener);
/* Main thread, every quarter of a second: finds clients that are gone or were refused by the device. */
void serve_rdma_tick(struct listener *listener, uint64_t now_ns);
/* Main thread: logs each client's device, queue pairs and registered memory. */
void serve_rdma_report(struct listener *listener);
/* After the workers have stopped. */
void serve_rdma_close(struct listener *listener);

/*
 * For the connection on the other end of the socket pair; worker's thread.
 */
/* The handshake has succeeded: lanes may join with the session's token. */
void rdma_peer_named(struct rdma_peer *peer, const struct session *session);
/* Makes the slab reachable for this client alone. */
enum proto_status rdma_peer_attach(struct rdma_peer *peer, uint32_t number, struct slab *slab,
				   struct proto_region *ret_region, char *sentence);
/* Revokes the key; in the wake of it no access is under way any more. */
void rdma_peer_detach(struct rdma_peer *peer, uint32_t number);
/* The connection closes: revokes all keys and lets go of the peer. */
void rdma_peer_leave_soon(struct rdma_peer *peer);

#endif
