/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/ libleap/error.c libleap/util/fmt.c libleap/util/hist.c tools/sim_run.c tools/sim_runtime.c tools/sim_plan.c tools/sim_windows.c tools/sim_pager.c tools/sim_memory.c tools/sim_cells.c tools/sim_watch.c tools/sim_released.c tools/generate.c tools/trace_file.c tools/trace_text.c */
/*
 * The model of the runtime on what other threads, busy extents and a lack of room did to a run: small traces of policy
 * nextn, which wants the 8 pages behind each miss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/sim.h"

#define FIRST 0x1000
#define PAGES 1024

static struct trace trace;

static void add(unsigned op, uint64_t page, uint32_t count, unsigned flags)
{
	struct trace_record r = {
		.vpn = FIRST + page,
		.tid = count,
		.region = 1,
		.op = (uint8_t)op,
		.flags = (uint8_t)flags,
	};

	assert_int_equal(trace_add(&trace, &r), 0);
}

static void touch(uint64_t page, unsigned flags)
{
	add(TRACE_ACCESS, page, 0, flags);
}

/* All pages of the region have been local, and are remote now. */
static void begin(unsigned flags)
{
	trace_init(&trace, "FAULT", flags);
	assert_int_equal(trace_add_region(&trace, 1, FIRST, PAGES, "region"), 0);
	add(TRACE_NEW, 0, PAGES, 0);
	add(TRACE_EVICT, 0, PAGES, 0);
	add(TRACE_RETIRE, 0, PAGES, 0);
}

static struct sim_metrics end(bool cache, uint64_t limit)
{
	struct sim_options options = {
		.policy = "nextn",
		.cache = cache,
		.runtime = true,
		.recorded_limit = true,
		.limbo_percent = 3,
		.key = SIM_REGION,
		.params = {32, 8, cache ? 8 : 512, false},
		.local_pages = limit,
	};
	struct sim_result r;

	assert_int_equal(sim_run(&trace, &options, &r), 0);
	trace_free(&trace);
	sim_result_free(&r);
	return r.m;
}

/* The page that was not mapped was another one than the model's own choice, page 5. */
static void test_marker(void **state)
{
	struct sim_metrics m;

	begin(0);
	touch(0, 0);
	add(TRACE_WINDOW, 6, 8, 0);
	add(TRACE_ISSUE, 1, 5, 0);
	add(TRACE_ISSUE, 7, 2, 0);
	touch(6, TRACE_RECORD_MARKER);
	add(TRACE_WINDOW, 9, 8, TRACE_RECORD_THERE);
	m = end(false, PAGES);
	assert_int_equal(m.misses, 2);
	assert_int_equal(m.adds, 7);
	assert_int_equal(m.hits, 7);
}

/* What was not asked for did not come: the rest of the window, and what a window was not begun for. */
static void check_cut(bool cache)
{
	struct sim_metrics m;

	begin(0);
	touch(0, 0);
	add(TRACE_WINDOW, cache ? 1 : 5, 8, 0);
	add(TRACE_ISSUE, 1, 2, 0);
	touch(100, 0);
	add(TRACE_WINDOW, 101, 8, TRACE_RECORD_THERE);
	touch(3, 0);
	add(TRACE_WINDOW, 4, 8, TRACE_RECORD_THERE);
	touch(102, 0);
	add(TRACE_WINDOW, 103, 8, TRACE_RECORD_THERE);
	m = end(cache, PAGES);
	assert_int_equal(m.adds, 2);
	assert_int_equal(m.misses, 4);
}

static void test_cut(void **state)
{
	check_cut(false);
	check_cut(true);
}

/* Another wish than the run's is fulfilled as far as there is room. */
static void test_other_wish(void **state)
{
	struct sim_metrics m;

	begin(0);
	touch(0, 0);
	add(TRACE_WINDOW, 20, 16, 0);
	add(TRACE_ISSUE, 18, 2, 0);
	touch(100, 0);
	add(TRACE_WINDOW, 101, 8, TRACE_RECORD_THERE);
	m = end(false, PAGES);
	assert_int_equal(m.adds, 7);
}

