/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.c - mmap() and munmap().
 *
 * Private anonymous read-write memory of at least map_min bytes is taken from the reservation; all other mappings are
 * the kernel's. A call on a range is made for each part of one kind (space.h): ours is served here, what is the
 * kernel's is passed on. errno is as the kernel sets it.
 */
#include <errno.h>

#include "preload/map.h"
#include "preload/preload.h"

#define UNMANAGED_FLAGS                                                                  \
	(MAP_SHARED | MAP_STACK | MAP_GROWSDOWN | MAP_HUGETLB | MAP_32BIT | MAP_LOCKED | \
	 MAP_FIXED | MAP_FIXED_NOREPLACE)

int map_fail(int err)
{
	errno = err;
	return -1;
}

int map_each(const struct map_call *call, size_t len, bool stop)
{
	char *at = call->addr, *end = at + len;
	int nomem = 0;

	while (at < end) {
		enum space_kind kind;
		char *edge = space_part(at, end, &kind);
		int err = call->fn(call, at, edge, kind);

		if (err && (stop || err != ENOMEM))
			return map_fail(err);
		nomem |= err;
		at = edge;
	}
	return nomem ? map_fail(nomem) : 0;
}

static bool wanted(size_t len, int prot, int flags, off_t off)
{
	return preload_ready() && !in_runtime() && len >= preload.map_min && map_round(len) &&
	       prot == (PROT_READ | PROT_WRITE) && flags & MAP_PRIVATE && flags & MAP_ANONYMOUS &&
	       !(flags & UNMANAGED_FLAGS) && !(off & (off_t)LEAP_PAGE_MASK);
}

/* A program that asks for an address gets it where that is possible: compressed pointers depend on it. */
static void *at_hint(char *hint, size_t len, int prot, int flags)
{
	long p;

	hint = (char *)((uintptr_t)hint & ~LEAP_PAGE_MASK);
	if (managed(hint, len))
		return space_take_at(hint, len) ? hint : NULL;
	p = syscall(SYS_mmap, hint, len, prot, flags, -1, 0);
	if (p == -1 || (char *)p == hint)
		return p == -1 ? NULL : hint;
	sys_munmap((void *)p, len);
	return NULL;
}

static void *do_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p = NULL;

	if (wanted(len, prot, flags, off)) {
		if (addr)
			p = at_hint(addr, map_round(len), prot, flags);
		if (!p)
			p = space_take(map_round(len), LEAP_PAGE_BYTES);
		if (p)
			return p;
	} else if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) && !in_runtime() &&
		   managed(addr, map_round(len))) {
		return map_fixed(addr, len, prot, flags, fd, off);
	}
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return do_mmap(addr, len, prot, flags, fd, off);
}

EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return do_mmap(addr, len, prot, flags, fd, off);
}

static int unmap_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	switch (kind) {
	case SPACE_OUTSIDE:
		return syscall(SYS_munmap, from, to - from) ? errno : 0;
	case SPACE_FOREIGN:
		return -map_reclaim(from, to);
	case SPACE_OURS:
		space_give(from, (size_t)(to - from));
		return 0;
	default:
		return 0;
	}
}

EXPORT int munmap(void *addr, size_t len)
{
	struct map_call call = {.fn = unmap_part, .addr = addr};

	if (in_runtime() || (uintptr_t)addr & LEAP_PAGE_MASK || !map_round(len) ||
	    !managed(addr, map_round(len)))
		return (int)syscall(SYS_munmap, addr, len);
	return map_each(&call, map_round(len), true);
}
