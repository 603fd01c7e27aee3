/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_fixed.c - mappings placed over managed memory, and moving managed memory.
 *
 * A fixed anonymous mapping over managed memory is what the program wants to read as zeroes again: the content is
 * dropped and the protection set, no new mapping is made, so that the registration with userfaultfd survives. Any
 * other fixed mapping (a file, shared memory) is made for real; that range is *foreign* from then on and its
 * addresses are not used again.
 */
#include <errno.h>
#include <stdarg.h>

#include "libleap/lock.h"
#include "libleap/log.h"
#include "preload/map.h"
#include "preload/preload.h"
#include "preload/range.h"

#define FOREIGN_MAX 1024

static struct {
	char *from, *to;
} foreign[FOREIGN_MAX];
static unsigned nforeign;
static struct lock foreign_lock = LOCK_INIT(LOCK_RANK_RANGE);

static bool foreign_add(char *from, char *to)
{
	sigset_t saved;
	bool ok;

	lock_app_enter(&saved);
	lock_acquire(&foreign_lock);
	ok = nforeign < FOREIGN_MAX;
	if (ok) {
		foreign[nforeign].from = from;
		foreign[nforeign++].to = to;
	}
	lock_release(&foreign_lock);
	lock_app_leave(&saved);
	return ok;
}

/* End of the part from `at` on that is all foreign or all ours; *ret_foreign tells which. */
static char *foreign_edge(char *at, char *to, bool *ret_foreign)
{
	*ret_foreign = false;
	for (unsigned i = 0; i < nforeign; i++) {
		if (foreign[i].from <= at && at < foreign[i].to) {
			*ret_foreign = true;
			return foreign[i].to < to ? foreign[i].to : to;
		}
		if (foreign[i].from > at && foreign[i].from < to)
			to = foreign[i].from;
	}
	return to;
}

/* Allocated parts of [from, to), without those that are free. fn gets each. */
static void each_allocated(char *from, char *to, void (*fn)(char *from, char *to))
{
	while (from < to) {
		char *free_at;
		size_t free_len;

		if (!range_next_free(from, &free_at, &free_len) || free_at >= to) {
			fn(from, to);
			return;
		}
		if (free_at > from)
			fn(from, free_at);
		from = free_at + free_len;
	}
}

static void release_part(char *from, char *to)
{
	while (from < to) {
		bool theirs;
		char *edge = foreign_edge(from, to, &theirs);

		if (theirs)
			syscall(SYS_munmap, from, edge - from);
		else
			managed_give(from, (size_t)(edge - from));
		from = edge;
	}
}

void map_release(char *from, char *to)
{
	each_allocated(from, to, release_part);
}

static void drop_part(char *from, char *to)
{
	region_discard(preload.region, from, (size_t)(to - from));
}

/* The free parts of [from, to) become the program's. */
static void take_free(char *from, char *to)
{
	while (from < to) {
		char *free_at;
		size_t len;

		if (!range_next_free(from, &free_at, &len) || free_at >= to)
			return;
		if (free_at + len > to)
			len = (size_t)(to - free_at);
		if (range_take_at(free_at, len))
			region_commit(preload.region, free_at, len);
		from = free_at + len;
	}
}

static bool any_foreign(char *from, char *to)
{
	bool theirs;

	return foreign_edge(from, to, &theirs) != to || theirs;
}

static void *fixed_anonymous(char *from, char *to, int prot)
{
	take_free(from, to);
	drop_part(from, to);
	if (prot != (PROT_READ | PROT_WRITE))
		__atomic_store_n(&preload.protected, true, __ATOMIC_RELAXED);
	if (syscall(SYS_mprotect, from, to - from, prot))
		return MAP_FAILED;
	return from;
}

void *map_fixed(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	char *from = addr, *to = from + map_round(len);

	if ((uintptr_t)addr & LEAP_PAGE_MASK || !len || to <= from) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	if (flags & MAP_FIXED_NOREPLACE || from < preload.start || to > preload.end) {
		errno = flags & MAP_FIXED_NOREPLACE ? EEXIST : ENOMEM;
		return MAP_FAILED;
	}
	if (flags & MAP_PRIVATE && flags & MAP_ANONYMOUS && !any_foreign(from, to))
		return fixed_anonymous(from, to, prot);
	take_free(from, to);
	if (!any_foreign(from, to)) {
		region_discard(preload.region, from, (size_t)(to - from));
		if (!foreign_add(from, to)) {
			errno = ENOMEM;
			return MAP_FAILED;
		}
	}
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

static void *move_to(char *old, size_t old_len, char *to, size_t new_len)
{
	size_t keep = old_len < new_len ? old_len : new_len;

	region_move(preload.region, old, to, keep);
	managed_give(old, old_len);
	return to;
}

/* MREMAP_FIXED onto managed or other addresses is rare and refused; the program can copy. */
static void *remap_managed(char *old, size_t old_len, size_t new_len, int flags)
{
	void *to;

	if (new_len <= old_len) {
		if (new_len < old_len)
			map_release(old + new_len, old + old_len);
		return old;
	}
	if (range_take_at(old + old_len, new_len - old_len)) {
		region_commit(preload.region, old + old_len, new_len - old_len);
		return old;
	}
	if (!(flags & MREMAP_MAYMOVE) || flags & ~MREMAP_MAYMOVE)
		return NULL;
	to = managed_take(new_len, LEAP_PAGE_BYTES);
	return to ? move_to(old, old_len, to, new_len) : NULL;
}

EXPORT void *mremap(void *old, size_t old_len, size_t new_len, int flags, ...)
{
	void *want = NULL, *p;

	if (flags & MREMAP_FIXED) {
		va_list ap;

		va_start(ap, flags);
		want = va_arg(ap, void *);
		va_end(ap);
	}
	if (in_runtime() || (!managed(old, old_len ? old_len : 1) &&
			     !(flags & MREMAP_FIXED && managed(want, new_len))))
		return (void *)syscall(SYS_mremap, old, old_len, new_len, flags, want);
	if ((uintptr_t)old & LEAP_PAGE_MASK || !new_len || !map_round(new_len)) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	p = flags & ~MREMAP_MAYMOVE
		    ? NULL
		    : remap_managed(old, map_round(old_len), map_round(new_len), flags);
	if (!p) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return p;
}
