/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/ libleap/error.c libleap/util/fmt.c */
/*
 * The prefetch policies: the paper's algorithms against vectors worked out by hand and against plain
 * counting, window sizes, markers, parameters. Whole access patterns stand in test_prefetch_model.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/error.h"
#include "libleap/prefetch/majority_core.h"
#include "libleap/prefetch/prefetch.h"

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))
#define NONE        0 /* no trend */

static const struct prefetch_params cache_params = {32, 8, 8, false};
static const struct prefetch_params marker_params = {32, 8, 512, false};

static struct majority *new_core(uint32_t size, uint32_t split, uint32_t window_max)
{
	struct majority *m = calloc(1, sizeof(*m) + size * sizeof(m->ring[0]));

	assert_non_null(m);
	majority_init(m, size, split, window_max, false);
	return m;
}

/* The paper's figure 5. */
static void test_trend_of_figure_5(void **state)
{
	static const uint64_t pages[] = {0x48, 0x45, 0x42, 0x3f, 0x3c, 0x02, 0x04, 0x06,
					 0x08, 0x0a, 0x0c, 0x10, 0x39, 0x12, 0x14, 0x16};
	static const int64_t trends[] = {NONE, NONE, NONE, -3, -3, -3, NONE, NONE,
					 2,    2,    2,    2,  2,  2,  2,    2};
	struct majority *m = new_core(8, 2, 8);
	struct majority_window window;

	for (unsigned i = 0; i < ELEMENTS(pages); i++) {
		majority_miss(m, pages[i], &window);
		assert_int_equal(majority_trend(m), trends[i]);
	}
	free(m);
}

static void test_recorded_differences(void **state)
{
	static const uint64_t pages[] = {2, 5, 4, 6, 1, 9};
	static const int64_t deltas[] = {2, 3, -1, 2, -5, 8};
	struct majority *m = new_core(4, 1, 8);

	for (unsigned i = 0; i < ELEMENTS(pages); i++) {
		majority_hit(m, pages[i]);
		for (unsigned k = 0; k <= i && k < 4; k++)
			assert_int_equal(majority_newest(m, k), deltas[i - k]);
		assert_int_equal(m->fill, i + 1 < 4 ? i + 1 : 4);
	}
	/* the same page again is not an access */
	majority_hit(m, 9);
	assert_int_equal(majority_newest(m, 0), 8);
	assert_int_equal(m->hits, 6);
	free(m);
}

static int64_t vote(const int64_t *deltas, uint32_t n)
{
	struct majority *m = new_core(16, 1, 8);
	int64_t trend;

	for (uint32_t i = 0; i < n; i++)
		majority_push(m, deltas[i]);
	trend = majority_vote(m, n);
	free(m);
	return trend;
}

static void test_vote(void **state)
{
	static const int64_t a[] = {-3, -58, 2, 2}, b[] = {72, -3, -3, -3, -3, -58, 2, 2};
	static const int64_t c[] = {2, -58, 2, 2}, d[] = {2, 2, 2, 4, 41, -39, 2, 2};
	static const int64_t e[] = {0, 1, 1, 0}, f[] = {1, 1, 0}, g[] = {7};

	assert_int_equal(vote(a, 4), NONE);
	assert_int_equal(vote(b, 8), NONE);
	assert_int_equal(vote(c, 4), 2);
	assert_int_equal(vote(d, 8), 2);
	assert_int_equal(vote(e, 4), NONE);
	assert_int_equal(vote(e, 0), NONE);
	assert_int_equal(vote(f, 3), 1);
	assert_int_equal(vote(g, 1), 7);
}

