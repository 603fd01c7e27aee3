/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/ libleap/error.c libleap/util/fmt.c */
/*
 * The prefetch policies beside the paper's: what each plans, access by access, worked out by hand.
 * Whole access patterns stand in test_prefetch_model.c and test_lab.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/error.h"
#include "libleap/prefetch/prefetch.h"

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))
#define BASE        0x7f0000000ull

static const struct prefetch_params cache_params = {32, 8, 8, false};
static const struct prefetch_params marker_params = {32, 8, 512, false};
static const struct prefetcher_ops *const policies[] = {
	&prefetcher_nextn,   &prefetcher_stride,   &prefetcher_vma_readahead,
	&prefetcher_streams, &prefetcher_adaptive,
};

static const struct prefetcher_ops *ops;
static void *policy;

static void start(const struct prefetcher_ops *which, const struct prefetch_params *params)
{
	ops = which;
	policy = calloc(1, ops->state_bytes(params));
	assert_non_null(policy);
	assert_int_equal(ops->init(policy, params), 0);
}

static void stop(void)
{
	free(policy);
	policy = NULL;
}

static struct prefetch_plan ask(const struct prefetch_access *access)
{
	struct prefetch_plan plan = {0};

	ops->access(policy, access, &plan);
	return plan;
}

static struct prefetch_plan miss(uint64_t page)
{
	struct prefetch_access access = {.kind = PREFETCH_MISS, .page = BASE + page};

	return ask(&access);
}

static struct prefetch_plan miss_of(uint32_t thread, uint64_t page)
{
	struct prefetch_access access = {
		.kind = PREFETCH_MISS, .page = BASE + page, .thread = thread};

	return ask(&access);
}

static void hits(uint64_t page, int64_t step, int n)
{
	for (int i = 0; i < n; i++) {
		struct prefetch_access access = {.kind = PREFETCH_HIT,
						 .page = BASE + page + (uint64_t)(i * step)};

		assert_int_equal(ask(&access).count, 0);
	}
}

/* The marker in the middle of the window is touched. */
static struct prefetch_plan marker(const struct prefetch_plan *window)
{
	struct prefetch_access access = {.page = prefetch_nth(window, window->count / 2)};

	prefetch_set_marker(&access, window);
	return ask(&access);
}

static void check(struct prefetch_plan plan, int64_t start, int64_t delta, uint32_t count)
{
	assert_int_equal(plan.count, count);
	if (!count)
		return;
	assert_int_equal((int64_t)(plan.start - BASE), start);
	assert_int_equal(plan.delta, delta);
}

