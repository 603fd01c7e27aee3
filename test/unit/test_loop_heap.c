/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/transport/loop_heap.c */
/*
 * The heap of the loop store: classes, alignment, what counts as resident and how it comes back, the budget,
 * sparse blocks; and a random walk in which every object keeps its bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "libleap/transport/loop_heap.h"
#include "libleap/util/sys.h"

static struct heap_budget budget;
static struct heap heap;

static int set_up(void **state)
{
	budget = (struct heap_budget){0};
	heap_init(&heap, &budget);
	return 0;
}

static int tear_down(void **state)
{
	heap_destroy(&heap);
	assert_int_equal(budget.bytes, 0);
	assert_int_equal(heap.used_bytes, 0);
	return 0;
}

static void test_charge(void **state)
{
	struct heap_budget b = {.bytes_max = 100};

	assert_true(heap_charge(&b, 60));
	assert_false(heap_charge(&b, 41));
	assert_int_equal(b.bytes, 60);
	assert_true(heap_charge(&b, 40));
	assert_false(heap_charge(&b, 1));
	heap_uncharge(&b, 100);
	assert_int_equal(b.bytes, 0);
	b.bytes_max = 0; /* no bound */
	assert_true(heap_charge(&b, 1ull << 62));
}

static void test_classes(void **state)
{
	for (size_t bytes = 1; bytes <= 4096; bytes++) {
		uint64_t used = heap.used_bytes;
		char *p = heap_alloc(&heap, bytes);
		size_t capacity;

		assert_non_null(p);
		capacity = heap_capacity(p);
		assert_true(capacity >= bytes);
		assert_true(capacity < bytes + HEAP_CLASS_STEP ||
			    (bytes > HEAP_SMALL_MAX && capacity == 4096));
		if (bytes > HEAP_SMALL_MAX)
			assert_int_equal((uintptr_t)p % 4096, 0);
		assert_int_equal((uintptr_t)p % HEAP_CLASS_STEP, 0);
		assert_int_equal(heap.used_bytes - used, capacity);
		memset(p, 1, capacity);
		heap_free(&heap, p);
		assert_int_equal(heap.used_bytes, used);
	}
}

/* Pages of the arenas that the kernel holds: may not be more than the heap says. */
static uint64_t really_resident(char *const *objects, unsigned n)
{
	static unsigned char there[HEAP_ARENA_BYTES / 4096];
	static uintptr_t arenas[64];
	unsigned narenas = 0;
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		uintptr_t arena = (uintptr_t)objects[i] & ~(HEAP_ARENA_BYTES - 1);
		unsigned k = 0;

		if (!objects[i])
			continue;
		while (k < narenas && arenas[k] != arena)
			k++;
		if (k == narenas) {
			assert_true(narenas < 64);
			arenas[narenas++] = arena;
		}
	}
	for (unsigned k = 0; k < narenas; k++) {
		assert_int_equal(mincore((void *)arenas[k], HEAP_ARENA_BYTES, there), 0);
		/* without the first block, which is the arena's own */
		for (size_t p = HEAP_BLOCK_BYTES / 4096; p < sizeof(there); p++)
			bytes += (there[p] & 1) * 4096ull;
	}
	return bytes;
}

static void test_resident_bytes_are_true(void **state)
{
	enum { N = 4000 };
	static char *objects[N];
	uint64_t full;

	for (unsigned i = 0; i < N; i++) {
		size_t bytes = 1 + i * 997 % 4096;

		objects[i] = heap_alloc(&heap, bytes);
		assert_non_null(objects[i]);
		memset(objects[i], 7, bytes);
	}
	full = heap.resident_bytes;
	assert_int_equal(budget.bytes, full);
	assert_true(heap.used_bytes <= full);
	assert_true(full < heap.used_bytes * 5 / 4);
	assert_true(really_resident(objects, N) <= full);
	for (unsigned i = 0; i < N; i += 2) {
		heap_free(&heap, objects[i]);
		objects[i] = NULL;
	}
	heap_trim(&heap);
	assert_true(heap.resident_bytes < full);
	assert_int_equal(budget.bytes, heap.resident_bytes);
	assert_true(really_resident(objects, N) <= heap.resident_bytes);
	for (unsigned i = 1; i < N; i += 2)
		heap_free(&heap, objects[i]);
	heap_trim(&heap);
	assert_int_equal(heap.used_bytes, 0);
	assert_int_equal(heap.resident_bytes, 0);
	assert_int_equal(budget.bytes, 0);
}

