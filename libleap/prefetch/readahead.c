/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readahead.c - cluster readahead as Linux does it on the swap path: the aligned block around the miss.
 *
 * The block's size: the hits since the last miss plus two, rounded up to a power of two from 4; without
 * hits two pages if the miss neighbours the last one, else the page alone; never more than window_max,
 * never less than half of the last block. The page that missed is part of its block.
 * Linux goes by swap slots; here pages are virtual.
 *
 * Markers: a touched marker stands for its block's pages. The next block lies behind it, or before it when
 * accesses run downwards, sized from the block's own pages as if all were hits. The size for misses
 * counts only blocks that a miss started.
 */
#include "libleap/prefetch/majority_core.h"
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/readahead.h"
#include "libleap/prefetch/throttle.h"

struct readahead {
	struct throttle
		throttle; /* of a marker's block; max is a power of two, and holds for misses, too */
	uint32_t hits;    /* since the last miss */
	uint32_t last_block; /* of a miss */
	uint32_t window;     /* last block of either kind */
	uint64_t last_page, last_miss;
	uint64_t started;       /* first page of the block that the last miss started */
	uint32_t started_pages; /* 0: none, or its marker was touched */
	bool begun;
	bool sequential; /* the program says that it scans upwards: a step forward starts a full block behind it */
};

static size_t state_bytes(const struct prefetch_params *params)
{
	return sizeof(struct readahead);
}

static int init(void *state, const struct prefetch_params *params)
{
	struct readahead *r = state;

	int err = prefetch_check_window(params);

	if (err)
		return err;
	r->throttle.max = 1;
	while (r->throttle.max * 2 <= params->window_max)
		r->throttle.max *= 2;
	r->throttle.limit = r->throttle.max;
	return 0;
}

static uint32_t size_of_miss(struct readahead *r, uint64_t page)
{
	bool neighbour = r->begun && (page == r->last_miss + 1 || page + 1 == r->last_miss);
	uint32_t block = readahead_of_miss(r->hits, neighbour, r->last_block, r->throttle.max);

	r->hits = 0;
	r->last_block = block;
	r->last_miss = page;
	return block;
}

static void miss(struct readahead *r, uint64_t page, struct prefetch_plan *plan)
{
	bool scan =
		r->sequential && r->begun && majority_is_forward((int64_t)(page - r->last_page));
	uint32_t block;

	if (r->begun && page == r->last_page)
		return; /* a retried fault */
	block = size_of_miss(r, page);
	if (scan && block < r->throttle.limit)
		block = r->throttle.limit;
	r->window = block;
	r->last_page = page;
	r->begun = true;
	r->started_pages = 0;
	if (block == 1)
		return;
	plan->start = scan ? page + 1 : page & ~(uint64_t)(block - 1);
	plan->delta = 1;
	plan->count = block;
	r->started = plan->start;
	r->started_pages = block;
}

static void marker(struct readahead *r, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	bool down = r->begun && a->page < r->last_page;
	uint64_t first = a->frontier - (a->credit - 1);
	uint32_t block;

	r->last_page = a->page;
	r->begun = true;
	if (!a->credit || a->delta != 1)
		return;
	if (r->started_pages && a->page - r->started < r->started_pages) {
		r->hits = a->credit / 2 + 1; /* the marker is in the middle */
		r->started_pages = 0;
	}
	throttle_used(&r->throttle, a->credit / 2);
	if (!r->throttle.dropped && a->credit >= r->throttle.limit)
		throttle_double(&r->throttle);
	block = readahead_of_hits(a->credit, r->throttle.limit);
	r->window = block;
	plan->delta = 1;
	if (!down) {
		/* up to the end of the aligned block that the next page lies in */
		plan->start = a->frontier + 1;
		plan->count = block - (uint32_t)(plan->start & (block - 1));
	} else if (first) {
		plan->start = (first - 1) & ~(uint64_t)(block - 1);
		plan->count = (uint32_t)(first - plan->start);
	}
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct readahead *r = state;

	plan->count = 0;
	switch (a->kind) {
	case PREFETCH_MISS:
		miss(r, a->page, plan);
		break;
	case PREFETCH_HIT:
		r->last_page = a->page;
		r->hits += r->hits < r->throttle.max;
		if (r->sequential && r->hits >= r->throttle.limit)
			throttle_double(&r->throttle);
		break;
	case PREFETCH_MARKER:
		marker(r, a, plan);
		break;
	}
}

/* The size of misses shrinks by itself, for want of hits; markers must be told. */
static void unused(void *state, uint32_t count)
{
	struct readahead *r = state;

	throttle_dropped(&r->throttle, count);
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct readahead *r = state;

	*ret_trend = r->window > 1;
	*ret_window = r->window;
}

static void hint(void *state, enum prefetch_hint hint)
{
	((struct readahead *)state)->sequential = hint == PREFETCH_HINT_SEQUENTIAL;
}

const struct prefetcher_ops prefetcher_readahead = {
	.size = sizeof(prefetcher_readahead),
	.name = "readahead",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
	.hint = hint,
};
