/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the memory that is lent: slabs, each one memfd mapped into the donor.
 *
 * A slab is made when it is granted and its file closed when the last holder lets go, so a slab
 * that a client gets is always new, zeroed by the kernel, and memory that nobody holds is the
 * system's again. Holders are sessions, clone tickets, and connections that are moving its bytes.
 *
 * A client on this machine has the file of a slab itself, and may keep it when its session has ended. Such slabs are *kept*:
 * they count as lent until nobody but the donor has them, whoever that is.
 */
#ifndef DONOR_STORE_H
#define DONOR_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "libleap/proto.h"

struct options;
struct store;

struct slab {
	struct store *store;
	uint8_t *base;
	int fd;                  /* sealed: neither shrinks nor grows */
	atomic_uint refs;        /* everything that uses base */
	atomic_uint holders;     /* of these, sessions and tickets */
	_Atomic bool shared;     /* a client got the file */
	_Atomic bool given_back; /* its holder wants nothing of it any more */
	struct slab *prev, *next;
	struct slab *populate_next;
	bool uncounted; /* no longer in store->count */
	bool populating,
		orphan; /* store->lock; queued or in work in populate.c; without references */
	_Atomic uint64_t touched[PROTO_SLAB_PAGES / 64]; /* pages that slab_touch() mapped */
};

struct store {
	pthread_mutex_t lock;
	struct slab *slabs;
	struct slab *kept; /* without references here, but a client has them still */
	uint64_t nkept;
	uint64_t count;                /* slabs, with those being made and those kept */
	_Atomic uint64_t memory_bytes; /* most to lend */
	_Atomic bool pressed;          /* the machine is short of memory: grant nothing */
	struct slab *populate_first;   /* populate.c's queue */
	pthread_cond_t populate_more;
	bool populates; /* the thread runs */
	int numa_node;
	bool hugepages;
	_Atomic bool counts_users; /* the kernel tells who has a slab's file (/proc is there) */
	_Atomic bool huge_warned;
};

struct store_figures {
	uint64_t slabs, slabs_max, kept;
	uint64_t used_bytes; /* pages that the slabs really have */
};

/* Checks what it can before clients come. 0 or -errno with a sentence. */
int store_init(struct store *store, const struct options *options, char *error, size_t size);
/* mapped: by a client, too, who does not take pages of the pool of huge ones. A zeroed slab with one reference and one holder. -ENOSPC: all lent; -ENOMEM: the system has
 * none. */
int store_slab_new(struct store *store, bool mapped, struct slab **ret_slab);
/* A descriptor of its file for a client, which the caller closes. 0 or -errno. */
int slab_share(struct slab *slab, int *ret_fd);
/* Frees what clients kept and have let go of since. */
void store_sweep(struct store *store);
/* Empties what they gave back and keep: they may have written it again. By one thread. */
void store_empty_kept(struct store *store);
/* Bytes that clients whose sessions have ended still have. */
uint64_t store_kept_bytes(struct store *store);
void slab_get(struct slab *slab);
void slab_put(struct slab *slab);
/* Before the pages are written here: takes and maps them with one call, instead of a page fault
 * each. */
void slab_touch(struct slab *slab, uint32_t page, uint32_t npages);
/* As get and put, by a session or ticket. With erase, the last holder's put empties the pages at
 * once, even if a client still maps them; for slabs given back by their holder. */
void slab_empty(struct slab *slab);
void slab_hold(struct slab *slab);
void slab_drop(struct slab *slab, bool erase);
/* populate.c has done with it. */
void slab_populated(struct slab *slab);
/* Bytes that may still be lent. */
uint64_t store_free_bytes(struct store *store);
void store_figures(struct store *store, struct store_figures *ret_figures);
/* Runs this thread on the store's node, if there is one. */
void store_bind_thread(const struct store *store);

#endif
