/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks.c - extent hooks of the private jemalloc, and the system calls it makes.
 *
 * Arenas that were used before the constructor hold a few extents outside the reservation: every hook looks at
 * the address first.
 */
#include <errno.h>
#include <stdio.h>

#include "libleap/error.h"
#include "libleap/util/fmt.h"
#include "preload/heap.h"
#include "preload/map.h"
#include "preload/preload.h"
#include "preload/space.h"

typedef struct extent_hooks_s extent_hooks_t;
struct extent_hooks_s {
	void *(*alloc)(extent_hooks_t *, void *, size_t, size_t, bool *, bool *, unsigned);
	bool (*dalloc)(extent_hooks_t *, void *, size_t, bool, unsigned);
	void (*destroy)(extent_hooks_t *, void *, size_t, bool, unsigned);
	bool (*commit)(extent_hooks_t *, void *, size_t, size_t, size_t, unsigned);
	bool (*decommit)(extent_hooks_t *, void *, size_t, size_t, size_t, unsigned);
	bool (*purge_lazy)(extent_hooks_t *, void *, size_t, size_t, size_t, unsigned);
	bool (*purge_forced)(extent_hooks_t *, void *, size_t, size_t, size_t, unsigned);
	bool (*split)(extent_hooks_t *, void *, size_t, size_t, size_t, bool, unsigned);
	bool (*merge)(extent_hooks_t *, void *, size_t, void *, size_t, bool, unsigned);
};

static void *hook_alloc(extent_hooks_t *hooks, void *want, size_t size, size_t align, bool *zero,
			bool *commit, unsigned arena)
{
	void *addr;

	if (want) {
		if (!managed(want, size) || !space_take_at(want, size))
			return NULL;
		addr = want;
	} else {
		addr = space_take(size, align < LEAP_PAGE_BYTES ? LEAP_PAGE_BYTES : align);
	}
	if (addr)
		*zero = *commit = true;
	return addr;
}

static bool hook_dalloc(extent_hooks_t *hooks, void *addr, size_t size, bool committed,
			unsigned arena)
{
	if (!managed(addr, size))
		return sys_munmap(addr, size) != 0;
	space_give(addr, size);
	return false;
}

static void hook_destroy(extent_hooks_t *hooks, void *addr, size_t size, bool committed,
			 unsigned arena)
{
	hook_dalloc(hooks, addr, size, committed, arena);
}

static bool hook_commit(extent_hooks_t *hooks, void *addr, size_t size, size_t offset, size_t len,
			unsigned arena)
{
	return false; /* always committed */
}

static bool hook_refuse(extent_hooks_t *hooks, void *addr, size_t size, size_t offset, size_t len,
			unsigned arena)
{
	return true;
}

static bool hook_purge(extent_hooks_t *hooks, void *addr, size_t size, size_t offset, size_t len,
		       unsigned arena)
{
	char *at = (char *)addr + offset;

	if (!managed(at, len))
		return sys_madvise(at, len, MADV_DONTNEED) != 0;
	map_unpin(MARK_REGISTERED, at, at + len); /* of a buffer that was freed */
	region_discard(preload.region, at, len);
	return false;
}

static bool hook_split(extent_hooks_t *hooks, void *addr, size_t size, size_t a, size_t b,
		       bool committed, unsigned arena)
{
	return false;
}

static bool hook_merge(extent_hooks_t *hooks, void *a, size_t a_len, void *b, size_t b_len,
		       bool committed, unsigned arena)
{
	return managed(a, a_len) != managed(b, b_len);
}

static extent_hooks_t hooks = {
	.alloc = hook_alloc,
	.dalloc = hook_dalloc,
	.destroy = hook_destroy,
	.commit = hook_commit,
	.decommit = hook_refuse,
	.purge_lazy = hook_refuse,
	.purge_forced = hook_purge,
	.split = hook_split,
	.merge = hook_merge,
};

int hooks_install(void)
{
	extent_hooks_t *ours = &hooks;
	unsigned narenas;
	size_t len = sizeof(narenas);
	int err = leap_je_mallctl("opt.narenas", &narenas, &len, NULL, 0);

	for (unsigned i = 0; !err && i < narenas; i++) {
		char name[48];

		fmt_print(name, sizeof(name), "arena.%u.extent_hooks", i);
		err = leap_je_mallctl(name, NULL, NULL, &ours, sizeof(ours));
	}
	return err ? error_set(err, "jemalloc does not take our extent hooks (error %d)", err) : 0;
}

/* What jemalloc calls instead of the interposed functions. */
void *leap_raw_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
int leap_raw_munmap(void *addr, size_t len);
int leap_raw_madvise(void *addr, size_t len, int advice);
int leap_raw_mprotect(void *addr, size_t len, int prot);

/*
 * What jemalloc maps itself: extents of its first allocations, and tables. Few, and hardly ever unmapped. An entry
 * is written once; unmapping the edges of one (alignment) makes it no less true.
 */
struct hooks_own hooks_own_memory;

void *leap_raw_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p = (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
	unsigned i;

	if (p == MAP_FAILED || flags & MAP_FIXED)
		return p;
	i = __atomic_fetch_add(&hooks_own_memory.n, 1, __ATOMIC_RELAXED);
	if (i < HOOKS_OWN_MAX) {
		hooks_own_memory.range[i].addr = p;
		__atomic_store_n(&hooks_own_memory.range[i].len, len, __ATOMIC_RELEASE);
	}
	return p;
}

int leap_raw_munmap(void *addr, size_t len)
{
	return (int)syscall(SYS_munmap, addr, len);
}

int leap_raw_madvise(void *addr, size_t len, int advice)
{
	return (int)syscall(SYS_madvise, addr, len, advice);
}

int leap_raw_mprotect(void *addr, size_t len, int prot)
{
	return (int)syscall(SYS_mprotect, addr, len, prot);
}
