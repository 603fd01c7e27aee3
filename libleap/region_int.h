/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region_int.h - between region.c (life), region_range.c (content of ranges) and their callers in leap.c.
 */
#ifndef LEAP_REGION_INT_H
#define LEAP_REGION_INT_H

#include "libleap/plan.h"
#include "libleap/region.h"

/* Ends a region as leap_region_destroy() does. */
int region_unmake(struct leap_region *r);
/* Does a child of fork() get the range? Not as a rule: what is remote would read as zeroes there. Reserved regions are
 * left alone, since the preload library forks with the pager. */
void region_inherit(struct leap_region *r, bool on);
/* Takes all pages of an unlisted region out of queues, limbo and slabs; mapped content stays mapped. */
void region_forget(struct leap_region *r);
/* Pins pages and brings them home; all or nothing. -ENOMEM, -EIO. */
int region_pin_pages(struct leap_region *r, size_t first, size_t n);
/* As region_pin_pages() for a whole region that ends: the limit need not allow pages without content, or that the program
 * unmapped. */
int region_pin_content(struct leap_region *r);
void region_unpin_pages(struct leap_region *r, size_t first, size_t n);
/* Pins pages of a thread's stack, whatever the limit says, and has them mapped as far as they can be read. Returns how many are
 * pinned, from the first on. */
size_t region_keep(struct leap_region *r, size_t first, size_t n);
/* Evicts what it can of the pages' extents. -ENOSPC. */
int region_evict_pages(struct leap_region *r, size_t first, size_t n);
/* Moves the extents to the front of the eviction queue. */
void region_cold(struct leap_region *r, size_t first, size_t n);
/* Registers [first, end), one stripe's pages at most, with its userfaultfd; holes are left out. */
int region_register(struct leap_region *r, size_t first, size_t end);
/* The opposite, as far as the range is still ours: the program may have unmapped parts, or mapped files there. */
void region_unregister(struct leap_region *r, size_t first, size_t end);
/* fn for each part of pages [first, end) between holes, until one fails. SESSION lock held. */
int region_each_part(struct leap_region *r, size_t first, size_t end,
		     int (*fn)(struct leap_region *r, uintptr_t from, uintptr_t to));
/* Hints to the fault threads. */
void region_hint(struct leap_region *r, size_t first, size_t n);

/* The region with the smallest id from this one on, which stays until it is let go; NULL: there is none. No lock held. */
struct leap_region *region_hold_next(struct leap *leap, uint32_t id);
void region_let_go(struct leap_region *r);

#endif
