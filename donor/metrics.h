/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - figures of the whole donor since its start; logged on SIGUSR1 and at exit.
 */
#ifndef DONOR_METRICS_H
#define DONOR_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

struct metrics {
	_Atomic uint64_t clients;         /* now */
	_Atomic uint64_t clients_total;   /* ever */
	_Atomic uint64_t clients_refused; /* handshakes answered with a refusal */
	_Atomic uint64_t clients_broken;  /* dropped for a message that breaks the protocol */
	_Atomic uint64_t connections;     /* now */
	_Atomic uint64_t grants, grants_refused, releases, clones;
	_Atomic uint64_t reads, writes;       /* requests */
	_Atomic uint64_t bytes_in, bytes_out; /* page bytes */
	_Atomic uint64_t reclaims;            /* RECLAIM messages sent */
};

extern struct metrics metrics;

static inline void metrics_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

struct store;
void metrics_log(struct store *store);

#endif
