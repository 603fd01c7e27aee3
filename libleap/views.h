/* SPDX-License-Identifier: Apache-2.0 */
/*
 * views.h - whose history an access belongs to: its region's, the process's, or its thread's (option history_key; with
 * `stream` its region's, which keeps streams apart itself, see history.h), or nobody's: threads can be left out by name
 * (option exclude_threads), such as a garbage collector's, whose accesses say nothing about what the program does next.
 * Regions that are too small for a history of their own have one together (history_is_small()).
 *
 * Fault role, shard lock held.
 */
#ifndef LEAP_VIEWS_H
#define LEAP_VIEWS_H

#include <stdbool.h>
#include <stdint.h>

#include "libleap/prefetch/prefetch.h"

struct config;
struct leap_region;
struct history;
struct shard;

/* The prefetcher's state for one key. */
struct region_view {
	struct history *history;          /* made at first use (plan.c) */
	const struct prefetcher_ops *ops; /* that made it, or for which the region is small */
	uint32_t generation;              /* of the parameters */
	bool small;                       /* a region's that has none of its own */
};

#define VIEW_THREADS \
	32 /* that have a history at once; the one not heard of for longest gives way */

struct thread_view {
	uint32_t thread; /* 0: unused, or not known */
	bool excluded;
	uint64_t heard; /* running number of its last access */
	struct region_view view;
};

struct views {
	struct region_view process;
	struct region_view small;    /* of all small regions */
	struct thread_view *threads; /* VIEW_THREADS; NULL until one is asked for */
	struct thread_view *last;
	uint64_t heard;
};

/* What policies are given under this configuration. */
struct prefetch_params views_params(const struct config *config);
/* NULL: the thread's accesses are not looked at, or there is no memory. */
struct region_view *views_find(struct shard *shard, struct leap_region *region, uint32_t thread);
/* Whose prefetches those of the region that nobody touched were, as far as known. NULL: unknown. */
struct region_view *views_of_unused(struct shard *shard, struct leap_region *region);
void views_destroy(struct views *views);

#endif
