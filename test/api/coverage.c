/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paper's mode in a running session, and in the simulator: eight of nine accesses of a fixed stride are covered, since
 * each miss brings eight pages. Every page of a region twice the local memory is touched once, stride after
 * stride; the simulator gets the same accesses. Both use the same policy.
 */
#include "api.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tools/sim.h"

#define PAGES  16384
#define LOCAL  (PAGES / 2)
#define BOUND  (800.0 / 9)
#define WITHIN 0.5 /* points */

/* The n-th page of a walk that takes every page once, in steps of stride. */
static size_t nth_page(size_t n, long stride)
{
	size_t step = (size_t)labs(stride), pass = 0, page;

	while (n >= (PAGES - pass + step - 1) / step) {
		n -= (PAGES - pass + step - 1) / step;
		pass++;
	}
	page = pass + n * step;
	return stride < 0 ? PAGES - 1 - page : page;
}

struct counted {
	uint64_t hits, misses, prefetched;
};

static double coverage(const struct counted *c)
{
	return 100.0 * (double)c->hits / (double)(c->hits + c->misses);
}

static struct counted live(long stride, const char *policy)
{
	struct leap *leap = session("local=32M", "hits=cache", policy, NULL);
	struct leap_region *region;
	struct leap_stats before, after;
	struct counted c;
	char *base;

	assert_ok(leap_region_create(leap, PAGES * PAGE, &region));
	base = leap_region_addr(region);
	range_write(base, PAGES, 1);
	assert_ok(leap_evict(leap, base, PAGES * PAGE));
	before = stats(leap);
	assert_int_equal(before.local_pages + before.limbo_pages + before.staged_pages, 0);
	for (size_t n = 0; n < PAGES; n++)
		assert_true(page_right(base, nth_page(n, stride), 1));
	after = stats(leap);
	assert_true(after.local_pages <= LOCAL);
	c.hits = after.prefetch_hits - before.prefetch_hits;
	c.misses = after.faults_remote - before.faults_remote + after.faults_limbo -
		   before.faults_limbo;
	c.prefetched = after.prefetched - before.prefetched;
	/* each access was one of both; now and then a page's extent leaves while it is being read */
	assert_in_range(c.hits + c.misses, PAGES, PAGES + PAGES / 500);
	assert_ok(leap_close(leap));
	return c;
}

static struct counted simulated(long stride, const char *policy)
{
	struct sim_options options = {
		.policy = policy,
		.cache = true,
		.fifo = true,
		.key = SIM_REGION,
		.params = {32, 8, 8, false},
		.local_pages = LOCAL,
		.pool_pages = LOCAL,
		.latency_ns = 20000,
		.service_ns = 1000,
		.think_ns = 1000,
	};
	struct trace trace;
	struct sim_result r;
	struct counted c;

	trace_init(&trace, "ACCESS", TRACE_ACCESSES);
	assert_int_equal(trace_add_region(&trace, 1, 0x10000, PAGES, "walk"), 0);
	for (size_t n = 0; n < PAGES; n++) {
		struct trace_record record = {.vpn = 0x10000 + nth_page(n, stride), .region = 1};

		assert_int_equal(trace_add(&trace, &record), 0);
	}
	assert_int_equal(sim_run(&trace, &options, &r), 0);
	c = (struct counted){r.m.hits, r.m.misses, r.m.adds};
	sim_result_free(&r);
	trace_free(&trace);
	return c;
}

static void check(double value, double expected, const char *what, long stride)
{
	if (value < expected - WITHIN || value > expected + WITHIN)
		fail_msg("%s, stride %ld: %.2f instead of %.2f", what, stride, value, expected);
}

static void test_eight_of_nine(void **state)
{
	static const long strides[] = {1, -1, 3, 10, -10};

	for (unsigned i = 0; i < sizeof(strides) / sizeof(strides[0]); i++) {
		struct counted l = live(strides[i], "prefetch=majority");
		struct counted s = simulated(strides[i], "majority");

		print_message("stride %ld: live %.2f %%, simulated %.2f %%; brought %" PRIu64
			      " and %" PRIu64 "\n",
			      strides[i], coverage(&l), coverage(&s), l.prefetched, s.prefetched);
		check(coverage(&l), BOUND, "live", strides[i]);
		check(coverage(&s), BOUND, "simulated", strides[i]);
		check(coverage(&l), coverage(&s), "live and simulated", strides[i]);
	}
}

/* That it is the policy which is measured: without one nothing is covered. */
static void test_without(void **state)
{
	struct counted l = live(10, "prefetch=none"), s = simulated(10, "none");

	assert_int_equal(l.hits, 0);
	assert_int_equal(s.hits, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eight_of_nine),
		cmocka_unit_test(test_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
