/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vma_readahead.c - readahead as Linux does it on the swap path of a device that does not rotate: by virtual
 * address, in the direction of the last two misses.
 *
 * The window's size is that of cluster readahead (readahead.h). It lies behind the miss when that follows the last miss, before it when it precedes
 * it, else around it; the page that missed is one of its pages.
 *
 * Markers: the next window lies behind the marker's (or before it, when accesses run downwards), twice as
 * large as that was.
 */
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/readahead.h"
#include "libleap/prefetch/throttle.h"

struct vma_readahead {
	struct throttle throttle; /* of a marker's window; max holds for misses, too */
	uint32_t hits;            /* since the last miss */
	uint32_t last_window;     /* of a miss */
	uint32_t window;          /* last one of either kind */
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

	int err = prefetch_check_window(params);

	if (err)
		return err;
	r->throttle.max = r->throttle.limit = params->window_max;
	return 0;
}

static void miss(struct vma_readahead *r, uint64_t page, struct prefetch_plan *plan)
{
	bool up = r->begun && page == r->last_miss + 1, down = r->begun && page + 1 == r->last_miss;
	uint32_t window, before;

	if (r->begun && page == r->last_miss)
		return; /* a retried fault */
	window = readahead_of_miss(r->hits, up || down, r->last_window, r->throttle.max);
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
	throttle_used(&r->throttle, a->credit / 2);
	if (!r->throttle.dropped && a->credit >= r->throttle.limit)
		throttle_double(&r->throttle);
	window = readahead_of_hits(a->credit, r->throttle.limit);
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
		r->hits += r->hits < r->throttle.max;
		break;
	case PREFETCH_MARKER:
		marker(r, a, plan);
		break;
	}
}

static void unused(void *state, uint32_t count)
{
	struct vma_readahead *r = state;

	throttle_dropped(&r->throttle, count);
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
