/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/transport/rdma_queue.c */
/*
 * Credits of a lane: no slot, page or outstanding READ is given twice or lost, whatever the order of sizes; completions
 * cover what was posted before them, and nothing after.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/transport/rdma_queue.h"

#define PAGES 128

static struct rdma_queue queue;

static int set_up(void **state)
{
	rdma_queue_init(&queue, PAGES, 4);
	return 0;
}

static struct rdma_slot *take(uint32_t npages, bool read, uint64_t *ret_number)
{
	struct rdma_slot *slot = rdma_queue_take(&queue, npages, read, ret_number);

	if (slot)
		assert_true(slot->page + npages <= PAGES);
	return slot;
}

static void test_slots(void **state)
{
	uint64_t n;

	rdma_queue_init(&queue, 2 * RDMA_DEPTH, 4);
	assert_null(rdma_queue_oldest(&queue));
	for (uint64_t i = 0; i < RDMA_DEPTH; i++) {
		assert_non_null(rdma_queue_take(&queue, 1, false, &n));
		assert_int_equal(n, i);
	}
	assert_null(rdma_queue_take(&queue, 1, false, &n));
	assert_non_null(rdma_queue_retire(&queue, 0));
	assert_null(rdma_queue_retire(&queue, 0)); /* once */
	assert_non_null(rdma_queue_take(&queue, 1, false, &n));
	assert_int_equal(n, RDMA_DEPTH);
	assert_null(rdma_queue_take(&queue, 1, false, &n));
}

static void test_reads(void **state)
{
	uint64_t n;

	for (int i = 0; i < 4; i++)
		assert_non_null(take(1, true, &n));
	assert_null(take(1, true, &n));
	assert_non_null(take(1, false, &n)); /* a write may go */
	assert_int_equal(queue.reads, 4);
	assert_non_null(rdma_queue_retire(&queue, n));
	assert_int_equal(queue.reads, 3);
	assert_non_null(take(1, true, &n));
	assert_null(take(1, true, &n));
}

static void test_pages(void **state)
{
	struct rdma_slot *slot;
	uint64_t n;

	assert_int_equal(take(64, false, &n)->page, 0);
	assert_int_equal(take(60, false, &n)->page, 64);
	assert_null(take(5, false, &n)); /* 4 are left at the end, none at the beginning */
	assert_non_null(rdma_queue_retire(&queue, 0));
	slot = take(5, false, &n);
	assert_int_equal(slot->page, 0); /* the 4 at the end are skipped */
	assert_int_equal(take(59, false, &n)->page, 5);
	assert_null(take(1, false, &n));
	/* the skipped ones come back with the one that skipped them */
	while (rdma_queue_retire(&queue, n))
		;
	assert_int_equal(take(PAGES, false, &n)->page, 0);
}

/* A completion covers all before it; one that asked for none is done by a later one. */
static void test_group(void **state)
{
	uint64_t n = 0;
	int done = 0;

	for (int i = 0; i < 10; i++)
		assert_non_null(take(2, false, &n));
	assert_true(rdma_queue_expects(&queue, 0));
	assert_true(rdma_queue_expects(&queue, 9));
	assert_false(rdma_queue_expects(&queue, 10));
	while (rdma_queue_retire(&queue, 6))
		done++;
	assert_int_equal(done, 7);
	assert_false(rdma_queue_expects(&queue, 6)); /* a second time: broken */
	assert_true(rdma_queue_expects(&queue, 7));
	assert_non_null(rdma_queue_oldest(&queue));
	while (rdma_queue_retire(&queue, 9))
		done++;
	assert_int_equal(done, 10);
	assert_null(rdma_queue_oldest(&queue));
}

/* Reads always ask for a completion, writes at least every so often, and the last of a chain always. */
static void test_signal(void **state)
{
	struct rdma_slot read = {.read = true}, write = {.read = false};
	int run = 0;

	assert_true(rdma_queue_signal(&queue, &read, false));
	assert_true(rdma_queue_signal(&queue, &write, true));
	for (int i = 0; i < 10 * RDMA_SIGNAL_EVERY; i++) {
		run = rdma_queue_signal(&queue, &write, false) ? 0 : run + 1;
		assert_true(run < RDMA_SIGNAL_EVERY);
	}
	assert_false(rdma_queue_signal(&queue, &write, false));
}

/* Random traffic against a map of what is in use. */
static void test_random(void **state)
{
	static uint8_t used[PAGES];
	static struct {
		uint32_t page, n;
	} flight[RDMA_DEPTH];
	uint64_t first = 0, end = 0, n;
	uint32_t reads = 0;
	bool read[RDMA_DEPTH];

	srand(1);
	memset(used, 0, sizeof(used));
	for (int i = 0; i < 200000; i++) {
		uint32_t npages = 1 + (uint32_t)rand() % 64;
		bool is_read = rand() % 2;
		struct rdma_slot *slot = rand() % 3 ? take(npages, is_read, &n) : NULL;

		if (slot) {
			assert_int_equal(n, end);
			for (uint32_t k = 0; k < npages; k++)
				assert_int_equal(used[slot->page + k]++, 0);
			flight[n % RDMA_DEPTH].page = slot->page;
			flight[n % RDMA_DEPTH].n = npages;
			read[n % RDMA_DEPTH] = is_read;
			reads += is_read;
			assert_true(reads <= 4);
			end++;
		} else if (first < end) {
			uint64_t upto = first + (uint64_t)rand() % (end - first);

			assert_true(rdma_queue_expects(&queue, upto));
			while ((slot = rdma_queue_retire(&queue, upto))) {
				assert_int_equal(slot->page, flight[first % RDMA_DEPTH].page);
				for (uint32_t k = 0; k < flight[first % RDMA_DEPTH].n; k++)
					used[slot->page + k]--;
				reads -= read[first % RDMA_DEPTH];
				first++;
			}
			assert_int_equal(first, upto + 1);
		} else {
			/* empty: the largest request always fits */
			assert_non_null(take(64, false, &n));
			assert_non_null(rdma_queue_retire(&queue, n));
			first = ++end;
		}
		assert_int_equal(queue.reads, reads);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_slots, set_up),
		cmocka_unit_test_setup(test_reads, set_up),
		cmocka_unit_test_setup(test_pages, set_up),
		cmocka_unit_test_setup(test_group, set_up),
		cmocka_unit_test_setup(test_signal, set_up),
		cmocka_unit_test_setup(test_random, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