/* All sequences over three values, up to ten long. */
static void test_vote_against_counting(void **state)
{
	static const int64_t values[] = {1, -3, 10};

	for (uint32_t n = 1, all = 3; n <= 10; n++, all *= 3)
		for (uint32_t code = 0; code < all; code++) {
			struct majority *m = new_core(10, 1, 8);
			uint32_t count[3] = {0}, rest = code;
			int64_t expected = NONE;

			for (uint32_t i = 0; i < n; i++, rest /= 3) {
				majority_push(m, values[rest % 3]);
				count[rest % 3]++;
			}
			for (int v = 0; v < 3; v++)
				if (2 * count[v] > n)
					expected = values[v];
			assert_int_equal(majority_vote(m, n), expected);
			free(m);
		}
}

/* Windows double from size / split and end with size itself, also when they do not divide it. */
static void test_trend_windows(void **state)
{
	static const struct {
		uint32_t size, split, pushed, newest_noise;
		int64_t expected;
	} cases[] = {
		{32, 8, 3, 0, NONE}, /* not one window is full */
		{32, 8, 4, 0, 1},    {32, 8, 4, 1, 1},      {32, 8, 4, 2, NONE},
		{32, 8, 7, 2, NONE}, {32, 8, 8, 2, 1},      {32, 8, 8, 3, 1},
		{32, 8, 8, 4, NONE}, {32, 8, 31, 8, NONE},  {32, 8, 32, 8, 1},
		{32, 8, 32, 15, 1},  {32, 8, 32, 16, NONE}, {30, 4, 29, 14, NONE},
		{30, 4, 28, 13, 1},  {30, 4, 30, 14, 1},    {30, 4, 30, 15, NONE},
		{2, 2, 1, 0, 1},     {2, 1, 1, 0, NONE},    {2, 1, 2, 0, 1},
		{3, 2, 1, 0, 1},     {3, 2, 3, 0, 1},       {4096, 4096, 1, 0, 1},
	};

	for (unsigned i = 0; i < ELEMENTS(cases); i++) {
		struct majority *m = new_core(cases[i].size, cases[i].split, 8);

		for (uint32_t k = 0; k < cases[i].pushed; k++)
			majority_push(m, k < cases[i].pushed - cases[i].newest_noise ? 1 : 100 + k);
		if (majority_trend(m) != cases[i].expected)
			fail_msg("case %u: %ld", i, (long)majority_trend(m));
		free(m);
	}
}

static void test_window_sizes(void **state)
{
	static const uint32_t hits[] = {1, 2, 3, 4, 7, 8, 100}, sizes[] = {2, 4, 4, 8, 8, 8, 8};
	static const uint32_t shrinking[] = {4, 2, 1, 0, 0};
	struct majority *m = new_core(32, 8, 8);

	for (unsigned i = 0; i < ELEMENTS(hits); i++) {
		m->miss_window = 0;
		m->hits = hits[i];
		assert_int_equal(majority_window_size(m, false), sizes[i]);
		assert_int_equal(m->hits, 0);
	}
	for (unsigned i = 0; i < ELEMENTS(shrinking); i++)
		assert_int_equal(majority_window_size(m, false), shrinking[i]);
	assert_int_equal(majority_window_size(m, true), 1);
	m->miss_window = 8;
	m->hits = 1;
	assert_int_equal(majority_window_size(m, true), 4);
	free(m);
	m = new_core(32, 8, 100);
	m->hits = 64;
	assert_int_equal(majority_window_size(m, false), 100);
	m->hits = 63;
	assert_int_equal(majority_window_size(m, false), 64);
	free(m);
}

/* A retried fault neither plans nor hides the trend. */
static void test_retried_faults(void **state)
{
	void *policy = calloc(1, prefetcher_majority.state_bytes(&cache_params));
	struct prefetch_plan plan;
	uint32_t planned = 0;

	assert_int_equal(prefetcher_majority.init(policy, &cache_params), 0);
	for (uint64_t page = 5000; page < 5100; page += 10) {
		struct prefetch_access access = {.kind = PREFETCH_MISS, .page = page};

		prefetcher_majority.access(policy, &access, &plan);
		planned += plan.count;
		prefetcher_majority.access(policy, &access, &plan);
		assert_int_equal(plan.count, 0);
	}
	assert_int_equal(planned, 7); /* one a miss from the fourth on */
	free(policy);
}

