/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nextn.c - next-N-line: every miss brings the N pages behind it, whatever came before. A baseline.
 *
 * N is 8, or window_max if that is less. A touched marker brings the N pages behind its window.
 */
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/throttle.h"

#define PAGES 8

struct nextn {
	uint32_t pages;
	uint64_t last_miss;
	bool begun;
};

static size_t state_bytes(const struct prefetch_params *params)
{
	return sizeof(struct nextn);
}

static int init(void *state, const struct prefetch_params *params)
{
	struct nextn *n = state;

	int err = prefetch_check_window(params);

	if (err)
		return err;
	n->pages = params->window_max < PAGES ? params->window_max : PAGES;
	return 0;
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct nextn *n = state;

	plan->count = 0;
	if (a->kind == PREFETCH_HIT || (a->kind == PREFETCH_MARKER && a->delta != 1))
		return;
	if (a->kind == PREFETCH_MISS && n->begun && a->page == n->last_miss)
		return; /* a retried fault */
	if (a->kind == PREFETCH_MISS) {
		n->last_miss = a->page;
		n->begun = true;
	}
	plan->start = (a->kind == PREFETCH_MISS ? a->page : a->frontier) + 1;
	plan->delta = 1;
	plan->count = n->pages;
}

static void unused(void *state, uint32_t count)
{
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct nextn *n = state;

	*ret_trend = 1;
	*ret_window = n->pages;
}

const struct prefetcher_ops prefetcher_nextn = {
	.size = sizeof(prefetcher_nextn),
	.name = "nextn",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
};
