/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h - from the prefetcher's wish to pages: history per region, clipping, markers, execution.
 * Fault role.
 */
#ifndef LEAP_PLAN_H
#define LEAP_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/prefetch/prefetch.h"

struct leap_region;
struct shard;

/* A wish that came out of a fault, executed after all waiting pages of the batch are served. */
struct plan_todo {
	struct leap_region *region;
	struct prefetch_plan plan;
	uint64_t planned_ns;
};

/* The page was not there. Lock held. True if there is something to do. */
bool plan_miss(struct shard *shard, struct leap_region *region, size_t index, bool write,
	       uint32_t thread, struct plan_todo *ret_todo);
/* First touch of a prefetched page in cache mode. Lock held. */
void plan_hit(struct shard *shard, struct leap_region *region, size_t index, bool write,
	      uint32_t thread);
/* The marker of a window was touched. Lock held. */
bool plan_marker(struct shard *shard, struct leap_region *region, size_t index, bool write,
		 uint32_t thread, struct plan_todo *ret_todo);
/* count prefetched pages, the first of which is `index`, left untouched: counts them and tells the policy. Lock held. */
void plan_unused(struct shard *shard, struct leap_region *region, size_t index, uint32_t count);
/* Brings the pages, or as many as their share allows; the plan is cut then. Lock not held. */
void plan_execute(struct shard *shard, struct plan_todo *todo);
/* Fetches the REMOTE pages of a range, as far as room allows. Lock not held. */
void plan_range(struct shard *shard, struct leap_region *region, size_t index, size_t count);
/* Frees the region's history for this shard. Lock held. */
void plan_forget(struct shard *shard, struct leap_region *region);

#endif
