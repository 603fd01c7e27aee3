/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.h - memory of the pager itself: never managed, never from malloc().
 *
 * A pager thread that touched managed memory would wait for itself, and malloc() may hand out
 * managed memory (preload) or be locked by a thread that waits for the pager (fork). All memory
 * of libleap comes from here: anonymous mappings made by raw system calls.
 */
#ifndef LEAP_UTIL_MEM_H
#define LEAP_UTIL_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* Maps zeroed memory, rounded up to pages; NULL when there is none. Thread-safe. */
void *mem_map(size_t bytes);
/* As mem_map() without reserving swap or commit: for large tables that are touched sparsely. */
void *mem_map_sparse(size_t bytes);
/* Unmaps what mem_map*() returned; NULL is allowed. */
void mem_unmap(void *p, size_t bytes);

/* Small zeroed objects, 16-byte aligned, from a private size-class allocator. Thread-safe, not
 * async-signal-safe: an application thread calls them between lock_app_enter() and
 * lock_app_leave(), like all that takes a lock. errno is kept. mem_alloc() returns NULL when out
 * of memory; mem_free(NULL) is allowed. */
void *mem_alloc(size_t bytes);
void mem_free(void *p);
/* At a multiple of align, a power of two. NULL also for more than 256 KiB of it. */
void *mem_alloc_aligned(size_t align, size_t bytes);
/* A NUL-terminated copy; NULL when s is NULL or memory is out. */
char *mem_strdup(const char *s);
/* True if p came from mem_alloc(): lets a replaced free() route it. Never touches *p. */
bool mem_owns(const void *p);
/* Usable bytes of a mem_alloc() object. */
size_t mem_usable(const void *p);
/* Bytes that mem_map() (not sparse) holds now, plus those that mem_alloc() ever needed at once.
 * */
size_t mem_mapped_bytes(void);

/* For fork: take and release the allocator's lock around it; mem_fork_child() makes it anew. */
void mem_fork_lock(void);
void mem_fork_unlock(void);
void mem_fork_child(void);

/* Tests only: makes the nth allocation from now (1 = next) fail, then every later one too when
 * persistent. 0 turns it off. Returns how many allocations were made since the last call. */
unsigned mem_fail_nth(unsigned nth, bool persistent);

#endif
