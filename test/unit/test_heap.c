/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/util/mem.c libleap/lock.c libleap/log.c libleap/util/fmt.c */
/*
 * heap.c of the preload library: a pointer is given back to where it came from, also when jemalloc has mapped more
 * memory for itself than the table of it holds. Its functions have other names here: this program keeps its own heap.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define malloc             heap_malloc
#define calloc             heap_calloc
#define realloc            heap_realloc
#define reallocarray       heap_reallocarray
#define free               heap_free
#define cfree              heap_cfree
#define posix_memalign     heap_posix_memalign
#define aligned_alloc      heap_aligned_alloc
#define memalign           heap_memalign
#define valloc             heap_valloc
#define pvalloc            heap_pvalloc
#define malloc_usable_size heap_malloc_usable_size
#define __libc_free        fake_libc_free
#define __libc_realloc     fake_libc_realloc
#include "preload/heap.c"

struct preload preload;
struct hooks_own hooks_own_memory;
__thread int runtime_depth;

/* Who was given the pointer last. */
static enum { NOBODY, JEMALLOC, LIBC } asked;
static char managed_memory[64], own_memory[64], other_memory[64], answer[64];

void leap_je_free(void *p)
{
	asked = JEMALLOC;
}

void *leap_je_malloc(size_t size)
{
	return answer;
}

void *leap_je_calloc(size_t n, size_t size)
{
	return answer;
}

void *leap_je_realloc(void *p, size_t size)
{
	asked = JEMALLOC;
	return answer;
}

int leap_je_posix_memalign(void **ret, size_t align, size_t size)
{
	*ret = answer;
	return 0;
}

void *leap_je_memalign(size_t align, size_t size)
{
	return answer;
}

size_t leap_je_malloc_usable_size(void *p)
{
	return 1;
}

void fake_libc_free(void *p)
{
	asked = LIBC;
}

void *fake_libc_realloc(void *p, size_t size)
{
	asked = LIBC;
	return answer;
}

static int setup(void **state)
{
	preload.start = managed_memory;
	preload.end = managed_memory + sizeof(managed_memory);
	preload.ready = true;
	memset(&hooks_own_memory, 0, sizeof(hooks_own_memory));
	hooks_own_memory.n = 1;
	hooks_own_memory.range[0].addr = own_memory;
	hooks_own_memory.range[0].len = sizeof(own_memory);
	asked = NOBODY;
	return 0;
}

static void frees(void *p, int whose)
{
	asked = NOBODY;
	heap_free(p);
	assert_int_equal(asked, whose);
	asked = NOBODY;
	assert_ptr_equal(heap_realloc(p, 32), answer);
	assert_int_equal(asked, whose);
}

/* What the pager allocated goes back there, and nobody else sees it. */
static void runtime_memory(void)
{
	void *p;

	runtime_depth++;
	p = heap_malloc(40);
	runtime_depth--;
	assert_true(mem_owns(p));
	strcpy(p, "of the pager");
	asked = NOBODY;
	assert_true(heap_malloc_usable_size(p) >= 40);
	assert_ptr_equal(heap_realloc(p, 32), answer); /* a copy, and the old one is freed */
	assert_string_equal(answer, "of the pager");
	assert_int_equal(asked, NOBODY);
	runtime_depth++;
	p = heap_malloc(40);
	runtime_depth--;
	heap_free(p);
	assert_int_equal(asked, NOBODY);
}

/* Whatever alignment a library asks for inside the pager: memory of the pager. */
static void runtime_aligned(void)
{
	for (size_t align = sizeof(void *); align <= (size_t)256 << 10; align *= 2)
		for (size_t size = 1; size <= (size_t)1 << 20; size *= 32) {
			void *p = NULL, *q;

			runtime_depth++;
			assert_int_equal(heap_posix_memalign(&p, align, size), 0);
			q = heap_memalign(align, size);
			runtime_depth--;
			assert_true(mem_owns(p) && mem_owns(q));
			assert_int_equal(((uintptr_t)p | (uintptr_t)q) & (align - 1), 0);
			assert_true(heap_malloc_usable_size(p) >= size);
			heap_free(p);
			heap_free(q);
		}
}

/* The dynamic linker's tables are not managed either, whoever makes it ask. */
static void linker_memory(void)
{
	void *p;

	linker.start = 0;
	linker.len = SIZE_MAX; /* whoever calls */
	p = heap_malloc(40);
	assert_true(mem_owns(p));
	strcpy(p, "of the linker");
	p = heap_realloc(p, 4000);
	assert_true(mem_owns(p));
	assert_string_equal(p, "of the linker");
	heap_free(p);
	p = heap_realloc(managed_memory, 4000); /* from the time before it was known */
	assert_true(mem_owns(p));
	assert_int_equal(asked, JEMALLOC);
	heap_free(p);
	p = heap_calloc(10, 10);
	assert_true(mem_owns(p));
	heap_free(p);
	linker.len = 0;
	assert_ptr_equal(heap_malloc(40), answer);
}

static void test_origins(void **state)
{
	setup(state);
	frees(managed_memory, JEMALLOC);
	frees(own_memory, JEMALLOC);
	frees(other_memory, LIBC);
	heap_free(NULL);
	runtime_memory();
	runtime_aligned();
	linker_memory();
}

/* More ranges than the table holds: what is not known to be of others is taken for jemalloc's. */
static void test_too_many_ranges(void **state)
{
	setup(state);
	hooks_own_memory.n = HOOKS_OWN_MAX + 1;
	frees(managed_memory, JEMALLOC);
	frees(own_memory, JEMALLOC);
	frees(other_memory, JEMALLOC);
	runtime_memory();
}

static void test_before_the_reservation(void **state)
{
	setup(state);
	preload.ready = false;
	hooks_own_memory.n = 0;
	frees(other_memory, JEMALLOC);
	runtime_memory();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_origins),
		cmocka_unit_test(test_too_many_ranges),
		cmocka_unit_test(test_before_the_reservation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