static void marker_plan(void *policy, uint64_t page, uint32_t credit, int64_t delta,
			uint64_t frontier, struct prefetch_plan *ret_plan)
{
	struct prefetch_access access = {
		.kind = PREFETCH_MARKER,
		.page = page,
		.credit = credit,
		.delta = delta,
		.frontier = frontier,
	};

	prefetcher_majority.access(policy, &access, ret_plan);
}

static void test_marker_windows_double(void **state)
{
	void *policy = calloc(1, prefetcher_majority.state_bytes(&marker_params));
	struct prefetch_plan plan = {.start = 1000, .delta = -3, .count = 1};
	uint32_t expected = 2;

	assert_int_equal(prefetcher_majority.init(policy, &marker_params), 0);
	for (int i = 0; i < 12; i++) {
		uint64_t frontier = plan.start + (plan.count - 1) * (uint64_t)plan.delta;
		uint64_t page = plan.start + plan.count / 2 * (uint64_t)plan.delta;

		plan.start += 1000000; /* else it would reach page 0 */
		marker_plan(policy, page + 1000000, plan.count, -3, frontier + 1000000, &plan);
		assert_int_equal(plan.start, frontier + 1000000 - 3);
		assert_int_equal(plan.delta, -3);
		assert_int_equal(plan.count, expected);
		expected = expected < 512 ? expected * 2 : 512;
	}
	/* a window that was cut short goes on from there */
	marker_plan(policy, 5000, 20, -3, 4990, &plan);
	assert_int_equal(plan.count, 32);
	/* nonsense brings nothing */
	marker_plan(policy, 5000, 0, -3, 4990, &plan);
	assert_int_equal(plan.count, 0);
	marker_plan(policy, 5000, 8, 0, 4990, &plan);
	assert_int_equal(plan.count, 0);
	free(policy);
}

static uint32_t marker_window(void *policy, uint32_t credit)
{
	struct prefetch_plan plan;

	marker_plan(policy, 100000, credit, 1, 100100, &plan);
	return plan.count;
}

static void test_unused_pages_shrink_marker_windows(void **state)
{
	void *policy = calloc(1, prefetcher_majority.state_bytes(&marker_params));
	uint32_t grown, window = 256;

	assert_int_equal(prefetcher_majority.init(policy, &marker_params), 0);
	assert_int_equal(marker_window(policy, 512), 512);
	/* a whole window unused, as the evictor tells: piece by piece */
	for (int i = 0; i < 8; i++)
		prefetcher_majority.unused(policy, 64);
	assert_int_equal(marker_window(policy, 512), 256);
	/* most of it unused: down, but never to nothing */
	for (int i = 0; i < 20; i++) {
		uint32_t last = window;

		prefetcher_majority.unused(policy, 3 * window);
		window = marker_window(policy, window);
		assert_in_range(window, 1, last > 1 ? last / 2 : 1);
	}
	assert_int_equal(window, 1);
	assert_int_equal(marker_window(policy, 1), 1);
	prefetcher_majority.unused(policy, UINT32_MAX);
	assert_int_equal(marker_window(policy, 1), 1);
	/* used to the full again: up to the top */
	grown = 1;
	for (int i = 0; i < 20; i++)
		grown = marker_window(policy, grown);
	assert_int_equal(grown, 512);
	free(policy);
}

/* One page in a hundred wasted does not shrink the windows of a scan. */
static void test_some_waste_does_not_shrink(void **state)
{
	void *policy = calloc(1, prefetcher_majority.state_bytes(&marker_params));

	assert_int_equal(prefetcher_majority.init(policy, &marker_params), 0);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(marker_window(policy, 512), 512);
		prefetcher_majority.unused(policy, 5);
	}
	free(policy);
}

