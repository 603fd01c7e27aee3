/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region_hole.c - holes: parts of a reserved region where the program placed a mapping of its own (a file, shared
 * memory). They are neither registered nor looked at. The SESSION lock guards the set.
 */
#include <errno.h>

#include "libleap/error.h"
#include "libleap/region_int.h"
#include "libleap/session.h"
#include "libleap/uffd/uffd.h"

static int register_part(struct leap_region *r, uintptr_t from, uintptr_t to)
{
	struct shard *shard = region_shard(r, region_page_index(r, (void *)from));
	int err;

	sys_madvise((void *)from, to - from, MADV_NOHUGEPAGE);
	if (r->reserved) /* a child of a fork that nobody saw has no pager: it would read zeroes */
		sys_madvise((void *)from, to - from, MADV_DONTFORK);
	err = uffd_register(shard->uffd, (void *)from, to - from,
			    !r->leap->can_move || r->leap->has_wp);
	if (err)
		error_set(-err,
			  "userfaultfd refuses %zu bytes at %p (error %d): is the range private "
			  "anonymous memory, and vm.max_map_count large enough?",
			  (size_t)(to - from), (void *)from, -err);
	return err;
}

int region_each_part(struct leap_region *r, size_t first, size_t end,
		     int (*fn)(struct leap_region *r, uintptr_t from, uintptr_t to))
{
	uintptr_t at = (uintptr_t)region_page_addr(r, first),
		  stop = (uintptr_t)region_page_addr(r, end);

	while (at < stop) {
		bool hole;
		uintptr_t edge = ranges_edge(&r->holes, at, stop, &hole);
		int err = hole ? 0 : fn(r, at, edge);

		if (err)
			return err;
		at = edge;
	}
	return 0;
}

int region_register(struct leap_region *r, size_t first, size_t end)
{
	return region_each_part(r, first, end, register_part);
}

/* The kernel refuses a range as a whole, for whatever is in it that was never registered: then by halves. */
void region_unregister(struct leap_region *r, size_t first, size_t end)
{
	size_t half = first + (end - first) / 2;

	if (!uffd_unregister(region_shard(r, first)->uffd, region_page_addr(r, first),
			     (end - first) << LEAP_PAGE_SHIFT) ||
	    end - first == 1)
		return;
	region_unregister(r, first, half);
	region_unregister(r, half, end);
}

/* The stripes of [first, end) that are armed; the range has no holes. */
static int register_armed(struct leap_region *r, size_t first, size_t end)
{
	while (first < end) {
		size_t stop = region_stripe_end(r, first);
		int err = 0;

		if (stop > end)
			stop = end;
		if (region_page_armed(r, first))
			err = region_register(r, first, stop);
		if (err)
			return err;
		first = stop;
	}
	return 0;
}

static int exclude(struct leap_region *r, uintptr_t start, uintptr_t end)
{
	return ranges_add(&r->holes, start, end)
		       ? 0
		       : error_set(ENOMEM, "no memory for the table of holes");
}

static int include(struct leap_region *r, uintptr_t start, uintptr_t end, bool remap)
{
	size_t first = region_page_index(r, (void *)start);
	int err = 0;

	if (remap)
		sys_mmap((void *)start, end - start, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0, &err);
	if (err)
		return err;
	if (!ranges_cut(&r->holes, start, end))
		return -ENOMEM;
	return register_armed(r, first, first + ((end - start) >> LEAP_PAGE_SHIFT));
}

int region_exclude(struct leap_region *r, void *addr, size_t len)
{
	struct lock_app saved;
	int err;

	lock_app_enter(&saved);
	runtime_enter();
	lock_acquire(&r->leap->lock);
	err = exclude(r, (uintptr_t)addr, (uintptr_t)addr + len);
	lock_release(&r->leap->lock);
	runtime_leave();
	lock_app_leave(&saved);
	return err;
}

int region_include(struct leap_region *r, void *addr, size_t len, bool remap)
{
	struct lock_app saved;
	int err;

	lock_app_enter(&saved);
	runtime_enter();
	lock_acquire(&r->leap->lock);
	err = include(r, (uintptr_t)addr, (uintptr_t)addr + len, remap);
	lock_release(&r->leap->lock);
	runtime_leave();
	lock_app_leave(&saved);
	return err;
}
