/* SPDX-License-Identifier: Apache-2.0 */
/* none.c - no prefetching: the baseline that every other policy must beat. */
#include "libleap/prefetch/prefetch.h"

static size_t none_state_bytes(const struct prefetch_params *params)
{
	return 1; /* an instance exists, though it remembers nothing */
}

static int none_init(void *state, const struct prefetch_params *params)
{
	return 0;
}

static void none_access(void *state, const struct prefetch_access *access,
			struct prefetch_plan *plan)
{
	plan->count = 0;
}

static void none_unused(void *state, uint32_t count)
{
}

static void none_peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	*ret_trend = 0;
	*ret_window = 0;
}

const struct prefetcher_ops prefetcher_none = {
	.size = sizeof(prefetcher_none),
	.name = "none",
	.state_bytes = none_state_bytes,
	.init = none_init,
	.access = none_access,
	.unused = none_unused,
	.peek = none_peek,
};
