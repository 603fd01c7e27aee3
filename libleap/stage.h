/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.h - a shard's staging buffers: where reads land, and where fetched pages stay that are not mapped yet
 * (state STAGED: markers of asynchronous transports, all prefetched pages in cache mode).
 *
 * A fixed pool of single-page buffers in runs, so that a read of n pages lands in n neighbours. STAGED pages are found through
 * a small hash table keyed by region and page. When buffers run out, the pages that have been STAGED longest make room, but for those
 * behind the fence: a plan does not drop what it wants or brought itself. Under the shard's lock.
 */
#ifndef LEAP_STAGE_H
#define LEAP_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAGE_PAGES 1024

struct leap_region;
struct shard;

struct stage_entry {
	struct leap_region *region; /* NULL: buffer holds no STAGED page */
	size_t page;
	int32_t next;         /* hash chain */
	int32_t older, newer; /* in order of staging */
	uint64_t number;
};

struct stage {
	char *area;
	uint64_t used[STAGE_PAGES / 64];
	uint32_t nused;
	uint32_t hint;
	uint32_t high; /* buffers ever used: memory that is really there */
	uint32_t nstaged;
	uint64_t inserted, fence; /* running numbers */
	int32_t bucket[STAGE_PAGES];
	int32_t oldest, newest;
	struct stage_entry entry[STAGE_PAGES];
};

int stage_init(struct stage *stage);
void stage_destroy(struct stage *stage);
/* n <= 64 neighbouring buffers: index of the first, or -1. Single ones come from the gaps between runs. */
int stage_take(struct stage *stage, unsigned n);
void stage_put(struct stage *stage, unsigned first, unsigned n);
static inline char *stage_buf(const struct stage *stage, unsigned i)
{
	return stage->area + ((size_t)i << 12);
}
/* Buffer i (taken) holds this STAGED page from now on. */
void stage_insert(struct stage *stage, unsigned i, struct leap_region *region, size_t page);
int stage_find(const struct stage *stage, const struct leap_region *region, size_t page);
/* The buffer holds no STAGED page any more; still taken. */
void stage_remove(struct stage *stage, unsigned i);
/* As if it had been inserted now. */
void stage_renew(struct stage *stage, unsigned i);
/* What is inserted from now on is behind the fence. */
static inline void stage_fence(struct stage *stage)
{
	stage->fence = stage->inserted;
}
/* Is there a STAGED page that is not? */
static inline bool stage_droppable(const struct stage *stage)
{
	return stage->oldest >= 0 && stage->entry[stage->oldest].number < stage->fence;
}

#endif
