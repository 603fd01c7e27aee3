/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_fixed.c - mappings placed over the reservation.
 *
 * A fixed anonymous mapping over managed memory is what the program wants to read as zeroes again: the content is
 * dropped and the protection set, no new mapping is made, so that the registration with userfaultfd survives. Any
 * other fixed mapping (a file, shared memory, a stack) is made for real; that part is foreign until it is
 * unmapped or covered by anonymous memory again.
 */
#include <errno.h>

#include "preload/map.h"
#include "preload/preload.h"

/* Fixed mappings that are the kernel's although they are private and anonymous. */
#define FOREIGN_FLAGS (MAP_SHARED | MAP_STACK | MAP_GROWSDOWN | MAP_HUGETLB)

int map_reclaim(char *from, char *to)
{
	int err = region_include(preload.region, from, (size_t)(to - from), true);

	if (err)
		return err;
	space_unmark(MARK_FOREIGN, from, (size_t)(to - from));
	space_unreserve(from, (size_t)(to - from));
	return 0;
}

static int fresh_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	size_t len = (size_t)(to - from);

	if (kind == SPACE_FOREIGN && map_reclaim(from, to))
		return ENOMEM;
	if (kind == SPACE_FREE || kind == SPACE_FOREIGN)
		return space_take_at(from, len) ? 0 : ENOMEM;
	space_plain(from, len);
	region_discard(preload.region, from, len);
	return 0;
}

int map_fresh(char *from, char *to)
{
	struct map_call call = {.fn = fresh_part, .addr = from};

	return map_each(&call, (size_t)(to - from), true) ? -errno : 0;
}

static int take_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	return kind != SPACE_FREE || space_take_at(from, (size_t)(to - from)) ? 0 : ENOMEM;
}

/* Free parts are ours first: another thread must not get them meanwhile. */
int map_foreign_begin(char *from, char *to)
{
	struct map_call call = {.fn = take_part, .addr = from};

	if (map_each(&call, (size_t)(to - from), true))
		return -errno;
	return region_exclude(preload.region, from, (size_t)(to - from));
}

static int made_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	if (kind == SPACE_OURS)
		space_abandon(from, (size_t)(to - from));
	return 0;
}

static int unmade_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	if (kind == SPACE_OURS)
		region_include(preload.region, from, (size_t)(to - from), false);
	return 0;
}

void map_foreign_end(char *from, char *to, bool made)
{
	struct map_call call = {.fn = made ? made_part : unmade_part, .addr = from};
	int saved = errno;

	map_each(&call, (size_t)(to - from), true);
	if (made)
		space_mark(MARK_FOREIGN, from, (size_t)(to - from));
	errno = saved;
}

static bool plain(int flags)
{
	return flags & MAP_PRIVATE && flags & MAP_ANONYMOUS && !(flags & FOREIGN_FLAGS);
}

static int fixed_plain(char *from, char *to, int prot, int flags)
{
	int err = map_fresh(from, to);

	if (!err && prot != (PROT_READ | PROT_WRITE)) {
		err = sys_mprotect(from, (size_t)(to - from), prot);
		space_mark(MARK_GUARDED, from, (size_t)(to - from));
	}
	if (!err && flags & MAP_LOCKED)
		map_lock(from, to); /* as far as it goes, like the kernel */
	return -err;
}

static int fixed_foreign(char *from, char *to, int prot, int flags, int fd, off_t off)
{
	int err = map_foreign_begin(from, to);
	long p;

	if (err)
		return -err;
	flags = (flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED;
	p = syscall(SYS_mmap, from, to - from, prot, flags, fd, off);
	map_foreign_end(from, to, p != -1);
	return p == -1 ? errno : 0;
}

/* One side of the reservation's borders, with its part of the file. */
static int fixed_side(char *from, char *to, int prot, int flags, int fd, off_t off)
{
	if (!managed(from, (size_t)(to - from)))
		return syscall(SYS_mmap, from, to - from, prot, flags, fd, off) == -1 ? errno : 0;
	return plain(flags) ? fixed_plain(from, to, prot, flags)
			    : fixed_foreign(from, to, prot, flags, fd, off);
}

static char *next_border(char *from, char *to)
{
	if (from < preload.start)
		return to < preload.start ? to : preload.start;
	if (from < preload.end)
		return to < preload.end ? to : preload.end;
	return to;
}

static bool in_use(char *from, char *to)
{
	while (from < to) {
		enum space_kind kind;

		from = space_part(from, to, &kind);
		if (kind == SPACE_OURS || kind == SPACE_FOREIGN)
			return true;
	}
	return false;
}

void *map_fixed(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	char *from = addr, *to = from + map_round(len);
	int err = 0;

	if ((uintptr_t)addr & LEAP_PAGE_MASK || off & (off_t)LEAP_PAGE_MASK)
		err = EINVAL;
	else if (flags & MAP_FIXED_NOREPLACE && in_use(from, to))
		err = EEXIST;
	while (!err && from < to) {
		char *edge = next_border(from, to);

		err = fixed_side(from, edge, prot, flags, fd, off);
		off += flags & MAP_ANONYMOUS ? 0 : edge - from;
		from = edge;
	}
	if (err) {
		errno = err;
		return MAP_FAILED;
	}
	return addr;
}
