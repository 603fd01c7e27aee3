/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region.h - a managed range of addresses: its pages, its extents, and which shard serves which part.
 *
 * An *extent* is 64 aligned pages: the unit of eviction and of slot allocation. A region is cut into
 * *stripes* of REGION_STRIPE_PAGES; a stripe belongs to one shard. A stripe is *armed* once it is registered
 * with its shard's userfaultfd; before that the kernel serves its first touches and its page states mean
 * nothing. Stripes are armed when what the program owns no longer fits the local limit.
 *
 * Metadata: 16 bytes a page and 48 an extent, 16.75 bytes a page in all, in sparse mappings.
 */
#ifndef LEAP_REGION_H
#define LEAP_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/lock.h"
#include "libleap/page.h"
#include "libleap/prefetch/prefetch.h"
#include "libleap/util/ranges.h"
#include "libleap/util/sys.h"
#include "libleap/views.h"

#define EXTENT_PAGES        64
#define EXTENT_BYTES        (EXTENT_PAGES * LEAP_PAGE_BYTES)
#define REGION_STRIPE_PAGES ((size_t)65536) /* 256 MiB */
#define REGION_STRIPE_BYTES (REGION_STRIPE_PAGES << LEAP_PAGE_SHIFT)

struct leap;
struct leap_region;
struct shard;

enum {
	EXTENT_QUEUED = 1, /* in its shard's queue */
	EXTENT_BUSY = 2, /* an evictor works on it without the lock: no page of it may be filled */
	EXTENT_WAITED = 4, /* a fault came while busy: wake the whole extent afterwards */
	EXTENT_COLD = 8,   /* evict before others */
};

struct extent {
	uint64_t local;             /* bit i: page i is LOCAL */
	struct extent *prev, *next; /* eviction queue */
	struct leap_region *region;
	uint32_t limbo;   /* 1 + index of its limbo slot in the shard; 0 = none */
	uint32_t group;   /* slab.h; 0 = none */
	uint16_t filling; /* pages FILLING */
	uint8_t flags;
	uint8_t pad[5];
};

struct leap_region {
	struct leap *leap;
	char *addr;
	size_t npages;
	uint32_t id;
	bool created;  /* mapped by us (else adopted) */
	bool reserved; /* region_reserve(): commit and release by parts */
	uint8_t advice; /* enum leap_advice: NORMAL, SEQUENTIAL, RANDOM; changed under all shard locks */
	bool dying;       /* atomic */
	uint32_t holders; /* atomic, futex: changes (control.c) that look at its pages */
	struct page *pages;
	struct extent *extents;
	size_t nextents, nstripes;
	uint8_t *armed;   /* a byte a stripe; written under the stripe's shard lock */
	size_t high_page; /* first page never committed (reserved regions) */
	size_t committed_pages;
	int64_t pinned;            /* its share of the session's, which ends with it; atomic */
	struct region_view *views; /* one a shard (views.h) */
	struct ranges holes;       /* region_hole.c */
	struct leap_region *next;
};

static inline size_t region_page_index(const struct leap_region *r, const void *addr)
{
	return (size_t)((const char *)addr - r->addr) >> LEAP_PAGE_SHIFT;
}

static inline char *region_page_addr(const struct leap_region *r, size_t index)
{
	return r->addr + (index << LEAP_PAGE_SHIFT);
}

/* The extent of page `index`. The table is sparse: an extent that no page of was ever used has no region yet, and costs no
 * memory. Shard lock held. */
static inline struct extent *region_extent(struct leap_region *r, size_t index)
{
	struct extent *e = &r->extents[index / EXTENT_PAGES];

	if (!e->region)
		__atomic_store_n(&e->region, r, __ATOMIC_RELAXED);
	return e;
}

/* Was any page of the extent of page `index` ever used? */
static inline bool region_extent_used(const struct leap_region *r, size_t index)
{
	return __atomic_load_n(&r->extents[index / EXTENT_PAGES].region, __ATOMIC_RELAXED);
}

static inline size_t extent_index(const struct extent *e)
{
	return (size_t)(e - e->region->extents);
}

static inline size_t extent_first_page(const struct extent *e)
{
	return extent_index(e) * EXTENT_PAGES;
}

static inline unsigned extent_npages(const struct extent *e)
{
	size_t left = e->region->npages - extent_first_page(e);

	return left < EXTENT_PAGES ? (unsigned)left : EXTENT_PAGES;
}

static inline char *extent_addr(const struct extent *e)
{
	return region_page_addr(e->region, extent_first_page(e));
}

static inline struct page *extent_pages(const struct extent *e)
{
	return &e->region->pages[extent_first_page(e)];
}

/* Which shard serves page `index` of the region. */
struct shard *region_shard(const struct leap_region *r, size_t index);
/* First page after `index` that belongs to another shard or lies behind the region. */
size_t region_stripe_end(const struct leap_region *r, size_t index);
static inline bool region_page_armed(const struct leap_region *r, size_t index)
{
	return __atomic_load_n(&r->armed[index / REGION_STRIPE_PAGES], __ATOMIC_ACQUIRE);
}

/* The region that holds addr, or NULL. SESSION lock or shard lock held (both are needed to change the list). */
struct leap_region *region_find(struct leap *leap, const void *addr);
/* Is any page of the range in a region? Locks as region_find(). */
bool region_overlaps(struct leap *leap, const void *addr, size_t bytes);

/* Registers whatever must be registered now that the total of committed pages is what it is. */
int regions_arm_if_needed(struct leap *leap);
/* Registers everything, needed or not: leap_evict() wants pages out. App context. */
int regions_arm(struct leap *leap);
int region_arm_stripe(struct leap_region *r, size_t stripe);

/* Brings all pages of [first, first + n) home, and drops those that the program unmapped; -EIO lost, -ENOMEM. App
 * context. */
int region_bring_home(struct leap_region *r, size_t first, size_t n);
/* Drops content of pages (states to ABSENT, memory to the kernel). App context. */
void region_drop(struct leap_region *r, size_t first, size_t n);
/* Reads one byte of the page so that it is served; 0 or -EIO. App context, no lock held. */
int region_touch(struct leap_region *r, size_t page);

#endif