static void test_no_trend_now(void **state)
{
	for (int both = 0; both < 2; both++) {
		struct prefetch_params params = {8, 2, 8, both};
		struct majority *m = calloc(1, prefetcher_majority.state_bytes(&params));
		struct prefetch_access access = {.kind = PREFETCH_MISS};
		struct prefetch_plan plan;

		assert_int_equal(prefetcher_majority.init(m, &params), 0);
		/* steps of 10, then noise that hides them, with hits to spare */
		for (access.page = 1000; access.page < 1080; access.page += 10)
			prefetcher_majority.access(m, &access, &plan);
		assert_int_equal(plan.count, 1);
		for (int i = 0; i < 5; i++) {
			access.page += 100 + i;
			access.kind = i < 4 ? PREFETCH_HIT : PREFETCH_MISS;
			prefetcher_majority.access(m, &access, &plan);
		}
		assert_int_equal(majority_trend(m), NONE);
		assert_int_equal(plan.delta, 10);
		assert_int_equal(plan.count, both ? 9 : 8);
		assert_int_equal(plan.start, both ? access.page - 40 : access.page + 10);
		free(m);
	}
}

/* A step along the last trend, once that is none any more, and without hits: nothing follows it. */
static void test_no_trend_is_not_followed(void **state)
{
	struct majority *m = new_core(4, 1, 8);
	struct majority_window window;

	for (uint64_t page = 1000; page <= 1040; page += 10)
		majority_miss(m, page, &window);
	assert_int_equal(window.count, 1);
	for (uint64_t i = 0; i < 4; i++)
		majority_miss(m, 5000 + i * i * 100, &window);
	assert_int_equal(window.count, 0);
	majority_miss(m, 5910, &window);
	assert_int_equal(majority_newest(m, 0), 10);
	assert_int_equal(majority_trend(m), NONE);
	assert_int_equal(window.count, 0);
	free(m);
}

/* Plans stay inside the address space. */
static void test_edges_of_the_address_space(void **state)
{
	struct majority *m = new_core(8, 2, 8);
	struct majority_window window;

	for (uint64_t page = 70; page >= 30; page -= 10) {
		majority_miss(m, page, &window);
		m->hits = 8;
	}
	majority_miss(m, 20, &window);
	assert_int_equal(window.start, 10);
	assert_int_equal(window.count, 2); /* 10 and 0 */
	majority_miss(m, 10, &window);
	assert_int_equal(window.count, 1);
	majority_miss(m, 0, &window);
	assert_int_equal(window.count, 0);
	assert_int_equal(majority_steps(9, -1, 8), 8);
	assert_int_equal(majority_steps(9, -1, 9), 9);
	assert_int_equal(majority_steps(9, -1, 10), 9);
	assert_int_equal(majority_steps(9, -2, 10), 4);
	assert_int_equal(majority_steps(MAJORITY_PAGE_MAX - 9, 1, 8), 8);
	assert_int_equal(majority_steps(MAJORITY_PAGE_MAX - 9, 2, 8), 4);
	for (uint64_t page = MAJORITY_PAGE_MAX - 80; page <= MAJORITY_PAGE_MAX - 20; page += 10)
		majority_miss(m, page, &window);
	m->hits = 8;
	majority_miss(m, MAJORITY_PAGE_MAX - 15, &window);
	assert_int_equal(window.delta, 10);
	assert_int_equal(window.count, 1);
	majority_miss(m, MAJORITY_PAGE_MAX, &window);
	assert_int_equal(window.count, 0);
	majority_miss(m, UINT64_MAX, &window); /* no page: not recorded */
	assert_int_equal(window.count, 0);
	assert_int_equal(majority_newest(m, 0), 15);
	majority_marker(m, MAJORITY_PAGE_MAX, 8, 1, MAJORITY_PAGE_MAX, &window);
	assert_int_equal(window.count, 0);
	majority_marker(m, 100, 8, INT64_MIN, 100, &window);
	assert_int_equal(window.count, 0);
	free(m);
}

