/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mlock.c - locks on memory. The pager keeps a locked page local; the kernel's own lock is not set, since locked memory
 * can neither be moved nor dropped. A lock is on a page or not: it does not nest, and munmap() removes it.
 */
#include <errno.h>

#include "preload/map.h"
#include "preload/preload.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

int map_pin(enum space_mark mark, char *from, char *to)
{
	char *at = from, *part;
	int more;

	while ((more = space_mark_next(mark, &at, to, &part)) == 1) {
		if (!region_pin(preload.region, part, (size_t)(at - part)))
			continue;
		space_unmark(mark, part, (size_t)(at - part));
		return -ENOMEM;
	}
	return more;
}

void map_unpin(enum space_mark mark, char *from, char *to)
{
	char *at = from, *part;

	while (space_unmark_next(mark, &at, to, &part) == 1)
		region_unpin(preload.region, part, (size_t)(at - part));
}

static int lock_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	if (kind == SPACE_FREE)
		return ENOMEM;
	if (kind == SPACE_OURS)
		return -map_lock(from, to);
	if (!call->flags)
		return syscall(SYS_mlock, from, to - from) ? errno : 0;
	return syscall(SYS_mlock2, from, to - from, call->flags) ? errno : 0;
}

static int unlock_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	if (kind == SPACE_FREE)
		return ENOMEM;
	if (kind != SPACE_OURS)
		return syscall(SYS_munlock, from, to - from) ? errno : 0;
	map_unlock(from, to);
	return 0;
}

/* The kernel rounds the start down. False: not our business. */
static bool whole_pages(const void *addr, size_t len, char **ret_from, size_t *ret_len)
{
	*ret_from = (char *)((uintptr_t)addr & ~LEAP_PAGE_MASK);
	*ret_len = map_round(len + ((uintptr_t)addr & LEAP_PAGE_MASK));
	return !in_runtime() && len && *ret_len >= len && managed(*ret_from, *ret_len);
}

EXPORT int mlock(const void *addr, size_t len)
{
	struct map_call call = {.fn = lock_part};

	if (!whole_pages(addr, len, &call.addr, &len))
		return (int)syscall(SYS_mlock, addr, len);
	return map_each(&call, len, true);
}

EXPORT int mlock2(const void *addr, size_t len, unsigned flags)
{
	struct map_call call = {.fn = lock_part, .flags = flags};

	if (flags & ~MLOCK_ONFAULT || !whole_pages(addr, len, &call.addr, &len))
		return (int)syscall(SYS_mlock2, addr, len, flags);
	return map_each(&call, len, true);
}

EXPORT int munlock(const void *addr, size_t len)
{
	struct map_call call = {.fn = unlock_part};

	if (!whole_pages(addr, len, &call.addr, &len))
		return (int)syscall(SYS_munlock, addr, len);
	return map_each(&call, len, true);
}

/* To lock everything contradicts a local limit: refused, as if RLIMIT_MEMLOCK were too small. */
EXPORT int mlockall(int flags)
{
	if (!preload_ready() || !flags || flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) ||
	    flags == MCL_ONFAULT)
		return (int)syscall(SYS_mlockall, flags);
	return map_fail(ENOMEM);
}

EXPORT int munlockall(void)
{
	if (preload_ready())
		map_unlock(preload.start, preload.end);
	return (int)syscall(SYS_munlockall);
}
