/* SPDX-License-Identifier: Apache-2.0 */
/* advise.c - hints of the program: leap_advise(), leap_prefetch(), leap_evict(). */
#include <errno.h>

#include "libleap/error.h"
#include "libleap/region_int.h"
#include "libleap/session.h"

/* Calls fn for each part of [addr, addr + bytes) that lies in a region; -EINVAL where there is none. */
static int each_part(struct leap *leap, const void *addr, size_t bytes,
		     int (*fn)(struct leap_region *r, size_t first, size_t n))
{
	const char *at = (const char *)((uintptr_t)addr & ~LEAP_PAGE_MASK);
	const char *end = (const char *)addr + bytes;

	if (end < (const char *)addr)
		return error_set(EINVAL, "the range %p + %zu wraps", addr, bytes);
	while (at < end) {
		struct leap_region *r;
		struct lock_app saved;
		size_t first, n, left;
		int err;

		lock_app_enter(&saved);
		lock_acquire(&leap->lock);
		r = region_find(leap, at);
		lock_release(&leap->lock);
		lock_app_leave(&saved);
		if (!r)
			return error_set(EINVAL, "%p is not in a region of this session",
					 (const void *)at);
		first = region_page_index(r, at);
		left = ((size_t)(end - at) + LEAP_PAGE_MASK) >> LEAP_PAGE_SHIFT;
		n = r->npages - first < left ? r->npages - first : left;
		err = fn(r, first, n);
		if (err)
			return err;
		at += n << LEAP_PAGE_SHIFT;
	}
	return 0;
}

/* Policies hear of it with the next access, from whichever shard it comes. */
static int do_pattern(struct leap_region *r, enum leap_advice advice)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	shards_lock_all(r->leap);
	r->advice = (uint8_t)advice;
	record_pages(region_shard(r, 0), TRACE_ADVICE, r, 0, (uint32_t)advice);
	shards_unlock_all(r->leap);
	lock_app_leave(&saved);
	return 0;
}

static int do_normal(struct leap_region *r, size_t first, size_t n)
{
	return do_pattern(r, LEAP_ADVISE_NORMAL);
}

static int do_sequential(struct leap_region *r, size_t first, size_t n)
{
	return do_pattern(r, LEAP_ADVISE_SEQUENTIAL);
}

static int do_random(struct leap_region *r, size_t first, size_t n)
{
	return do_pattern(r, LEAP_ADVISE_RANDOM);
}

static int do_willneed(struct leap_region *r, size_t first, size_t n)
{
	region_hint(r, first, n);
	return 0;
}

static int do_dontneed(struct leap_region *r, size_t first, size_t n)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	region_drop(r, first, n);
	lock_app_leave(&saved);
	return 0;
}

static int do_cold(struct leap_region *r, size_t first, size_t n)
{
	region_cold(r, first, n);
	return 0;
}

static int do_pin(struct leap_region *r, size_t first, size_t n)
{
	return region_pin_pages(r, first, n);
}

static int do_unpin(struct leap_region *r, size_t first, size_t n)
{
	region_unpin_pages(r, first, n);
	return 0;
}

static int do_prefetch(struct leap_region *r, size_t first, size_t n)
{
	int64_t room = budget_pages(r->leap);

	if ((int64_t)n > room)
		n = (size_t)room;
	region_hint(r, first, n);
	return region_bring_home(r, first, n);
}

static int do_evict(struct leap_region *r, size_t first, size_t n)
{
	int err = regions_arm(r->leap);

	if (err)
		return err;
	return region_evict_pages(r, first, n);
}

int leap_advise(struct leap *leap, void *addr, size_t bytes, enum leap_advice advice)
{
	static int (*const actions[])(struct leap_region * r, size_t first, size_t n) = {
		[LEAP_ADVISE_NORMAL] = do_normal,     [LEAP_ADVISE_SEQUENTIAL] = do_sequential,
		[LEAP_ADVISE_RANDOM] = do_random,     [LEAP_ADVISE_WILLNEED] = do_willneed,
		[LEAP_ADVISE_DONTNEED] = do_dontneed, [LEAP_ADVISE_COLD] = do_cold,
		[LEAP_ADVISE_PIN] = do_pin,           [LEAP_ADVISE_UNPIN] = do_unpin,
	};
	int err;

	if ((unsigned)advice >= sizeof(actions) / sizeof(actions[0]))
		return error_set(EINVAL, "leap_advise: unknown advice %d", (int)advice);
	if (advice == LEAP_ADVISE_DONTNEED && (((uintptr_t)addr | bytes) & LEAP_PAGE_MASK))
		return error_set(EINVAL, "leap_advise: DONTNEED needs whole pages, not %p + %zu",
				 addr, bytes);
	runtime_enter();
	err = each_part(leap, addr, bytes, actions[advice]);
	runtime_leave();
	return err ? error_prefix(err, "leap_advise") : 0;
}

int leap_prefetch(struct leap *leap, const void *addr, size_t bytes)
{
	int err;

	runtime_enter();
	err = each_part(leap, addr, bytes, do_prefetch);
	runtime_leave();
	return err ? error_prefix(err, "leap_prefetch") : 0;
}

int leap_evict(struct leap *leap, void *addr, size_t bytes)
{
	int err;

	runtime_enter();
	err = each_part(leap, addr, bytes, do_evict);
	runtime_leave();
	return err ? error_prefix(err, "leap_evict") : 0;
}
