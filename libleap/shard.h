/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shard.h - a pager for its share of the address space: one userfaultfd, one fault thread (or, with the
 * front end inline, the faulting thread itself), one eviction queue, one limbo, its own lanes.
 *
 * Shards share nothing on the fault path but the slot table and the session's page budget. All fields are
 * protected by `lock` unless they say otherwise; what takes long (ioctls over an extent, hashing, I/O of
 * asynchronous transports) is done without it, on pages that are FILLING or extents that are BUSY.
 *
 * Two roles exist per shard, each held by one thread at a time:
 *   fault role   reads messages, owns the demand and prefetch lanes and the staging pool. Held for ever by the
 *		  fault thread, or taken per fault (role_lock) by the front end inline.
 *   evict role   owns the write lane. Taken per batch (evict_lock).
 */
#ifndef LEAP_SHARD_H
#define LEAP_SHARD_H

#include "libleap/limbo.h"
#include "libleap/lock.h"
#include "libleap/recorder.h"
#include "libleap/region.h"
#include "libleap/stage.h"
#include "libleap/thread.h"
#include "libleap/transport/uri.h"
#include "libleap/util/hist.h"
#include "libleap/waiting.h"
#include "libleap/window.h"

struct leap;

struct shard_counters {
	uint64_t faults, faults_zero, faults_remote, faults_limbo, faults_staged, faults_wp,
		faults_spurious;
	uint64_t prefetched, prefetch_hits, prefetch_unused, markers;
	uint64_t evicted, evicted_clean, evicted_zero, written, read, io_errors, over_limit;
};

struct extent_queue {
	struct extent *head, *tail;
};

/* Work that other threads ask of the fault thread: fetch pages (hints). */
#define SHARD_HINTS 64
struct shard_hint {
	struct leap_region *region;
	size_t page, count;
};

struct shard {
	struct leap *leap;
	unsigned index;
	int uffd;
	bool inline_faults; /* front end inline: the uffd raises SIGBUS */

	struct lock role_lock;  /* fault role, inline only; before evict_lock */
	struct lock evict_lock; /* evict role; before lock */
	struct lock lock;
	uint32_t event; /* changes when a busy page or extent becomes free */

	struct extent_queue queue; /* extents with local pages, oldest first */
	struct limbo limbo;
	struct stage stage;
	struct windows windows;
	struct views views;
	uint64_t fault_ns; /* when the fault that is being served came, since the session's start */

	/* gauges, in pages */
	uint64_t local, staged, remote, lost;
	uint64_t untouched; /* with PAGE_PREFETCHED: shard_prefetched() */

	/* donors full: how many pages had come home when none could go out */
	uint64_t fruitless, fruitless_until_ns;

	/* the kernel had no memory for a page */
	bool starved;
	uint64_t starved_said_ns;

	/* first-touch runs */
	struct leap_region *zero_region;
	size_t zero_next;
	unsigned zero_window;

	struct lane *demand[LEAP_DONORS_MAX];   /* fault role */
	struct lane *prefetch[LEAP_DONORS_MAX]; /* fault role */
	struct lane *write[LEAP_DONORS_MAX];    /* evict role */
	unsigned writes_in_flight;              /* evict role */
	unsigned writes_again;                  /* limbo slots with such; evict role */
	uint32_t deaths_seen;    /* donors whose pages in limbo were seen to; evict role */
	uint64_t stuck_until_ns; /* fault role */
	struct evict_write *write_pool, *write_free, *write_done; /* evict role */

	struct fetch *fetch_pool, *fetch_free, *fetch_done; /* fault role */
	unsigned fetches_in_flight;                         /* fault role */

	struct shard_hint hints[SHARD_HINTS];
	unsigned hint_head, hint_tail;

	struct recorder_ring *ring; /* NULL: nothing is recorded */

	struct shard_counters count;
	struct hist fault_hist, remote_hist;
	struct waiting waiting;
	int64_t trend;
	uint32_t window;

	struct thread thread;
	pid_t tid;
	bool thread_runs;
	int wake_fd; /* eventfd: makes the fault thread look at hints and stop */
	bool stop;   /* atomic */
};

int shard_init(struct leap *leap, struct shard *shard, unsigned index);
/* Opens the userfaultfd and the limbo area registered with it. */
int shard_open_uffd(struct shard *shard);
/* In a forked child: a new userfaultfd for the same limbo area. */
int shard_reopen_uffd(struct shard *shard);
void shard_destroy(struct shard *shard);
/* A shard's lanes to a donor: demand, prefetch, write. lanes_open() leaves none open on failure. Control context. */
#define SHARD_LANES 3
struct donor;
int lanes_open(const struct donor *donor, struct lane **ret_lanes);
void lanes_close(const struct donor *donor, struct lane **lanes);
/* Opens the lanes to a donor of the list. Control context. */
int shard_open_lanes(struct shard *shard, uint32_t donor);
/* Takes lanes that are open. The shard's threads see them from now on. */
void shard_set_lanes(struct shard *shard, uint32_t donor, struct lane *const *lanes);
void shard_close_lanes(struct shard *shard, uint32_t donor);
/* Pages of the extent became LOCAL / stopped being so: bitmap, queue, gauges. Lock held. */
void shard_pages_local(struct shard *shard, struct extent *e, uint64_t mask);
void shard_pages_unlocal(struct shard *shard, struct extent *e, uint64_t mask);
/* The page is one that was prefetched and is not known to be touched, or no such page any more. Lock held. */
static inline void shard_prefetched(struct shard *shard, struct page *page, bool is)
{
	if (page_has(page, PAGE_PREFETCHED) == is)
		return;
	page_set_flags(page, is ? PAGE_PREFETCHED : 0, is ? 0 : PAGE_PREFETCHED);
	__atomic_store_n(&shard->untouched, shard->untouched + (is ? 1 : -1), __ATOMIC_RELAXED);
}
void shard_queue_remove(struct shard *shard, struct extent *e);
void shard_queue_front(struct shard *shard, struct extent *e);
void shard_queue_tail(struct shard *shard, struct extent *e);
/* Makes the fault thread look at hints, lanes and `stop`. */
void shard_kick(struct shard *shard);

#endif