static void test_parameters_out_of_range(void **state)
{
	static const struct {
		struct prefetch_params params;
		const char *name;
	} bad[] = {
		{{1, 1, 8, false}, "history_size"},    {{0, 0, 8, false}, "history_size"},
		{{4097, 8, 8, false}, "history_size"}, {{32, 0, 8, false}, "history_split"},
		{{32, 33, 8, false}, "history_split"}, {{32, 8, 0, false}, "window_max"},
		{{32, 8, 513, false}, "window_max"},
	};
	static const struct prefetch_params good[] = {
		{2, 1, 1, false}, {2, 2, 512, true}, {4096, 4096, 512, false}, {30, 4, 100, false}};

	for (unsigned i = 0; i < ELEMENTS(bad); i++) {
		void *policy = calloc(1, sizeof(struct majority));

		error_clear();
		assert_int_equal(prefetcher_majority.init(policy, &bad[i].params), -EINVAL);
		assert_non_null(strstr(error_last(), bad[i].name));
		free(policy);
	}
	for (unsigned i = 0; i < ELEMENTS(good); i++) {
		void *policy = calloc(1, prefetcher_majority.state_bytes(&good[i]));

		assert_int_equal(prefetcher_majority.init(policy, &good[i]), 0);
		free(policy);
	}
}

static void test_readahead_parameters(void **state)
{
	struct prefetch_params params = {32, 8, 0, false};
	void *policy = calloc(1, prefetcher_readahead.state_bytes(&params));

	error_clear();
	assert_int_equal(prefetcher_readahead.init(policy, &params), -EINVAL);
	assert_non_null(strstr(error_last(), "window_max"));
	params.window_max = 513;
	assert_int_equal(prefetcher_readahead.init(policy, &params), -EINVAL);
	free(policy);
}

static struct prefetch_plan readahead_miss(void *policy, uint64_t page)
{
	struct prefetch_access access = {.kind = PREFETCH_MISS, .page = page};
	struct prefetch_plan plan;

	prefetcher_readahead.access(policy, &access, &plan);
	return plan;
}

static void readahead_hits(void *policy, uint64_t page, int n)
{
	struct prefetch_plan plan;

	for (int i = 0; i < n; i++) {
		struct prefetch_access access = {.kind = PREFETCH_HIT, .page = page + i};

		prefetcher_readahead.access(policy, &access, &plan);
		assert_int_equal(plan.count, 0);
	}
}

static void check_block(struct prefetch_plan plan, uint64_t start, uint32_t count)
{
	assert_int_equal(plan.count, count);
	if (count) {
		assert_int_equal(plan.start, start);
		assert_int_equal(plan.delta, 1);
	}
}

static void test_readahead_blocks(void **state)
{
	void *policy = calloc(1, prefetcher_readahead.state_bytes(&cache_params));
	int64_t trend;
	uint32_t window;

	assert_int_equal(prefetcher_readahead.init(policy, &cache_params), 0);
	check_block(readahead_miss(policy, 1000), 0, 0);
	check_block(readahead_miss(policy, 1000), 0, 0);
	check_block(readahead_miss(policy, 1001), 1000, 2); /* a neighbour: two, aligned */
	readahead_hits(policy, 1000, 1);
	check_block(readahead_miss(policy, 1002), 1000, 4);
	readahead_hits(policy, 1003, 1);
	check_block(readahead_miss(policy, 1004), 1004, 4);
	readahead_hits(policy, 1005, 3);
	check_block(readahead_miss(policy, 1008), 1008, 8);
	readahead_hits(policy, 1009, 7);
	check_block(readahead_miss(policy, 1016), 1016, 8); /* 9 pages wanted, 8 at most */
	prefetcher_readahead.peek(policy, &trend, &window);
	assert_int_equal(trend, 1);
	assert_int_equal(window, 8);
	/* no hits, far away: by halves */
	check_block(readahead_miss(policy, 5003), 5000, 4);
	check_block(readahead_miss(policy, 7003), 7002, 2);
	check_block(readahead_miss(policy, 9003), 0, 0);
	check_block(readahead_miss(policy, 9002), 9002, 2); /* downwards too */
	free(policy);
}

