/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preload.h - what the parts of libleap_preload.so share.
 *
 *   preload.c    the constructor: from LEAP_* to a session and a reservation of managed addresses
 *   heap.c       the malloc family, on a private jemalloc
 *   hooks.c      where that jemalloc gets its memory
 *   space.c      which managed addresses are free, and what was asked for on the others
 *   map.c        mmap(), munmap() and their relatives on managed addresses; with it map_fixed.c (mappings over
 *                managed memory), remap.c (mremap), advise.c (madvise, mprotect, mincore), mlock.c, brk.c
 *   forking.c    fork and its relatives; atfork.c: the program's fork handlers
 *   threads.c    the pager's threads are no threads of the program; stacks the program chose itself
 *   fds.c        descriptors that the program must not close
 *   direct.c     O_DIRECT
 *   pins.c       memory that the kernel or a device was told to use for long; uring.c and verbs.c: who tells it
 *   syscall.c    syscall(): the same for programs that go around the C library
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
};

extern struct preload preload;

static inline bool preload_ready(void)
{
	return __atomic_load_n(&preload.ready, __ATOMIC_ACQUIRE);
}

/* Does any part of [addr, addr + len) lie in the reservation? Never true before it exists, or when the range wraps. */
static inline bool managed(const void *addr, size_t len)
{
	uintptr_t a = (uintptr_t)addr, start = (uintptr_t)preload.start;

	return preload_ready() && a < (uintptr_t)preload.end && a + len > a && a + len > start;
}

/* hooks.c: makes every arena of the private jemalloc take its memory from the reservation. */
int hooks_install(void);

/* forking.c: for the C library's own calls of fork(). */
void fork_register(void);
/* Finds the C library's functions while that is harmless. */
void fork_resolve(void);
/*
 * Around any call that makes a process with a copy of this one's memory. begin: 0, or -1 with errno. end takes the
 * call's result and gives what the program is to see: -1 with errno, too, if the child could not be served, which
 * is gone then.
 */
int fork_begin(void);
/* Is this process the child of a fork that was served? */
bool fork_is_child(void);
pid_t fork_end(pid_t pid);
/* A child with a copy of the memory that shares what it may not: true, with errno and a sentence. */
bool fork_refuses(uint64_t flags);

/* direct.c: as fork_resolve(). */
void direct_resolve(void);
/* The session is open, the mover known. */
void direct_start(void);
/* The system calls, whose flags are argument flags_at: -1 with errno. */
long direct_open_call(long number, const long *args, int flags_at);
long direct_openat2(int dir, const char *path, const void *how, size_t size);
void fds_resolve(void);   /* fds.c */
void uring_resolve(void); /* uring.c */
/* The system calls: -1 with errno. */
long uring_register_call(unsigned fd, unsigned op, const void *arg, unsigned n);
long uring_setup_call(unsigned entries, void *params);

/* threads.c: before the pager's threads are started, and after (n of them). */
void threads_prepare(void);
void threads_hide(unsigned n);
/* True while the C library takes the program for single-threaded. */
bool threads_single(void);

#endif
