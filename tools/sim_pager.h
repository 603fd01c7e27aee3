/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_pager.h - the runtime's memory in a model (leap sim --model runtime): extents, their queue, limbo, the limit.
 *
 * Each function does what its namesake in libleap does, page states only: see evict.c, evict_room.c, limbo.c,
 * plan.c. What the model does not know: pinned pages, donors that are full or slow, evictors that work at
 * the same time as faults are served.
 */
#ifndef LEAP_TOOLS_SIM_PAGER_H
#define LEAP_TOOLS_SIM_PAGER_H

#include <stdbool.h>
#include <stdint.h>

#define PAGER_EXTENT_PAGES 64
#define PAGER_KEY_BITS     40    /* of the number, in a key */
#define PAGER_STRIPE_PAGES 65536 /* a plan does not leave its stripe */

/* A bit a page. A page that is in none of the first four is absent: it has no content. */
struct pager_extent {
	uint64_t key; /* region and number + 1; 0: free */
	uint64_t local, limbo, remote, staged;
	uint64_t prefetched; /* brought, not known to be touched */
	uint64_t marker;
	uint64_t recorded;   /* local in the run that was recorded */
	uint64_t kept;       /* in limbo there */
	uint32_t prev, next; /* of those with local pages, oldest first */
	uint32_t slot;       /* 1 + limbo slot */
	uint32_t cell;       /* who prefetched last */
	bool queued;
};

#define PAGER_LIMBO_SLOTS 256
#define PAGER_STAGE_PAGES 1024 /* buffers for pages that wait unmapped */

struct pager {
	struct pager_extent *extents; /* number 0 is the queue's end */
	uint32_t nextents, room;
	uint32_t *index; /* hash table of numbers */
	uint32_t index_size;
	uint64_t last_key;
	uint32_t last;
	bool all_remote;  /* what was never told of is remote, not absent */
	bool recycles;    /* donors that answer at once */
	uint64_t limit;   /* pages */
	uint64_t percent; /* of the limit for limbo */
	uint64_t local, frames, evicted;
	uint64_t untouched; /* prefetched, not known to be touched */
	struct {
		uint32_t extent;
		uint64_t bit, number;
	} stage[PAGER_STAGE_PAGES]; /* staged pages, oldest first */
	unsigned staged;
	uint64_t inserted, fence; /* stage.h of libleap */
	struct {
		uint32_t extent; /* 0: free */
		uint64_t frames;
	} slot[PAGER_LIMBO_SLOTS];
	uint32_t head, tail; /* running numbers */
	/* Pages that were prefetched leave untouched: with others of the extent, or one that was staged. */
	void (*unused)(void *context, uint32_t extent, uint64_t mask);
	void (*unused_staged)(void *context, uint32_t extent, uint64_t page);
	void *context;
};

enum pager_room {
	PAGER_ROOM,
	PAGER_ROOM_RECYCLE, /* an extent was taken out, its frames may be used */
};

/* 0 or -ENOMEM with the sentence set. */
int pager_init(struct pager *pager);
void pager_free(struct pager *pager);
/* Number of the extent, made at first use; 0 when there is no memory. Pointers are good until the next call. */
uint32_t pager_extent(struct pager *pager, uint32_t region, uint64_t number);
static inline struct pager_extent *pager_at(const struct pager *pager, uint32_t extent)
{
	return &pager->extents[extent];
}

/* The region that the extent is of, and its first page there. */
static inline uint32_t pager_region(const struct pager *pager, uint32_t extent)
{
	return (uint32_t)(pager_at(pager, extent)->key >> PAGER_KEY_BITS);
}
static inline uint64_t pager_first_page(const struct pager *pager, uint32_t extent)
{
	uint64_t number = pager_at(pager, extent)->key & ((1ull << PAGER_KEY_BITS) - 1);

	return (number - 1) * PAGER_EXTENT_PAGES;
}

/* Pages of the extent are such that were prefetched and are untouched, or no such pages any more. */
void pager_prefetched(struct pager *pager, uint32_t extent, uint64_t mask, bool are);
/* Pages become local, wherever they were. */
void pager_map(struct pager *pager, uint32_t extent, uint64_t mask);
/* Their content is gone. */
void pager_drop(struct pager *pager, uint32_t extent, uint64_t mask);
/* Local pages go to limbo; pages in limbo, or in a buffer, become remote: as it was recorded. */
void pager_evict(struct pager *pager, uint32_t extent, uint64_t mask);
void pager_retire(struct pager *pager, uint32_t extent, uint64_t mask);
/* Remote pages wait in buffers; those that have waited longest make room, but for those behind the fence. Returns which were
 * staged: as many as there are buffers for. */
uint64_t pager_stage(struct pager *pager, uint32_t extent, uint64_t mask);
/* The page that has waited longest gives up its buffer, but not one behind the fence. False: there is none. */
bool pager_drop_oldest(struct pager *pager);
/* A staged page counts as staged now. */
void pager_renew(struct pager *pager, uint32_t extent, uint64_t bit);
static inline void pager_fence(struct pager *pager)
{
	pager->fence = pager->inserted;
}
/* Room for n pages under the limit. */
void pager_make_room(struct pager *pager, uint64_t n);
/* Room for pages of one extent that are brought together. */
enum pager_room pager_room_for(struct pager *pager, unsigned want);
/* True: the frames of the newest extent in limbo are free for the pages that come. */
bool pager_recycle(struct pager *pager, uint64_t mask);
/* Free pages that are aimed at. */
uint64_t pager_headroom(const struct pager *pager);
static inline bool pager_over(const struct pager *pager, uint64_t n)
{
	return pager->local + pager->frames + n > pager->limit;
}

#endif
