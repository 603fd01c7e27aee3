/* SPDX-License-Identifier: Apache-2.0 */
/* throttle.h - what policies share about the size of windows: the bounds, and a limit that drops and use move. */
#ifndef LEAP_PREFETCH_THROTTLE_H
#define LEAP_PREFETCH_THROTTLE_H

#include <errno.h>

#include "libleap/error.h"
#include "libleap/prefetch/prefetch.h"

#define PREFETCH_WINDOW_MAX 512

static inline int prefetch_check_window(const struct prefetch_params *params)
{
	if (!params->window_max || params->window_max > PREFETCH_WINDOW_MAX)
		return error_set(EINVAL, "window_max %u is out of range: choose 1 to %d",
				 params->window_max, PREFETCH_WINDOW_MAX);
	return 0;
}

/* Halved for each limit's worth of pages dropped untouched; doubled when its owner has seen windows used up. */
struct throttle {
	uint32_t max;
	uint32_t limit;   /* 1 .. max */
	uint32_t dropped; /* untouched, not yet made up for */
};

static inline void throttle_dropped(struct throttle *t, uint32_t pages)
{
	t->dropped += pages < t->max ? pages : t->max;
	while (t->dropped >= t->limit && t->limit > 1) {
		t->dropped -= t->limit;
		t->limit /= 2;
	}
	if (t->dropped > t->limit)
		t->dropped = t->limit;
}

/* So many pages were used: they make up for as many that were dropped. */
static inline void throttle_used(struct throttle *t, uint32_t pages)
{
	t->dropped -= pages < t->dropped ? pages : t->dropped;
}

static inline void throttle_double(struct throttle *t)
{
	t->limit = t->limit > t->max / 2 ? t->max : t->limit * 2;
}

#endif
