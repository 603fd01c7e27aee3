/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.c - the malloc family.
 *
 * Pager code and the C library's allocations on its behalf (in_runtime()) are served from mem.h, and so are those of
 * the dynamic linker: its tables of libraries and of thread-local storage are read where nobody can wait for a page, in
 * the child of fork() before its pager runs, and by the pager's own threads. Everything else comes from the
 * private jemalloc. A pointer is given back to where it came from, which its address tells; one that is
 * neither ours nor jemalloc's came from the C library's allocator (a library opened with RTLD_DEEPBIND).
 *
 * cfree() is gone from the C library's headers, but programs linked before 2017 still call it.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <string.h>

#include "libleap/lock.h"
#include "libleap/util/mem.h"
#include "preload/heap.h"
#include "preload/preload.h"

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

static struct {
	uintptr_t start;
	size_t len;
} linker; /* the dynamic linker's code */

void heap_find_linker(void)
{
	const char *base = (const char *)_r_debug.r_ldbase;
	const ElfW(Ehdr) *head = (const ElfW(Ehdr) *)base;
	const ElfW(Phdr) *part = (const ElfW(Phdr) *)(base + head->e_phoff);

	for (int i = 0; i < head->e_phnum; i++)
		if (part[i].p_type == PT_LOAD && part[i].p_flags & PF_X) {
			linker.start = (uintptr_t)base + part[i].p_vaddr;
			linker.len = part[i].p_memsz;
		}
}

#define CALLER ((uintptr_t)__builtin_return_address(0))

static inline bool for_runtime(uintptr_t caller)
{
	return in_runtime() || caller - linker.start < linker.len;
}

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

static __attribute__((noinline)) void *runtime_alloc(size_t align, size_t size)
{
	struct lock_app saved;
	void *p;

	lock_app_enter(&saved);
	p = mem_alloc_aligned(align, size ? size : 1);
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
	if (unlikely(for_runtime(CALLER)))
		return runtime_alloc(1, size);
	return leap_je_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (likely(!for_runtime(CALLER)))
		return leap_je_calloc(n, size);
	if (__builtin_mul_overflow(n, size, &bytes))
		return nomem(NULL);
	return runtime_alloc(1, bytes);
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

/* The object goes to where such a caller's objects are now. */
static void *realloc_elsewhere(void *p, size_t size, bool runtime)
{
	size_t old = malloc_usable_size(p);
	void *q = runtime ? runtime_alloc(1, size) : leap_je_malloc(size);

	if (!q)
		return NULL;
	memcpy(q, p, old < size ? old : size);
	free(p);
	return q;
}

EXPORT void *realloc(void *p, size_t size)
{
	bool runtime = for_runtime(CALLER);

	if (unlikely(!p))
		return runtime ? runtime_alloc(1, size) : leap_je_malloc(size);
	if (unlikely(!surely_jemallocs(p) && !mem_owns(p) && !jemallocs(p)))
		return __libc_realloc(p, size);
	if (unlikely(runtime || mem_owns(p)))
		return realloc_elsewhere(p, size, runtime);
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
	if (unlikely(in_runtime()))
		return runtime_alloc(power, size);
	if (power == sizeof(void *))
		return leap_je_malloc(size);
	return nomem(leap_je_memalign(power, size));
}

EXPORT int posix_memalign(void **ret, size_t align, size_t size)
{
	if (unlikely(in_runtime())) {
		if (align < sizeof(void *) || align & (align - 1))
			return EINVAL;
		*ret = runtime_alloc(align, size);
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
