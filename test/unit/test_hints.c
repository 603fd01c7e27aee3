/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/ libleap/error.c libleap/util/fmt.c */
/* What the program says about its accesses: policies do not wait for a trend where a scan is announced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/prefetch/history.h"

#define BASE 0x7f0000000ull

static const struct prefetch_params cache_params = {32, 8, 8, false};
static const struct prefetch_params marker_params = {32, 8, 512, false};
static const struct prefetcher_ops *const listeners[] = {
	&prefetcher_majority, &prefetcher_streams, &prefetcher_adaptive, &prefetcher_readahead};
#define LISTENERS (sizeof(listeners) / sizeof(listeners[0]))

static struct history *start(const struct prefetcher_ops *ops, const struct prefetch_params *params,
			     bool by_stream)
{
	struct prefetch_scope scope = {0};
	struct history *h = calloc(1, history_bytes(ops, params, by_stream));

	assert_non_null(h);
	assert_int_equal(history_init(h, ops, params, by_stream, &scope), 0);
	return h;
}

static struct prefetch_plan tell(struct history *h, enum prefetch_kind kind, uint64_t page)
{
	struct prefetch_access access = {.kind = kind, .page = BASE + page};
	struct prefetch_plan plan = {0};

	history_access(h, &access, &plan);
	return plan;
}

static struct prefetch_plan miss(struct history *h, uint64_t page)
{
	return tell(h, PREFETCH_MISS, page);
}

static void check_window(const struct prefetcher_ops *ops, const struct prefetch_plan *plan,
			 uint64_t start, int64_t delta, uint32_t count)
{
	if (plan->start != BASE + start || plan->delta != delta || plan->count != count)
		fail_msg("%s: %ld, step %ld, %u pages", ops->name, (long)(plan->start - BASE),
			 (long)plan->delta, plan->count);
}

static uint32_t without(const struct prefetcher_ops *ops)
{
	struct history *h = start(ops, &marker_params, false);
	uint32_t count;

	miss(h, 5000);
	count = miss(h, 5001).count;
	free(h);
	return count;
}

/* The first step forward brings a whole window, which goes on as any. */
static void test_scan(void **state)
{
	for (unsigned i = 0; i < LISTENERS; i++) {
		const struct prefetcher_ops *ops = listeners[i];
		struct history *h = start(ops, &marker_params, false);
		struct prefetch_access access = {.kind = PREFETCH_MARKER,
						 .page = BASE + 5002 + 256,
						 .credit = 512,
						 .delta = 1,
						 .frontier = BASE + 5001 + 512};
		struct prefetch_plan window, next = {0};

		history_hint(h, PREFETCH_HINT_SEQUENTIAL);
		assert_int_equal(miss(h, 5000).count, 0);
		window = miss(h, 5001);
		check_window(ops, &window, 5002, 1, 512);
		access.window = &window;
		history_access(h, &access, &next);
		assert_int_equal(next.start, BASE + 5002 + 512);
		assert_in_range(next.count, 1, 512); /* readahead ends with its block */
		free(h);
		assert_in_range(without(ops), 0, 2);
	}
}

/* In the paper's mode, too; and what is dropped makes windows smaller, what is hit makes them larger. */
static void test_throttled(void **state)
{
	for (unsigned i = 0; i < LISTENERS; i++) {
		const struct prefetcher_ops *ops = listeners[i];
		struct history *h = start(ops, &cache_params, false);
		struct prefetch_plan window;

		history_hint(h, PREFETCH_HINT_SEQUENTIAL);
		miss(h, 100);
		window = miss(h, 101);
		check_window(ops, &window, 102, 1, 8);
		for (uint64_t page = 102; page < 110; page++)
			tell(h, PREFETCH_HIT, page);
		window = miss(h, 110);
		check_window(ops, &window, 111, 1, 8);
		history_unused(h, BASE + 111, 1000);
		for (uint64_t page = 500; page < 50000; page += 500) { /* forgets its hits */
			miss(h, page);
			miss(h, page + 100);
		}
		window = miss(h, 49700);
		assert_in_range(window.count, 0, 2);
		free(h);
	}
}

/* Far, backward and stray steps bring no more than without the hint; a stride that is known is kept. */
static void test_no_scan(void **state)
{
	for (unsigned i = 0; i < LISTENERS; i++) {
		const struct prefetcher_ops *ops = listeners[i];
		struct history *h = start(ops, &marker_params, false);
		history_hint(h, PREFETCH_HINT_SEQUENTIAL);
		for (uint64_t k = 1; k <= 100; k++) /* at least 1,000 pages apart, no step twice */
			assert_int_equal(miss(h, k * k * 7919 % (1 << 20) * 1000).count, 0);
		free(h);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct history *h = start(listeners[i], &marker_params, false);
		struct prefetch_plan window = {0};

		for (uint64_t k = 0; k < 6; k++)
			miss(h, 5000 + 10 * k);
		history_hint(h, PREFETCH_HINT_SEQUENTIAL);
		window = miss(h, 5060);
		check_window(listeners[i], &window, 5070, 10, 512);
		free(h);
	}
}

static void test_taken_back(void **state)
{
	for (unsigned i = 0; i < LISTENERS; i++) {
		struct history *h = start(listeners[i], &marker_params, false);

		history_hint(h, PREFETCH_HINT_SEQUENTIAL);
		history_hint(h, PREFETCH_HINT_NORMAL);
		miss(h, 5000);
		assert_int_equal(miss(h, 5001).count, without(listeners[i]));
		free(h);
	}
}

/* By stream: those that are there, and those that come later. */
static void test_by_stream(void **state)
{
	struct history *h = start(&prefetcher_majority, &marker_params, true);
	struct prefetch_plan window;

	miss(h, 5000);
	history_hint(h, PREFETCH_HINT_SEQUENTIAL);
	window = miss(h, 5001);
	check_window(&prefetcher_majority, &window, 5002, 1, 512);
	assert_int_equal(miss(h, 900000).count, 0);
	window = miss(h, 900003);
	check_window(&prefetcher_majority, &window, 900004, 1, 512);
	history_hint(h, PREFETCH_HINT_NORMAL);
	miss(h, 300000);
	assert_int_equal(miss(h, 300001).count, without(&prefetcher_majority));
	free(h);
}

/* Policies that do not listen, or are older than hints, are not told. */
static void test_deaf(void **state)
{
	struct prefetcher_ops old = prefetcher_majority;
	struct history *h;

	assert_null(prefetcher_none.hint);
	h = start(&prefetcher_none, &marker_params, false);
	history_hint(h, PREFETCH_HINT_SEQUENTIAL);
	free(h);
	old.size = offsetof(struct prefetcher_ops, hint);
	h = start(&old, &marker_params, false);
	history_hint(h, PREFETCH_HINT_SEQUENTIAL);
	miss(h, 5000);
	assert_int_equal(miss(h, 5001).count, without(&prefetcher_majority));
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),      cmocka_unit_test(test_throttled),
		cmocka_unit_test(test_no_scan),   cmocka_unit_test(test_taken_back),
		cmocka_unit_test(test_by_stream), cmocka_unit_test(test_deaf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
