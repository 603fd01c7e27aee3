/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vma_readahead.c - readahead as Linux does it on the swap path of a device that does not rotate: by virtual
 * address, in the direction of the last two misses.
 *
 * The window's size is that of cluster readahead (readahead.c): hits since the last miss plus two, rounded
 * up to a power of two from 4; without hits two pages beside a neighbour, else the page alone; never less than
 * half of the last. It lies behind the miss when that follows the last miss, before it when it precedes
 * it, else around it; the page that missed is one of its pages.
 *
 * Markers: the next window lies behind the marker's (or before it, when accesses run downwards), twice as
 * large as that was.
 */
#include <errno.h>

#include "libleap/error.h"
#include "libleap/prefetch/prefetch.h"

#define WINDOW_MAX 512
#define WINDOW_MIN 4

struct vma_readahead {
	uint32_t window_max;
	uint32_t hits;        /* since the last miss */
	uint32_t last_window; /* of a miss */
	uint32_t limit;       /* of a marker's window, see unused() */
	uint32_t dropped;     /* pages dropped untouched, not yet made up for */
	uint32_t window;      /* last one of either kind */
	uint64_t last_miss;
	bool begun;
};

static size_t state_bytes(const struct prefetch_params *params)
{
	return sizeof(struct vma_readahead);
}

static int init(void *state, const struct prefetch_params *params)
{
	struct vma_readahead *r = state;

	if (!params->window_max || params->window_max > WINDOW_MAX)
		return error_set(EINVAL, "window_max %u is out of range: choose 1 to %d",
				 params->window_max, WINDOW_MAX);
	r->window_max = r->limit = params->window_max;
	return 0;
}

static uint32_t size_of_hits(uint32_t hits, uint32_t max)
{
	uint32_t window = WINDOW_MIN;

	while (window < hits + 2 && window < max)
		window *= 2;
	return window < max ? window : max;
}

static void miss(struct vma_readahead *r, uint64_t page, struct prefetch_plan *plan)
{
	bool up = r->begun && page == r->last_miss + 1, down = r->begun && page + 1 == r->last_miss;
	uint32_t window = 1, before;

	if (r->begun && page == r->last_miss)
		return; /* a retried fault */
	if (r->hits)
		window = size_of_hits(r->hits, r->window_max);
	else if (up || down)
		window = r->window_max < 2 ? 1 : 2;
	if (window < r->last_window / 2)
		window = r->last_window / 2;
	r->hits = 0;
	r->last_window = r->window = window;
	r->last_miss = page;
	r->begun = true;
	if (window == 1)
		return;
	before = up ? 0 : down ? window - 1 : (window - 1) / 2;
	plan->start = page > before ? page - before : 0;
	plan->delta = 1;
	plan->count = window;
}

static void marker(struct vma_readahead *r, const struct prefetch_access *a,
		   struct prefetch_plan *plan)
{
	uint64_t first = a->frontier - (a->credit - 1);
	bool down = r->begun && a->page < r->last_miss;
	uint32_t window;

	if (!a->credit || a->delta != 1)
		return;
	r->last_miss = down ? first : a->frontier; /* what goes on from here follows it */
	r->begun = true;
	r->dropped -= a->credit / 2 < r->dropped ? a->credit / 2 : r->dropped;
	if (!r->dropped && a->credit >= r->limit)
		r->limit = r->limit > r->window_max / 2 ? r->window_max : r->limit * 2;
	window = size_of_hits(a->credit, r->limit);
	if (down && window > first)
		window = (uint32_t)first;
	r->window = window;
	plan->start = down ? first - window : a->frontier + 1;
	plan->delta = 1;
	plan->count = window;
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct vma_readahead *r = state;

	plan->count = 0;
	switch (a->kind) {
	case PREFETCH_MISS:
		miss(r, a->page, plan);
		break;
	case PREFETCH_HIT:
		r->last_miss = a->page;
		r->begun = true;
		r->hits += r->hits < r->window_max;
		break;
	case PREFETCH_MARKER:
		marker(r, a, plan);
		break;
	}
}

static void unused(void *state, uint32_t count)
{
	struct vma_readahead *r = state;

	r->dropped += count < r->window_max ? count : r->window_max;
	while (r->dropped >= r->limit && r->limit > 1) {
		r->dropped -= r->limit;
		r->limit /= 2;
	}
	if (r->dropped > r->limit)
		r->dropped = r->limit;
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct vma_readahead *r = state;

	*ret_trend = r->window > 1;
	*ret_window = r->window;
}

const struct prefetcher_ops prefetcher_vma_readahead = {
	.size = sizeof(prefetcher_vma_readahead),
	.name = "vma-readahead",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
};
