/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.h - bringing pages home: REMOTE to LOCAL (mapped) or STAGED.
 *
 * A donor whose transport completes inside submit() is read at once, under the shard's lock; pages never show
 * as FILLING then. From other donors a read is posted, its pages are FILLING until fetch_reap() installs
 * them. What a donor returns is checked against the page's hash before anyone sees it.
 *
 * Fault role; shard lock held unless said otherwise. No room is made here: the caller did.
 */
#ifndef LEAP_FETCH_H
#define LEAP_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct extent;
struct leap_region;
struct shard;

int fetch_init(struct shard *shard);
void fetch_destroy(struct shard *shard);

/* The page a thread waits for (state REMOTE). Afterwards it is LOCAL, LOST, or FILLING with a wake to come. */
void fetch_demand(struct shard *shard, struct leap_region *region, size_t index);

enum fetch_how {
	FETCH_MAP,   /* map the pages */
	FETCH_STAGE, /* leave them STAGED */
};
/* Prefetches those pages of mask that are REMOTE. Returns how many were brought or posted; fewer
 * than asked for when staging buffers or requests run out. */
unsigned fetch_extent(struct shard *shard, struct extent *e, uint64_t mask, enum fetch_how how);

/* Starts queued requests. Lock not needed. */
void fetch_flush(struct shard *shard);
/* Waits for all reads that are under way. */
void fetch_drain(struct shard *shard);
/* Polls the lanes and installs what arrived. Lock NOT held. Returns completions. */
int fetch_reap(struct shard *shard);

/* Maps a STAGED page and wakes. */
void fetch_map_staged(struct shard *shard, struct leap_region *region, size_t index);
/* Drops a STAGED page: REMOTE again. */
void fetch_drop_staged(struct shard *shard, struct leap_region *region, size_t index);
/* Frees the buffer of the page that has been STAGED longest: REMOTE again, or mapped if its donor is gone and its extent is not
 * BUSY. False when there is none. */
bool fetch_free_buffer(struct shard *shard);
/* Neighbouring buffers for a prefetch of *n pages, or for as many as there are, which sets *n: index of the first, or -1. Frees
 * those of pages that have been STAGED longest, but behind the fence (stage.h). */
int fetch_take_buffers(struct shard *shard, unsigned *n);
/* Maps a LIMBO page and wakes. */
void fetch_rescue(struct shard *shard, struct extent *e, unsigned i);
/* Maps those pages of mask that are in LIMBO and not being written, run by run, without waking. Returns how
 * many. */
unsigned fetch_rescue_extent(struct shard *shard, struct extent *e, uint64_t mask);

#endif