/* Page 64 was local when the run looked for what there is to read; it was evicted to make room for its neighbours. */
static void check_limbo(bool windows)
{
	struct sim_metrics m;

	begin(0);
	add(TRACE_NEW, 64, 1, 0);
	touch(60, 0);
	if (windows)
		add(TRACE_WINDOW, 65, 8, 0);
	add(TRACE_ISSUE, 61, 3, 0);
	add(TRACE_EVICT, 64, 1, 0);
	add(TRACE_RETIRE, 64, 1, 0);
	add(TRACE_ISSUE, 66, 3, 0);
	touch(64, 0);
	m = end(false, PAGES);
	assert_int_equal(m.misses, 2);
}

static void test_limbo(void **state)
{
	check_limbo(true);
	check_limbo(false);
}

/* More than the limit was in limbo, being written, and stayed there until it was touched. */
static void test_over_limit(void **state)
{
	struct sim_metrics m;

	trace_init(&trace, "FAULT", TRACE_STAGED);
	assert_int_equal(trace_add_region(&trace, 1, FIRST, PAGES, "region"), 0);
	add(TRACE_NEW, 0, PAGES, 0);
	for (uint64_t i = 0; i < PAGES; i += 64)
		add(TRACE_EVICT, i + 1, 63, 0);
	touch(2, TRACE_RECORD_LIMBO);
	m = end(false, 100);
	assert_int_equal(m.misses, 0);
}

/* Whether a marker came with its window depends on buffers: the trace knows. */
static void check_staged(bool came)
{
	struct sim_metrics m;

	begin(TRACE_STAGED);
	touch(0, 0);
	add(TRACE_WINDOW, 5, 8, 0);
	add(TRACE_ISSUE, 1, 4, 0);
	add(TRACE_ISSUE, 6, 3, 0);
	if (came)
		add(TRACE_WINDOW, 5, 1, TRACE_RECORD_STAGED);
	add(came ? TRACE_HIT : TRACE_ACCESS, 5, 0, TRACE_RECORD_MARKER);
	m = end(false, PAGES);
	assert_int_equal(m.misses, came ? 1 : 2);
	assert_int_equal(m.hits, 7);
}

static void test_staged(void **state)
{
	check_staged(true);
	check_staged(false);
}

/* Two fault threads: what one of them hears in between does not end what the other is at. */
static void test_shards(void **state)
{
	const uint64_t other = TRACE_STRIPE;
	struct sim_metrics m;

	trace_init(&trace, "FAULT", 0);
	trace.header.shards = 2;
	assert_int_equal(trace_add_region(&trace, 1, FIRST, 2 * TRACE_STRIPE, "region"), 0);
	for (uint64_t at = 0; at <= other; at += other) {
		add(TRACE_NEW, at, PAGES, 0);
		add(TRACE_EVICT, at, PAGES, 0);
		add(TRACE_RETIRE, at, PAGES, 0);
	}
	touch(0, 0);
	touch(other, 0);
	add(TRACE_WINDOW, 5, 8, 0);
	add(TRACE_ISSUE, 1, 4, 0);
	add(TRACE_WINDOW, other + 5, 8, 0);
	add(TRACE_ISSUE, 6, 3, 0);
	add(TRACE_ISSUE, other + 1, 2, 0);
	touch(5, TRACE_RECORD_MARKER);
	touch(other + 7, 0);
	add(TRACE_WINDOW, 9, 8, TRACE_RECORD_THERE);
	add(TRACE_WINDOW, other + 8, 8, TRACE_RECORD_THERE);
	m = end(false, 2 * PAGES);
	assert_int_equal(m.adds, 9);
	assert_int_equal(m.hits, 7);
	assert_int_equal(m.misses, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_marker),     cmocka_unit_test(test_cut),
		cmocka_unit_test(test_other_wish), cmocka_unit_test(test_limbo),
		cmocka_unit_test(test_over_limit), cmocka_unit_test(test_staged),
		cmocka_unit_test(test_shards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
