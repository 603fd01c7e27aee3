/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_released.c - what the paper's released code does, where it is not the paper. For comparison, in the
 * simulator only.
 *
 *   - the history begins as zeroes, which count as steps; the search begins with a quarter of it;
 *   - a read that is still under way when its fault is retried is looked up, and so recorded, again, as a
 *     step of 0: "majority-released-retried" supposes that of every miss, "majority-released" of none;
 *   - the window is that of Linux's cluster readahead without its test for neighbours: at least 4 pages, never
 *     none, and it counts the page that missed;
 *   - without a trend the aligned cluster around the page is read;
 *   - one history for all, by swap slot: here by page, since traces have no slots.
 */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/prefetch/majority_core.h"
#include "tools/sim.h"

#define WINDOW_MIN 4
#define SPLIT      4

struct released {
	uint32_t hits, last_window, window_max;
	bool retried;
	uint64_t last_page;
	int64_t trend;
	struct majority history; /* of which only the ring is used; it ends with it */
};

static size_t state_bytes(const struct prefetch_params *params)
{
	return sizeof(struct released) + params->history_size * sizeof(int64_t);
}

static int init(void *state, const struct prefetch_params *params)
{
	struct released *r = state;

	if (params->history_size < SPLIT)
		return error_set(EINVAL, "history_size %u is out of range: choose %d or more",
				 params->history_size, SPLIT);
	r->window_max = params->window_max;
	majority_init(&r->history, params->history_size, SPLIT, params->window_max, false);
	r->history.fill = r->history.size; /* of zeroes */
	return 0;
}

static int init_retried(void *state, const struct prefetch_params *params)
{
	((struct released *)state)->retried = true;
	return init(state, params);
}

static void record(struct released *r, uint64_t page)
{
	majority_push(&r->history, (int64_t)(page - r->last_page));
	r->last_page = page;
}

static uint32_t window_size(struct released *r)
{
	uint32_t window = WINDOW_MIN;

	while (window < r->hits + 2)
		window *= 2;
	if (window > r->window_max)
		window = r->window_max;
	if (window < r->last_window / 2)
		window = r->last_window / 2;
	r->hits = 0;
	r->last_window = window;
	return window;
}

/* Whether more than half of the newest w steps are 0: a trend of 0, which reads the page again and no other. */
static bool stands_still(const struct released *r)
{
	for (uint32_t w = r->history.size / SPLIT; w <= r->history.size; w *= 2) {
		uint32_t zeroes = 0;

		if (majority_vote(&r->history, w))
			return false;
		for (uint32_t i = 0; i < w; i++)
			zeroes += !majority_newest(&r->history, i);
		if (zeroes > w / 2)
			return true;
	}
	return false;
}

static void miss(struct released *r, uint64_t page, struct prefetch_plan *plan)
{
	uint32_t window;

	record(r, page);
	window = window_size(r);
	r->trend = 0;
	if (!stands_still(r)) {
		r->trend = majority_trend(&r->history);
		plan->delta = r->trend ? r->trend : 1;
		plan->start = r->trend ? page : page & ~(uint64_t)(window - 1);
		plan->count = window;
	}
	if (r->retried)
		record(r, page);
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct released *r = state;

	if (a->kind == PREFETCH_HIT)
		record(r, a->page);
	if (a->kind == PREFETCH_HIT)
		r->hits++;
	else if (a->kind == PREFETCH_MISS)
		miss(r, a->page, plan);
}

static void unused(void *state, uint32_t count)
{
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct released *r = state;

	*ret_trend = r->trend;
	*ret_window = r->last_window;
}

static const struct prefetcher_ops released = {
	.size = sizeof(released),
	.name = "majority-released",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
};

static const struct prefetcher_ops released_retried = {
	.size = sizeof(released_retried),
	.name = "majority-released-retried",
	.state_bytes = state_bytes,
	.init = init_retried,
	.access = access,
	.unused = unused,
	.peek = peek,
};

const struct prefetcher_ops *sim_policy(const char *name)
{
	if (!strcmp(name, released.name))
		return &released;
	if (!strcmp(name, released_retried.name))
		return &released_retried;
	return prefetcher_find(name);
}
