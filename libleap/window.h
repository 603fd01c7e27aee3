/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h - the windows under way: what a prefetch brought, and which of its pages is the marker.
 *
 * In marker mode a window's pages are mapped at once but for one, near its middle; touching that one
 * credits the window and starts the next. Under the shard's lock.
 */
#ifndef LEAP_WINDOW_H
#define LEAP_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/prefetch/prefetch.h"

#define WINDOWS_MAX 64

struct leap_region;

struct window {
	struct leap_region *region; /* NULL: free */
	size_t marker;              /* page index of the marker */
	struct prefetch_plan plan;  /* in page indexes of the region; count >= 1 */
	uint64_t born;              /* running number, for replacement */
	uint64_t planned_ns;        /* as shard->fault_ns */
};

struct windows {
	struct window window[WINDOWS_MAX];
	uint64_t born;
};

/* A free entry, or the oldest (the caller clears its marker first: *ret_old is true then). */
struct window *window_new(struct windows *windows, bool *ret_old);
struct window *window_find(struct windows *windows, const struct leap_region *region,
			   size_t marker);
static inline void window_free(struct window *w)
{
	w->region = NULL;
}
/* Forgets the windows of a region that goes away. */
void windows_forget(struct windows *windows, const struct leap_region *region);

#endif
