/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.c - mmap() and its relatives.
 *
 * Private anonymous read-write memory of at least map_min bytes is taken from the reservation; all other mappings are
 * the kernel's. A call on a range is split at the reservation's borders: the managed part is ours, the rest goes to
 * the kernel. errno is as the kernel sets it.
 */
#include <errno.h>

#include "libleap/region.h"
#include "preload/map.h"
#include "preload/preload.h"
#include "preload/range.h"

#define UNMANAGED_FLAGS                                                                  \
	(MAP_SHARED | MAP_STACK | MAP_GROWSDOWN | MAP_HUGETLB | MAP_32BIT | MAP_LOCKED | \
	 MAP_FIXED | MAP_FIXED_NOREPLACE)

static int fail(int err)
{
	errno = err;
	return -1;
}

size_t map_round(size_t len)
{
	return (len + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK;
}

/* The managed part of [addr, addr + len), if any. */
static bool inside(void *addr, size_t len, char **ret_from, char **ret_to)
{
	char *from = addr, *to = from + len;

	if (to < from || !managed(addr, len))
		return false;
	*ret_from = from < preload.start ? preload.start : from;
	*ret_to = to > preload.end ? preload.end : to;
	return *ret_from < *ret_to;
}

static bool wanted(size_t len, int prot, int flags, int fd)
{
	return preload_ready() && !in_runtime() && len >= preload.map_min &&
	       prot == (PROT_READ | PROT_WRITE) && flags & MAP_PRIVATE && flags & MAP_ANONYMOUS &&
	       !(flags & UNMANAGED_FLAGS);
}

static void *do_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	if (wanted(len, prot, flags, fd) && map_round(len) >= len) {
		void *p = managed_take(map_round(len), LEAP_PAGE_BYTES);

		if (p)
			return p;
	} else if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) && managed(addr, len)) {
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

/* Runs the call on the parts outside [from, to). */
#define OUTSIDE(addr, len, from, to, call)                   \
	do {                                                 \
		char *out = (addr);                          \
		size_t n = (size_t)((from)-out);             \
		if (n && (call))                             \
			return -1;                           \
		out = (to);                                  \
		n = (size_t)((char *)(addr) + (len) - (to)); \
		if (n && (call))                             \
			return -1;                           \
	} while (0)

EXPORT int munmap(void *addr, size_t len)
{
	char *from, *to;

	if (!inside(addr, map_round(len), &from, &to) || (uintptr_t)addr & LEAP_PAGE_MASK)
		return (int)syscall(SYS_munmap, addr, len);
	len = map_round(len);
	OUTSIDE(addr, len, from, to, syscall(SYS_munmap, out, n));
	map_release(from, to);
	return 0;
}

static int madvise_managed(char *from, size_t len, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_REMOVE:
		region_discard(preload.region, from, len);
		return 0;
	case MADV_WILLNEED:
		return leap_advise(preload.leap, from, len, LEAP_ADVISE_WILLNEED) ? fail(ENOMEM)
										  : 0;
	case MADV_COLD:
	case MADV_PAGEOUT:
		return leap_advise(preload.leap, from, len, LEAP_ADVISE_COLD) ? fail(ENOMEM) : 0;
	case MADV_NORMAL: /* the region is one for the whole program: patterns are found, not told */
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_HUGEPAGE: /* huge pages would be split again at the first eviction */
	case MADV_NOHUGEPAGE:
	case MADV_MERGEABLE: /* merged pages cannot be moved */
	case MADV_UNMERGEABLE:
		return 0;
	default:
		return (int)syscall(SYS_madvise, from, len, advice);
	}
}

static int do_madvise(void *addr, size_t len, int advice)
{
	char *from, *to;

	if (in_runtime() || (uintptr_t)addr & LEAP_PAGE_MASK ||
	    !inside(addr, map_round(len), &from, &to))
		return (int)syscall(SYS_madvise, addr, len, advice);
	len = map_round(len);
	OUTSIDE(addr, len, from, to, syscall(SYS_madvise, out, n, advice));
	return madvise_managed(from, (size_t)(to - from), advice);
}

EXPORT int madvise(void *addr, size_t len, int advice)
{
	return do_madvise(addr, len, advice);
}

EXPORT int posix_madvise(void *addr, size_t len, int advice)
{
	int saved = errno, err;

	if (advice == POSIX_MADV_DONTNEED) /* must not lose content, unlike the system call */
		return 0;
	err = do_madvise(addr, len, advice) ? errno : 0;
	errno = saved;
	return err;
}

EXPORT int mprotect(void *addr, size_t len, int prot)
{
	if (managed(addr, len) && !in_runtime())
		__atomic_store_n(&preload.protected, true, __ATOMIC_RELAXED);
	return (int)syscall(SYS_mprotect, addr, len, prot);
}

static int lock_range(const void *addr, size_t len, unsigned flags, bool with_flags)
{
	char *start = (char *)((uintptr_t)addr & ~LEAP_PAGE_MASK), *from, *to;
	size_t bytes = map_round((size_t)((const char *)addr + len - start));

	if (!inside(start, bytes, &from, &to))
		return (int)(with_flags ? syscall(SYS_mlock2, addr, len, flags)
					: syscall(SYS_mlock, addr, len));
	OUTSIDE(start, bytes, from, to, syscall(SYS_mlock, out, n));
	return region_pin(preload.region, from, (size_t)(to - from)) ? fail(ENOMEM) : 0;
}

EXPORT int mlock(const void *addr, size_t len)
{
	return lock_range(addr, len, 0, false);
}

EXPORT int mlock2(const void *addr, size_t len, unsigned flags)
{
	return lock_range(addr, len, flags, true);
}

EXPORT int munlock(const void *addr, size_t len)
{
	char *start = (char *)((uintptr_t)addr & ~LEAP_PAGE_MASK), *from, *to;
	size_t bytes = map_round((size_t)((const char *)addr + len - start));

	if (!inside(start, bytes, &from, &to))
		return (int)syscall(SYS_munlock, addr, len);
	OUTSIDE(start, bytes, from, to, syscall(SYS_munlock, out, n));
	region_unpin(preload.region, from, (size_t)(to - from));
	return 0;
}

/* To lock everything contradicts a local limit: refused, as if RLIMIT_MEMLOCK were too small. */
EXPORT int mlockall(int flags)
{
	if (!preload_ready())
		return (int)syscall(SYS_mlockall, flags);
	return fail(ENOMEM);
}

EXPORT int munlockall(void)
{
	return (int)syscall(SYS_munlockall);
}

EXPORT int mincore(void *addr, size_t len, unsigned char *vec)
{
	char *from, *to;
	size_t bytes = map_round(len);

	if ((uintptr_t)addr & LEAP_PAGE_MASK || !inside(addr, bytes, &from, &to))
		return (int)syscall(SYS_mincore, addr, len, vec);
	OUTSIDE(addr, bytes, from, to,
		syscall(SYS_mincore, out, n,
			vec + ((size_t)(out - (char *)addr) >> LEAP_PAGE_SHIFT)));
	for (char *p = from; p < to; p += LEAP_PAGE_BYTES)
		vec[(size_t)(p - (char *)addr) >> LEAP_PAGE_SHIFT] =
			(unsigned char)region_page_held(preload.region, p);
	return 0;
}
