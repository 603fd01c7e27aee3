/* SPDX-License-Identifier: Apache-2.0 */
/* majority.c - the majority-trend policy; what it does stands in majority_core.h. */
#include "libleap/prefetch/majority_core.h"
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/throttle.h"

#define HISTORY_MIN 2
#define HISTORY_MAX 4096

static size_t state_bytes(const struct prefetch_params *params)
{
	return sizeof(struct majority) + params->history_size * sizeof(int64_t);
}

static int init(void *state, const struct prefetch_params *params)
{
	int err;

	if (params->history_size < HISTORY_MIN || params->history_size > HISTORY_MAX)
		return error_set(EINVAL, "history_size %u is out of range: choose %d to %d",
				 params->history_size, HISTORY_MIN, HISTORY_MAX);
	if (!params->history_split || params->history_split > params->history_size)
		return error_set(EINVAL,
				 "history_split %u is out of range: choose 1 to history_size (%u)",
				 params->history_split, params->history_size);
	err = prefetch_check_window(params);
	if (err)
		return err;
	majority_init(state, params->history_size, params->history_split, params->window_max,
		      params->around_both);
	return 0;
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct majority_window window = {0};

	switch (a->kind) {
	case PREFETCH_MISS:
		majority_miss(state, a->page, &window);
		break;
	case PREFETCH_HIT:
		majority_hit(state, a->page);
		break;
	case PREFETCH_MARKER:
		majority_marker(state, a->page, a->credit, a->delta, a->frontier, &window);
		break;
	}
	plan->start = window.start;
	plan->delta = window.delta;
	plan->count = window.count;
}

static void unused(void *state, uint32_t count)
{
	majority_unused(state, count);
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct majority *m = state;

	*ret_trend = m->trend;
	*ret_window = m->last_window;
}

static void hint(void *state, enum prefetch_hint hint)
{
	((struct majority *)state)->sequential = hint == PREFETCH_HINT_SEQUENTIAL;
}

const struct prefetcher_ops prefetcher_majority = {
	.size = sizeof(prefetcher_majority),
	.name = "majority",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
	.hint = hint,
};
