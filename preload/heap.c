/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.c - the malloc family.
 *
 * Pager code and the C library's allocations on its behalf (in_runtime()) are served from mem.h, everything else by
 * the private jemalloc. A pointer is given back to where it came from, which its address tells.
 */
#include <errno.h>
#include <string.h>

#include "libleap/util/mem.h"
#include "preload/preload.h"

void *leap_je_malloc(size_t size);
void *leap_je_calloc(size_t n, size_t size);
void *leap_je_realloc(void *p, size_t size);
void leap_je_free(void *p);
void *leap_je_aligned_alloc(size_t align, size_t size);
int leap_je_posix_memalign(void **ret, size_t align, size_t size);
void *leap_je_memalign(size_t align, size_t size);
void *leap_je_valloc(size_t size);
size_t leap_je_malloc_usable_size(void *p);

const char *leap_je_malloc_conf =
	"retain:true,thp:never,metadata_thp:disabled,background_thread:false,"
	"dss:disabled,oversize_threshold:0,dirty_decay_ms:10000,"
	"muzzy_decay_ms:0";

static void *nomem(void *p)
{
	if (!p)
		errno = ENOMEM;
	return p;
}

EXPORT void *malloc(size_t size)
{
	if (unlikely(in_runtime()))
		return nomem(mem_alloc(size ? size : 1));
	return leap_je_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (likely(!in_runtime()))
		return leap_je_calloc(n, size);
	if (__builtin_mul_overflow(n, size, &bytes))
		return nomem(NULL);
	return nomem(mem_alloc(bytes ? bytes : 1));
}

EXPORT void free(void *p)
{
	if (unlikely(mem_owns(p)))
		mem_free(p);
	else
		leap_je_free(p);
}

EXPORT void cfree(void *p)
{
	free(p);
}

/* A runtime object grows into whatever malloc() gives now. */
static void *realloc_runtime(void *p, size_t size)
{
	size_t old = mem_usable(p);
	void *q = malloc(size);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	mem_free(p);
	return q;
}

EXPORT void *realloc(void *p, size_t size)
{
	if (unlikely(mem_owns(p)))
		return realloc_runtime(p, size);
	if (unlikely(!p && in_runtime()))
		return malloc(size);
	return leap_je_realloc(p, size);
}

EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return nomem(NULL);
	return realloc(p, bytes);
}

EXPORT int posix_memalign(void **ret, size_t align, size_t size)
{
	if (unlikely(in_runtime() && align <= 16)) {
		*ret = mem_alloc(size ? size : 1);
		return *ret ? 0 : ENOMEM;
	}
	return leap_je_posix_memalign(ret, align, size);
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
	return leap_je_aligned_alloc(align, size);
}

EXPORT void *memalign(size_t align, size_t size)
{
	if (unlikely(in_runtime() && align <= 16))
		return malloc(size);
	return leap_je_memalign(align, size);
}

EXPORT void *valloc(size_t size)
{
	return leap_je_valloc(size);
}

EXPORT void *pvalloc(size_t size)
{
	if (size > SIZE_MAX - LEAP_PAGE_MASK)
		return nomem(NULL);
	return leap_je_valloc((size + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK);
}

EXPORT size_t malloc_usable_size(void *p)
{
	if (unlikely(mem_owns(p)))
		return mem_usable(p);
	return leap_je_malloc_usable_size(p);
}
