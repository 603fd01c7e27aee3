/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readahead.h - how large Linux makes the window of a miss on the swap path (swap_state.c, __swapin_nr_pages()): the
 * hits since the last miss plus two, rounded up to a power of two from 4; without hits two pages beside a neighbour,
 * else the page alone; never more than max, never less than half of the last.
 */
#ifndef LEAP_PREFETCH_READAHEAD_H
#define LEAP_PREFETCH_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

#define READAHEAD_MIN 4

static inline uint32_t readahead_of_hits(uint32_t hits, uint32_t max)
{
	uint32_t window = READAHEAD_MIN;

	while (window < hits + 2 && window < max)
		window *= 2;
	return window < max ? window : max;
}

static inline uint32_t readahead_of_miss(uint32_t hits, bool neighbour, uint32_t last, uint32_t max)
{
	uint32_t window = 1;

	if (hits)
		window = readahead_of_hits(hits, max);
	else if (neighbour)
		window = max < 2 ? 1 : 2;
	return window < last / 2 ? last / 2 : window;
}

#endif
