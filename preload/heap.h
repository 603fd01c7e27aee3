/* SPDX-License-Identifier: Apache-2.0 */
/* heap.h - the private jemalloc's functions, as renamed by jemalloc.syms. */
#ifndef LEAP_PRELOAD_HEAP_H
#define LEAP_PRELOAD_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *leap_je_malloc(size_t size);
void *leap_je_calloc(size_t n, size_t size);
void *leap_je_realloc(void *p, size_t size);
void leap_je_free(void *p);
int leap_je_posix_memalign(void **ret, size_t align, size_t size);
void *leap_je_memalign(size_t align, size_t size);
size_t leap_je_malloc_usable_size(void *p);
int leap_je_mallctl(const char *name, void *old, size_t *old_len, void *new_value, size_t new_len);
void leap_je_malloc_stats_print(void (*write)(void *arg, const char *text), void *arg,
				const char *opts);

/* heap.c: learns where the dynamic linker is, whose memory is not managed. */
void heap_find_linker(void);

/* hooks.c: memory that jemalloc mapped before the reservation existed, or for itself. Entries are only added. */
#define HOOKS_OWN_MAX 256
struct hooks_own {
	unsigned n; /* mappings; those beyond HOOKS_OWN_MAX are in no entry */
	struct {
		char *addr;
		size_t len; /* 0: not yet valid */
	} range[HOOKS_OWN_MAX];
};
extern struct hooks_own hooks_own_memory;

/* Is there such memory that is in no entry? */
static inline bool hooks_own_more(void)
{
	return __atomic_load_n(&hooks_own_memory.n, __ATOMIC_RELAXED) > HOOKS_OWN_MAX;
}

/* Is the address in one of the entries? On the path of free(): a program's first objects stay there. */
static inline bool hooks_own(const void *p)
{
	unsigned n = __atomic_load_n(&hooks_own_memory.n, __ATOMIC_RELAXED);

	for (unsigned i = 0; i < n && i < HOOKS_OWN_MAX; i++)
		if ((uintptr_t)p - (uintptr_t)hooks_own_memory.range[i].addr <
		    __atomic_load_n(&hooks_own_memory.range[i].len, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

#endif