static void check_pages(const struct prefetch_plan *plan, const int64_t *pages, uint32_t count)
{
	assert_int_equal(plan->count, count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal((int64_t)(prefetch_nth(plan, i) - BASE), pages[i]);
}

static void test_nth_and_continue(void **state)
{
	static const int64_t first[] = {0, 3, 6, 20, 23, 26, 40}, next[] = {43, 46, 60, 63};
	struct prefetch_plan plan = {BASE, 20, 7, 9, 3, {0, 3, 6}}, more;

	check_pages(&plan, first, 7);
	prefetch_continue(&plan, 4, &more);
	check_pages(&more, next, 4);
	assert_int_equal(more.tag, 9);
	plan = (struct prefetch_plan){.start = BASE + 100, .delta = -7, .count = 5};
	prefetch_continue(&plan, 3, &more);
	check(more, 65, -7, 3);
}

static void test_nextn(void **state)
{
	struct prefetch_plan plan;

	start(&prefetcher_nextn, &cache_params);
	check(miss(100), 101, 1, 8);
	check(miss(100), 0, 0, 0); /* retried */
	check(miss(7000), 7001, 1, 8);
	hits(7001, 1, 3);
	stop();
	start(&prefetcher_nextn, &marker_params);
	plan = miss(50);
	check(plan, 51, 1, 8);
	check(marker(&plan), 59, 1, 8);
	plan.delta = -1;
	check(marker(&plan), 0, 0, 0);
	stop();
	start(&prefetcher_nextn, &(struct prefetch_params){32, 8, 3, false});
	check(miss(100), 101, 1, 3);
	stop();
}

/* INITIAL, TRANSIENT, STEADY; one stray access costs one prediction, two the stride. */
static void test_stride_states(void **state)
{
	start(&prefetcher_stride, &cache_params);
	check(miss(100), 0, 0, 0);
	check(miss(110), 0, 0, 0);
	check(miss(120), 130, 10, 4);
	check(miss(120), 0, 0, 0); /* retried */
	check(miss(555), 0, 0, 0); /* INITIAL, the stride is kept */
	check(miss(565), 575, 10, 2);
	check(miss(700), 0, 0, 0); /* INITIAL */
	check(miss(703), 0, 0, 0); /* TRANSIENT, 3 */
	check(miss(800), 0, 0, 0); /* NO_PREDICTION, 97 */
	check(miss(897), 0, 0, 0); /* TRANSIENT */
	check(miss(994), 1091, 97, 1);
	stop();
}

static void test_stride_throttle(void **state)
{
	start(&prefetcher_stride, &cache_params);
	miss(0);
	miss(2);
	check(miss(4), 6, 2, 4);
	hits(6, 2, 4);
	check(miss(14), 16, 2, 8); /* all hit: doubled */
	hits(16, 2, 5);
	check(miss(26), 28, 2, 8); /* 5 of 8: as it is */
	hits(28, 2, 3);
	check(miss(34), 36, 2, 4); /* 3 of 8: halved */
	check(miss(36), 38, 2, 2);
	check(miss(38), 40, 2, 1);
	check(miss(40), 42, 2, 1);
	stop();
}

static void test_stride_by_thread(void **state)
{
	start(&prefetcher_stride, &cache_params);
	for (uint64_t i = 0; i < 2; i++) {
		check(miss_of(1, 100 + i), 0, 0, 0);
		check(miss_of(2, 9000 - 5 * i), 0, 0, 0);
	}
	check(miss_of(1, 102), 103, 1, 4);
	check(miss_of(2, 8990), 8985, -5, 2); /* the first window was not hit */
	stop();
}

static void test_stride_markers(void **state)
{
	struct prefetch_plan plan;
	uint32_t expected = 8;

	start(&prefetcher_stride, &marker_params);
	miss(0);
	miss(3);
	plan = miss(6);
	check(plan, 9, 3, 4);
	for (int i = 0; i < 10; i++) {
		uint64_t next = prefetch_nth(&plan, plan.count) - BASE;

		plan = marker(&plan);
		check(plan, (int64_t)next, 3, expected);
		expected = expected < 512 ? 2 * expected : 512;
	}
	ops->unused(policy, 512);
	check(marker(&plan), (int64_t)(prefetch_nth(&plan, 512) - BASE), 3, 256);
	stop();
}

static void test_vma_readahead(void **state)
{
	struct prefetch_plan plan;

	start(&prefetcher_vma_readahead, &cache_params);
	check(miss(1000), 0, 0, 0);
	check(miss(1001), 1001, 1, 2); /* behind its neighbour */
	hits(1002, 1, 1);
	check(miss(1003), 1003, 1, 4);
	hits(1004, 1, 3);
	check(miss(1007), 1007, 1, 8);
	check(miss(5000), 4999, 1, 4); /* around: one before */
	check(miss(4999), 4998, 1, 2); /* before */
	check(miss(8000), 0, 0, 0);
	stop();
	start(&prefetcher_vma_readahead, &marker_params);
	miss(2000);
	plan = miss(2001);
	plan = marker(&plan);
	check(plan, 2003, 1, 4);
	plan = marker(&plan);
	check(plan, 2007, 1, 8);
	stop();
	start(&prefetcher_vma_readahead, &marker_params);
	miss(2000);
	plan = miss(1999);
	check(plan, 1998, 1, 2);
	plan.count = 1; /* the page that missed was there already */
	plan = marker(&plan);
	check(plan, 1994, 1, 4);
	stop();
}

/* Streams in turn, up and down, each with its own trend from its fourth access on. */
static void test_streams_in_turn(void **state)
{
	start(&prefetcher_streams, &cache_params);
	for (uint64_t i = 0; i < 8; i++)
		for (uint64_t k = 0; k < 60; k++) {
			uint64_t at = 100000 + k * k * 1000;
			int64_t stride = k % 2 ? -3 : 2;
			uint64_t page = at + i * (uint64_t)stride;
			struct prefetch_plan plan = miss(page);

			check(plan, (int64_t)page + stride, stride, i >= 3);
		}
	stop();
}

static void test_streams_grow_by_their_own_hits(void **state)
{
	start(&prefetcher_streams, &cache_params);
	for (uint64_t i = 0; i < 4; i++) {
		miss(1000 + i);
		miss(50000 + i);
	}
	hits(1004, 1, 1);
	check(miss(50004), 50005, 1, 1); /* not its hit */
	check(miss(1005), 1006, 1, 2);
	hits(1006, 1, 2);
	check(miss(1008), 1009, 1, 4);
	stop();
}

/* A miss among the pages that a stream has brought: they were dropped, and it goes on from there, with less. */
static void test_streams_go_on_after_drops(void **state)
{
	struct prefetch_plan plan = {0}, other;

	start(&prefetcher_streams, &marker_params);
	for (uint64_t i = 0; i < 4; i++)
		plan = miss(1000 + i);
	while (plan.count < 256)
		plan = marker(&plan);
	other = marker(&plan); /* all behind the middle of plan is on its way */
	assert_in_range(other.count, 256, 512);
	plan = miss(plan.start - BASE + 130);
	assert_int_equal(plan.start - BASE, other.start - BASE - 256 + 131);
	assert_int_equal(plan.delta, 1);
	assert_in_range(plan.count, other.count / 8, other.count / 2);
	/* what is elsewhere is another stream */
	check(miss(1000000), 0, 0, 0);
	check(miss(1000001), 0, 0, 0);
	stop();
}

/* Seven accesses 3 apart, then 20: known after two rounds. */
static void test_streams_pattern(void **state)
{
	struct prefetch_plan plan = {0};
	uint64_t page = 1000, first;

	start(&prefetcher_streams, &cache_params);
	for (unsigned i = 0; i < 17; i++) {
		plan = miss(page);
		page += i % 7 == 6 ? 20 : 3;
	}
	/* at access 17 there were two rounds of seven steps, and the rest of the first's */
	plan = miss(page);
	first = plan.start - BASE;
	assert_int_equal(first, page + 3);
	assert_int_equal(plan.nsteps, 7);
	assert_int_equal(plan.delta, 38);
	assert_int_equal(plan.count, 7);
	/* access 17 is the fourth of its seven */
	for (uint32_t k = 0; k < 3; k++)
		assert_int_equal(prefetch_nth(&plan, k) - BASE, page + 3 * (k + 1));
	assert_int_equal(prefetch_nth(&plan, 3) - BASE, page + 9 + 20);
	stop();
}

/* A marker of a pattern continues it in phase, and twice as far. */
static void test_streams_pattern_markers(void **state)
{
	static const int64_t steps[] = {1, 5, 1, 9};
	struct prefetch_plan plan = {0};
	uint64_t page = 1000;
	unsigned i = 0;

	start(&prefetcher_streams, &marker_params);
	for (; plan.nsteps != 4; i++) {
		assert_true(i < 16);
		plan = miss(page);
		page += (uint64_t)steps[i % 4];
	}
	for (int n = 0; n < 6; n++) {
		uint32_t count = plan.count;

		for (uint32_t k = 0; k < count; k++, i++) {
			assert_int_equal(prefetch_nth(&plan, k) - BASE, page);
			page += (uint64_t)steps[i % 4];
		}
		plan = marker(&plan);
		assert_int_equal(plan.count, count < 32
						     ? 2 * count
						     : 64); /* where windows begin to be limited */
	}
	/* and the stream goes on from there */
	assert_int_equal(miss(page).nsteps, 4);
	stop();
}

/* To and fro but onwards, without a period. */
static void test_streams_ripple(void **state)
{
	static const int64_t offsets[] = {0,  2,  1,  3,  5,  4,  8,  6,  7, 9,
					  10, 13, 11, 12, 15, 14, 16, 17, 19};
	struct prefetch_plan plan = {0};

	start(&prefetcher_streams, &cache_params);
	for (unsigned i = 0; i < ELEMENTS(offsets); i++)
		plan = miss(1000 + (uint64_t)offsets[i]);
	check(plan, 1020, 1, 2); /* behind the furthest */
	stop();
	start(&prefetcher_streams, &cache_params);
	for (unsigned i = 0; i < ELEMENTS(offsets); i++)
		plan = miss(1000 - (uint64_t)offsets[i]);
	check(plan, 980, -1, 2);
	stop();
}

/* Steps longer than a neighbourhood have a trend of their own, and do not push streams out. */
static void test_streams_far_steps(void **state)
{
	start(&prefetcher_streams, &cache_params);
	for (uint64_t i = 0; i < 3; i++)
		miss(100 + i);
	for (uint64_t i = 0; i < 8; i++)
		check(miss(100000 + 500 * i), 0, 0, 0); /* the first step came from page 100 */
	for (uint64_t i = 8; i < 200; i++)
		check(miss(100000 + 500 * i), (int64_t)(100000 + 500 * (i + 1)), 500, 1);
	check(miss(103), 104, 1, 1);
	stop();
}

/* The 65th stream takes the place of the one that was not used for longest. */
static void test_streams_replacement(void **state)
{
	start(&prefetcher_streams, &cache_params);
	for (uint64_t i = 0; i < 3; i++)
		for (uint64_t k = 0; k < 64; k++)
			miss(k * k * 1000 + i);
	miss(9999999);
	check(miss(64000000), 0, 0, 0);
	/* streams 0 and 1 are gone, the others are not */
	check(miss(2 * 2 * 1000 + 3), 2 * 2 * 1000 + 4, 1, 1);
	check(miss(63 * 63 * 1000 + 3), 63 * 63 * 1000 + 4, 1, 1);
	check(miss(3), 0, 0, 0);
	check(miss(1003), 0, 0, 0);
	stop();
}

/* Streams in turn at equal distances look like a far step for a while. */
static void test_streams_at_equal_distances(void **state)
{
	start(&prefetcher_streams, &cache_params);
	for (uint64_t i = 0; i < 20; i++)
		for (uint64_t k = 0; k < 4; k++)
			check(miss(k * 100000 + i), (int64_t)(k * 100000 + i + 1), 1, i >= 3);
	stop();
}

/* Windows that another policy planned, tags that never were, nonsense. */
static void test_markers_of_others(void **state)
{
	for (unsigned i = 0; i < ELEMENTS(policies); i++)
		for (uint32_t tag = 0; tag < 5000; tag += 7) {
			struct prefetch_plan window = {BASE + 10 * tag, 1, 16, tag, 0, {0}};
			struct prefetch_access access = {.kind = PREFETCH_MARKER,
							 .page = window.start + 8,
							 .credit = 16,
							 .delta = 1,
							 .frontier = window.start + 15};
			struct prefetch_plan plan;

			if (!tag)
				start(policies[i], &marker_params);
			plan = marker(&window);
			assert_in_range(plan.count, 1, 512);
			assert_int_equal(plan.start, window.start + 16);
			assert_in_range(ask(&access).count, 1, 512); /* no window */
			window.count = 0;
			marker(&window);
			if (tag + 7 >= 5000)
				stop();
		}
}

/* Anywhere in 64 bits: never more than window_max, always a step. */
static void test_any_access(void **state)
{
	uint64_t random = 88172645463325252ull;

	for (unsigned i = 0; i < ELEMENTS(policies); i++) {
		start(policies[i], &cache_params);
		for (int n = 0; n < 200000; n++) {
			struct prefetch_access access = {0};
			struct prefetch_plan plan;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			access.kind = n % 3 ? PREFETCH_MISS : PREFETCH_HIT;
			access.page = n % 5 ? random >> (random & 31) : random % 64;
			access.thread = n % 7;
			plan = ask(&access);
			assert_in_range(plan.count, 0, 8);
			if (plan.count)
				assert_int_not_equal(plan.delta, 0);
			if (n % 11 == 0)
				ops->unused(policy, (uint32_t)(random >> 60));
		}
		stop();
	}
}

static void test_parameters(void **state)
{
	for (unsigned i = 0; i < ELEMENTS(policies); i++)
		for (uint32_t window = 0; window <= 513; window += 513) {
			struct prefetch_params params = {32, 8, window, false};
			void *p = calloc(1, policies[i]->state_bytes(&params));

			assert_int_equal(policies[i]->init(p, &params), -EINVAL);
			assert_non_null(strstr(error_last(), "window_max"));
			free(p);
		}
}

/* Which trend adaptive's own policy has shows which one it is. */
static void test_adaptive_changes_over(void **state)
{
	int64_t trend;
	uint32_t window;

	start(&prefetcher_adaptive, &cache_params);
	for (uint64_t i = 0; i < 3; i++)
		check(miss(100 + i), 0, 0, 0);
	check(miss(103), 104, 1, 1); /* as streams do */
	stop();
	/* far strides in turn with near ones of two threads: only a stride for each thread can follow */
	start(&prefetcher_adaptive, &cache_params);
	for (uint64_t i = 0; i < 255; i++)
		check(miss_of(1 + i % 2, i % 2 ? 100000 * i : 5000000 + 70000 * i), 0, 0, 0);
	for (uint64_t i = 255; i < 1024; i++)
		miss_of(1 + i % 2, i % 2 ? 100000 * i : 5000000 + 70000 * i);
	check(miss_of(1, 5000000 + 70000 * 1024), 5000000 + 70000 * 1026, 140000, 1);
	ops->peek(policy, &trend, &window);
	assert_int_equal(trend, 140000);
	assert_int_equal(window, 1);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nth_and_continue),
		cmocka_unit_test(test_nextn),
		cmocka_unit_test(test_stride_states),
		cmocka_unit_test(test_stride_throttle),
		cmocka_unit_test(test_stride_by_thread),
		cmocka_unit_test(test_stride_markers),
		cmocka_unit_test(test_vma_readahead),
		cmocka_unit_test(test_streams_in_turn),
		cmocka_unit_test(test_streams_grow_by_their_own_hits),
		cmocka_unit_test(test_streams_go_on_after_drops),
		cmocka_unit_test(test_streams_pattern),
		cmocka_unit_test(test_streams_pattern_markers),
		cmocka_unit_test(test_streams_ripple),
		cmocka_unit_test(test_streams_far_steps),
		cmocka_unit_test(test_streams_replacement),
		cmocka_unit_test(test_streams_at_equal_distances),
		cmocka_unit_test(test_markers_of_others),
		cmocka_unit_test(test_any_access),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_adaptive_changes_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
