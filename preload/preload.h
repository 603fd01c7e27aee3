/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preload.h - what the parts of libleap_preload.so share.
 *
 *   preload.c    the constructor: from LEAP_* to a session and a reservation of managed addresses
 *   heap.c       the malloc family, on a private jemalloc
 *   hooks.c      where that jemalloc gets its memory
 *   map.c        mmap() and its relatives on managed addresses
 *   map_fixed.c  the hard cases of mmap() and mremap()
 *   process.c    fork, threads' stacks
 *   fds.c        descriptors that the program must not close
 *   range.c      which managed addresses are free
 */
#ifndef LEAP_PRELOAD_H
#define LEAP_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include "libleap/runtime.h"
#include "libleap/util/sys.h"

#define EXPORT      __attribute__((visibility("default")))
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct preload {
	bool ready; /* set last, atomic: everything below is valid */
	struct leap *leap;
	struct leap_region *region;
	char *start, *end; /* of the reservation */
	size_t map_min;
	bool protected; /* atomic: mprotect() was used on managed memory once */
};

extern struct preload preload;

static inline bool preload_ready(void)
{
	return __atomic_load_n(&preload.ready, __ATOMIC_ACQUIRE);
}

/* Does any part of [addr, addr + len) lie in the reservation? Never true before it exists. */
static inline bool managed(const void *addr, size_t len)
{
	const char *a = addr;

	return preload_ready() && a < preload.end && a + len > preload.start;
}

/* A managed, committed, zeroed range; NULL when the reservation is used up. */
void *managed_take(size_t len, size_t align);
/* Its content and its addresses are given back. */
void managed_give(void *addr, size_t len);

/* hooks.c: makes every arena of the private jemalloc take its memory from the reservation. */
int hooks_install(void);
/* process.c: fork handlers, before any other library's. Idempotent. */
void process_register_fork(void);

#endif