/* A bound: exactly so many whole pages, and again after they came back, of any class. */
static void test_budget(void **state)
{
	enum { PAGES = 100 };
	void *objects[PAGES];

	budget.bytes_max = PAGES * 4096;
	for (int round = 0; round < 3; round++) {
		unsigned small = 0;
		void *p;

		for (unsigned i = 0; i < PAGES; i++) {
			objects[i] = heap_alloc(&heap, 4096);
			assert_non_null(objects[i]);
		}
		assert_null(heap_alloc(&heap, 4096));
		assert_null(heap_alloc(&heap, 1));
		assert_int_equal(budget.bytes, budget.bytes_max);
		for (unsigned i = 0; i < PAGES; i++)
			heap_free(&heap, objects[i]);
		heap_trim(&heap);
		while ((p = heap_alloc(&heap, 128))) {
			memset(p, 1, 128);
			small++;
		}
		assert_int_equal(small, PAGES * 32);
		assert_true(budget.bytes <= budget.bytes_max);
		heap_destroy(&heap);
		heap_init(&heap, &budget);
	}
}

/* The warm blocks of a heap do not stand in the way of its own next object. */
static void test_warm_blocks_are_given_back(void **state)
{
	void *objects[64];

	budget.bytes_max = 64 * 4096;
	for (int i = 0; i < 64; i++)
		assert_non_null(objects[i] = heap_alloc(&heap, 4096));
	for (int i = 0; i < 64; i++)
		heap_free(&heap, objects[i]);
	assert_true(budget.bytes > 0); /* kept warm */
	for (int i = 0; i < 64; i++)
		assert_non_null(heap_alloc(&heap, 3000 - i * 40));
}

static void test_two_heaps_share_a_budget(void **state)
{
	struct heap other;
	void *p;

	heap_init(&other, &budget);
	budget.bytes_max = 8 * 4096;
	for (int i = 0; i < 8; i++)
		assert_non_null(heap_alloc(&heap, 4096));
	assert_null(heap_alloc(&other, 4096));
	heap_destroy(&heap);
	heap_init(&heap, &budget);
	p = heap_alloc(&other, 4096);
	assert_non_null(p);
	assert_int_equal(budget.bytes, other.resident_bytes);
	heap_destroy(&other);
}

static void test_sparsest(void **state)
{
	enum { N = HEAP_BLOCK_BYTES / 512 };
	char *first[N], *second[N], *found;
	struct heap_block *block;
	unsigned cursor = 0;

	assert_null(heap_sparsest(&heap));
	for (unsigned i = 0; i < N; i++)
		first[i] = heap_alloc(&heap, 512);
	for (unsigned i = 0; i < N; i++)
		second[i] = heap_alloc(&heap, 512);
	heap_free(&heap, second[0]);
	assert_null(heap_sparsest(&heap)); /* nothing to win, and nowhere to go */
	for (unsigned i = 0; i < N; i++)
		if (i != 3 && i != N - 1)
			heap_free(&heap, first[i]);
	block = heap_sparsest(&heap);
	assert_non_null(block);
	/* its live objects, in order */
	found = heap_next_live(block, &cursor);
	assert_ptr_equal(found, first[3]);
	found = heap_next_live(block, &cursor);
	assert_ptr_equal(found, first[N - 1]);
	assert_null(heap_next_live(block, &cursor));
	/* pinned: new objects go elsewhere */
	for (unsigned i = 0; i < 2 * N; i++) {
		char *p = heap_alloc(&heap, 512);

		assert_false(p >= first[0] && p < first[0] + HEAP_BLOCK_BYTES);
	}
	heap_free(&heap, first[3]);
	heap_unpin(&heap, block); /* not empty: in use again */
	heap_free(&heap, first[N - 1]);
	assert_int_equal(heap.used_bytes, (3 * N - 1) * 512);
}

