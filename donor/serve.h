/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - worker threads and listeners.
 *
 * The control worker has all connections but lanes. It moves no pages and waits for nothing that others do: by its answers
 * clients judge whether the donor lives. The data workers have the lanes.
 */
#ifndef DONOR_SERVE_H
#define DONOR_SERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "donor/conn.h"
#include "donor/options.h"

struct donor;
struct rdma_peer;
struct rdma_server;

struct worker {
	struct donor *donor;
	pthread_t thread;
	bool control;
	int epoll_fd;
	int wake_fd;
	_Atomic bool stop;
	_Atomic bool notices; /* some session has something to tell */
	uint64_t swept_ns;
	uint64_t busy_ns; /* when there was work last */
	struct conn *ready, **ready_tail;
	struct conn *dead; /* closed, freed at the end of the round */
	uint8_t *scratch;  /* where unwanted payload goes */
	pthread_mutex_t
		lock; /* conns, strangers: also changed by the accepting thread and the control worker */
	struct conn *conns;
	_Atomic unsigned strangers; /* came since the last sweep */
};

struct listener {
	int fd;
	bool local;
	bool abstract;
	struct rdma_server *rdma; /* serve_rdma.h; or NULL */
	char path[108];           /* socket file to remove at exit; "" when none */
	char text[320];           /* "tcp://127.0.0.1:9400", with the real port */
};

struct donor {
	struct options options;
	struct store store;
	struct sessions sessions;
	unsigned conns_max;    /* the other descriptors are for slabs */
	uint64_t full_said_ns; /* the accepting thread's */
	struct worker control;
	struct worker *workers; /* for data */
	unsigned nworkers;
	unsigned next_worker; /* the control worker's */
	struct listener listeners[OPTIONS_LISTEN_MAX];
	unsigned nlisteners;
};

#define WORKER_SCRATCH_BYTES 65536

int workers_start(struct donor *donor, char *error, size_t size);
void workers_stop(struct donor *donor);
/* Makes the control worker look for notices. */
void workers_notify(struct donor *donor);
/* Hands an accepted socket to the control worker; closes it on failure. rdma: whose messages come by this socket, or NULL; with
 * a reference. */
void worker_adopt(struct donor *donor, int fd, enum conn_from from, bool local, const char *peer,
		  struct rdma_peer *rdma);

/* Each opens one listener; 0 or -errno with a sentence. */
int serve_tcp_listen(const struct listen_address *address, struct listener *ret, char *error,
		     size_t size);
int serve_shm_listen(const struct listen_address *address, struct listener *ret, char *error,
		     size_t size);
/* Accepts what waits. False: out of descriptors, pause. */
bool serve_tcp_accept(struct donor *donor, struct listener *listener);
bool serve_shm_accept(struct donor *donor, struct listener *listener);
void listener_close(struct listener *listener);

#endif
