/* SPDX-License-Identifier: Apache-2.0 */
/* heap.h - the private jemalloc's functions, as renamed by jemalloc.syms. */
#ifndef LEAP_PRELOAD_HEAP_H
#define LEAP_PRELOAD_HEAP_H

#include <stdbool.h>
#include <stddef.h>

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

/* hooks.c: is the address in memory that jemalloc mapped before the reservation existed, or for itself? */
bool hooks_own(const void *p);

#endif