static void test_readahead_window_is_a_power_of_two(void **state)
{
	struct prefetch_params params = {32, 8, 7, false};
	void *policy = calloc(1, prefetcher_readahead.state_bytes(&params));

	assert_int_equal(prefetcher_readahead.init(policy, &params), 0);
	readahead_miss(policy, 100);
	readahead_hits(policy, 101, 7);
	check_block(readahead_miss(policy, 110), 108, 4);
	free(policy);
	params.window_max = 1;
	policy = calloc(1, prefetcher_readahead.state_bytes(&params));
	assert_int_equal(prefetcher_readahead.init(policy, &params), 0);
	readahead_miss(policy, 100);
	readahead_hits(policy, 101, 7);
	check_block(readahead_miss(policy, 102), 0, 0);
	free(policy);
}

static void test_peek_at_the_start(void **state)
{
	void *policy = calloc(1, prefetcher_majority.state_bytes(&cache_params));
	int64_t trend = 5;
	uint32_t window = 5;

	assert_int_equal(prefetcher_majority.init(policy, &cache_params), 0);
	prefetcher_majority.peek(policy, &trend, &window);
	assert_int_equal(trend, 0);
	assert_int_equal(window, 0);
	free(policy);
}

static void test_registry(void **state)
{
	char names[256], *save, *name;
	int n = 0;

	snprintf(names, sizeof(names), "%s", prefetcher_names());
	for (name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save), n++) {
		const struct prefetcher_ops *ops = prefetcher_find(name);

		assert_non_null(ops);
		assert_string_equal(ops->name, name);
		assert_int_equal(ops->size, sizeof(*ops));
		assert_true(ops->state_bytes(&marker_params) > 0);
	}
	assert_int_equal(n, 9);
	assert_ptr_equal(prefetcher_find("majority"), &prefetcher_majority);
	assert_ptr_equal(prefetcher_find("readahead"), &prefetcher_readahead);
	assert_ptr_equal(prefetcher_find("none"), &prefetcher_none);
	assert_null(prefetcher_find(""));
	assert_null(prefetcher_find("major"));
	assert_null(prefetcher_find("majority2"));
	assert_ptr_equal(prefetcher_find("replay:some/file"), &prefetcher_replay);
	assert_null(prefetcher_find("majority:x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trend_of_figure_5),
		cmocka_unit_test(test_recorded_differences),
		cmocka_unit_test(test_vote),
		cmocka_unit_test(test_vote_against_counting),
		cmocka_unit_test(test_trend_windows),
		cmocka_unit_test(test_window_sizes),
		cmocka_unit_test(test_retried_faults),
		cmocka_unit_test(test_marker_windows_double),
		cmocka_unit_test(test_unused_pages_shrink_marker_windows),
		cmocka_unit_test(test_some_waste_does_not_shrink),
		cmocka_unit_test(test_no_trend_now),
		cmocka_unit_test(test_no_trend_is_not_followed),
		cmocka_unit_test(test_edges_of_the_address_space),
		cmocka_unit_test(test_parameters_out_of_range),
		cmocka_unit_test(test_readahead_parameters),
		cmocka_unit_test(test_readahead_blocks),
		cmocka_unit_test(test_readahead_window_is_a_power_of_two),
		cmocka_unit_test(test_peek_at_the_start),
		cmocka_unit_test(test_registry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