static void test_sparsest_empties(void **state)
{
	enum { N = HEAP_BLOCK_BYTES / 1024 };
	char *objects[3 * N];
	struct heap_block *block;
	unsigned cursor = 0, moved = 0;
	char *p;

	for (unsigned i = 0; i < 3 * N; i++)
		objects[i] = heap_alloc(&heap, 1024);
	for (unsigned i = 0; i < 3 * N; i++)
		if (i % N >= (i < N ? 2 : N - 8))
			heap_free(&heap, objects[i]);
	block = heap_sparsest(&heap);
	assert_non_null(block);
	while ((p = heap_next_live(block, &cursor))) {
		assert_non_null(heap_alloc(&heap, 1024));
		heap_free(&heap, p);
		moved++;
	}
	assert_int_equal(moved, 2);
	heap_unpin(&heap, block);
	heap_trim(&heap);
	assert_int_equal(heap.used_bytes, (2 * (N - 8) + 2) * 1024);
	assert_true(heap.resident_bytes <= 2 * HEAP_BLOCK_BYTES);
}

/* Many arenas come and go. */
static void test_arenas(void **state)
{
	enum { N = 3 * HEAP_ARENA_BYTES / 4096 };
	static void *objects[N];

	for (unsigned i = 0; i < N; i++)
		assert_non_null(objects[i] = heap_alloc(&heap, 4096));
	for (unsigned i = 0; i < N; i++)
		*(unsigned *)objects[i] = i;
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(*(unsigned *)objects[i], i);
	for (unsigned i = 0; i < N; i += 2)
		heap_free(&heap, objects[i]);
	for (unsigned i = 1; i < N; i += 2)
		heap_free(&heap, objects[N - i]);
	heap_trim(&heap);
	assert_int_equal(heap.resident_bytes, 0);
	assert_non_null(heap_alloc(&heap, 1));
}

static void test_random_walk(void **state)
{
	enum { N = 3000 };
	static struct {
		char *p;
		size_t bytes;
		unsigned char fill;
	} objects[N];
	uint64_t r = 88172645463325252ull, used = 0, refused = 0;

	memset(objects, 0, sizeof(objects));
	budget.bytes_max = 4 << 20;
	for (int step = 0; step < 200000; step++) {
		unsigned i;

		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		i = (unsigned)(r >> 20) % N;
		if (objects[i].p) {
			for (size_t k = 0; k < objects[i].bytes; k += 61)
				assert_int_equal((unsigned char)objects[i].p[k], objects[i].fill);
			used -= heap_capacity(objects[i].p);
			heap_free(&heap, objects[i].p);
			objects[i].p = NULL;
		} else {
			objects[i].bytes = 1 + (r >> 32) % 4096;
			objects[i].fill = (unsigned char)step;
			objects[i].p = heap_alloc(&heap, objects[i].bytes);
			refused += !objects[i].p;
			if (!objects[i].p)
				continue;
			used += heap_capacity(objects[i].p);
			memset(objects[i].p, objects[i].fill, objects[i].bytes);
		}
		assert_int_equal(heap.used_bytes, used);
		assert_int_equal(heap.resident_bytes, budget.bytes);
		assert_true(budget.bytes <= budget.bytes_max);
		assert_true(used <= budget.bytes);
		if (step % 1000 == 0)
			heap_trim(&heap);
	}
	assert_true(refused > 0); /* the bound was met on the way */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_charge),
		cmocka_unit_test_setup_teardown(test_classes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_resident_bytes_are_true, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_budget, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_warm_blocks_are_given_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_two_heaps_share_a_budget, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sparsest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sparsest_empties, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_arenas, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_random_walk, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
