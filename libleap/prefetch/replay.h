/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - policy replay: a trace of an earlier run as the future.
 *
 * A future is the pages that each region missed, in order, numbered from the region's first page, so that it fits a
 * run at other addresses. It is made by policy.c, does not change, and outlives the policy's instances.
 */
#ifndef LEAP_REPLAY_H
#define LEAP_REPLAY_H

#include <stdint.h>

struct replay_region {
	uint32_t id;
	uint32_t n;
	const uint32_t *page;  /* in order of time */
	const uint32_t *order; /* positions in page[], by page, then by time */
};

struct replay_future {
	uint32_t nregions;
	struct replay_region region[];
};

#endif
