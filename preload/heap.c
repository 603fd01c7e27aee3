/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.c - the malloc family.
 *
 * Pager code and the C library's allocations on its behalf (in_runtime()) are served from mem.h, everything else by
 * the private jemalloc. A pointer is given back to where it came from, which its address tells; one that is
 * neither ours nor jemalloc's came from the C library's allocator (a library opened with RTLD_DEEPBIND).
 *
 * cfree() is gone from the C library's headers, but programs linked before 2017 still call it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "libleap/lock.h"
#include "libleap/util/mem.h"
#include "preload/heap.h"
#include "preload/preload.h"

#define ALIGN_MIN 16

const char *leap_je_malloc_conf =
	"retain:true,thp:never,metadata_thp:disabled,background_thread:false,"
	"dss:disabled,oversize_threshold:0,dirty_decay_ms:10000,"
	"muzzy_decay_ms:0";
/* A program's own MALLOC_CONF must not undo what the pager relies on. */
const char *leap_je_malloc_conf_2_conf_harder = "retain:true,thp:never,metadata_thp:disabled,"
						"background_thread:false,dss:disabled";

/* The C library's own, by their other names. */
void __libc_free(void *p);
void *__libc_realloc(void *p, size_t size);

static void *nomem(void *p)
{
	if (!p)
		errno = ENOMEM;
	return p;
}

/* Certainly jemalloc's, as nearly all are. */
static inline bool surely_jemallocs(const void *p)
{
	return likely(managed(p, 1)) || hooks_own(p);
}

/* Of one that is not the pager's. */
static bool jemallocs(const void *p)
{
	return surely_jemallocs(p) || !p || !preload_ready() || hooks_own_more();
}

static __attribute__((noinline)) void *runtime_alloc(size_t size)
{
	struct lock_app saved;
	void *p;

	lock_app_enter(&saved);
	p = mem_alloc(size ? size : 1);
	lock_app_leave(&saved);
	return nomem(p);
}

static __attribute__((noinline)) void runtime_free(void *p)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	mem_free(p);
	lock_app_leave(&saved);
}

EXPORT void *malloc(size_t size)
{
	if (unlikely(in_runtime()))
		return runtime_alloc(size);
	return leap_je_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (likely(!in_runtime()))
		return leap_je_calloc(n, size);
	if (__builtin_mul_overflow(n, size, &bytes))
		return nomem(NULL);
	return runtime_alloc(bytes);
}

static __attribute__((noinline)) void free_other(void *p)
{
	if (mem_owns(p))
		runtime_free(p);
	else if (jemallocs(p))
		leap_je_free(p);
	else
		__libc_free(p);
}

EXPORT void free(void *p)
{
	if (surely_jemallocs(p))
		leap_je_free(p);
	else
		free_other(p);
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
	runtime_free(p);
	return q;
}

EXPORT void *realloc(void *p, size_t size)
{
	if (unlikely(!p))
		return malloc(size);
	if (unlikely(!surely_jemallocs(p))) {
		if (mem_owns(p))
			return realloc_runtime(p, size);
		if (!jemallocs(p))
			return __libc_realloc(p, size);
	}
	p = leap_je_realloc(p, size);
	return likely(p) || !size ? p : nomem(p);
}

EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return nomem(NULL);
	return realloc(p, bytes);
}

/* Any alignment is good for the C library: it takes the next power of two. */
static void *aligned(size_t align, size_t size)
{
	size_t power = sizeof(void *);

	if (align > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	while (power < align)
		power *= 2;
	if (power == sizeof(void *) || unlikely(in_runtime() && power <= ALIGN_MIN))
		return malloc(size);
	return nomem(leap_je_memalign(power, size));
}

EXPORT int posix_memalign(void **ret, size_t align, size_t size)
{
	if (unlikely(in_runtime() && align <= ALIGN_MIN)) {
		*ret = runtime_alloc(size);
		return *ret ? 0 : ENOMEM;
	}
	return leap_je_posix_memalign(ret, align, size);
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
	return aligned(align, size);
}

EXPORT void *memalign(size_t align, size_t size)
{
	return aligned(align, size);
}

EXPORT void *valloc(size_t size)
{
	return aligned(LEAP_PAGE_BYTES, size);
}

EXPORT void *pvalloc(size_t size)
{
	if (size > SIZE_MAX - LEAP_PAGE_MASK)
		return nomem(NULL);
	return aligned(LEAP_PAGE_BYTES, (size + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK);
}

EXPORT size_t malloc_usable_size(void *p)
{
	if (surely_jemallocs(p))
		return leap_je_malloc_usable_size(p);
	if (unlikely(mem_owns(p)))
		return mem_usable(p);
	if (unlikely(!jemallocs(p)))
		return ((size_t(*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size"))(p);
	return leap_je_malloc_usable_size(p);
}
