/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/ libleap/error.c libleap/util/fmt.c libleap/util/hist.c tools/sim_run.c tools/sim_runtime.c tools/sim_plan.c tools/sim_windows.c tools/sim_pager.c tools/sim_memory.c tools/sim_cells.c tools/sim_watch.c tools/sim_released.c tools/generate.c tools/trace_file.c tools/trace_text.c */
/*
 * The simulator against what can be said without it: pure LRU, the bounds of a window, conservation, a
 * prefetcher that knows the future, the paper's model; and the shipped majority policy inside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/error.h"
#include "tools/generate.h"
#include "tools/sim.h"

#define ACCESSES 20000
#define LOCAL    4000

static const char *const policies[] = {
	"none",
	"nextn",
	"stride",
	"readahead",
	"vma-readahead",
	"majority",
	"streams",
	"adaptive",
	"oracle",
	"majority-released",
	"majority-released-retried",
};
#define ORACLE   8 /* in policies */
#define POLICIES (sizeof(policies) / sizeof(policies[0]))

static struct sim_options options_of(const char *policy, bool cache)
{
	return (struct sim_options){
		.beside = true,
		.policy = policy,
		.cache = cache,
		.key = SIM_REGION,
		.params = {32, 8, cache ? 8 : 512, false},
		.local_pages = LOCAL,
		.pool_pages = LOCAL / 2,
		.share_percent = 50,
		.latency_ns = 20000,
		.service_ns = 1000,
		.think_ns = 1000,
	};
}

static struct sim_result run_with(const struct trace *trace, const struct sim_options *options)
{
	struct sim_result r;

	assert_int_equal(sim_run(trace, options, &r), 0);
	return r;
}

static struct sim_result run(const char *pattern, uint64_t accesses, const char *policy, bool cache)
{
	struct sim_options options = options_of(policy, cache);
	struct trace trace;
	struct sim_result r;

	assert_int_equal(generate(pattern, accesses, 1, &trace), 0);
	r = run_with(&trace, &options);
	trace_free(&trace);
	return r;
}

static struct sim_metrics metrics_of(const char *pattern, const char *policy, bool cache)
{
	struct sim_result r = run(pattern, 60000, policy, cache);

	sim_result_free(&r);
	return r.m;
}

static void check_share(double value, double expected, double within, const char *what)
{
	if (value < expected - within || value > expected + within)
		fail_msg("%s: %.2f instead of %.2f", what, value, expected);
}

/* Eight of nine on any fixed stride; seven of eight for what counts the missed page as one of eight. */
static void test_coverage_of_fixed_strides(void **state)
{
	static const struct {
		const char *pattern, *policy;
		double coverage;
	} cases[] = {
		{"sequential", "majority", 800.0 / 9},
		{"backward", "majority", 800.0 / 9},
		{"stride-10", "majority", 800.0 / 9},
		{"stride-10", "stride", 800.0 / 9},
		{"stride-10", "streams", 800.0 / 9},
		{"stride-10", "adaptive", 800.0 / 9},
		{"sequential", "nextn", 800.0 / 9},
		{"sequential", "readahead", 87.5},
		{"backward", "readahead", 87.5},
		{"sequential", "vma-readahead", 87.5},
		{"backward", "vma-readahead", 87.5},
		{"sequential", "majority-released", 87.5},
		{"stride-10", "majority-released", 87.5},
		{"sequential", "majority-released-retried", 87.5},
		{"stride-10", "majority-released-retried", 0},
		{"stride-10", "readahead", 0},
		{"stride-10", "none", 0},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sim_metrics m = metrics_of(cases[i].pattern, cases[i].policy, true);

		check_share(sim_coverage(&m), cases[i].coverage, 0.5, cases[i].policy);
	}
}

/* From cold, worked out by hand: 16 misses in 100 with a search from 4 accesses, 20 from 8, 18 as released. */
static void test_misses_from_cold(void **state)
{
	static const struct {
		const char *policy;
		uint32_t split;
		uint64_t misses;
	} cases[] = {{"majority", 8, 16}, {"majority", 4, 20}, {"majority-released", 4, 18}};

	for (unsigned i = 0; i < 3; i++) {
		struct sim_options options = options_of(cases[i].policy, true);
		struct trace trace;
		struct sim_result r;

		options.params.history_split = cases[i].split;
		assert_int_equal(generate("sequential", 100, 1, &trace), 0);
		r = run_with(&trace, &options);
		assert_int_equal(r.m.misses, cases[i].misses);
		sim_result_free(&r);
		trace_free(&trace);
	}
}

/* Rows of an independent model of the paper's algorithms, with other random numbers: within 3 points. */
static void test_rows_of_the_reference_model(void **state)
{
	static const struct {
		const char *pattern, *policy;
		double coverage, accuracy;
	} cases[] = {
		{"noise-30", "readahead", 49.0, 41.1},
		{"noise-30", "majority", 49.3, 42.4},
		{"noise-50", "readahead", 24.7, 32.2},
		{"alternating-2", "majority", 0, 0},
		{"alternating-4", "majority", 50.0, 33.3},
		{"shuffled-4", "readahead", 83.0, 100},
		{"shuffled-4", "majority", 86.8, 100},
		{"threads-3-1", "readahead", 48.9, 45.7},
		{"threads-3-1", "majority", 54.4, 45.4},
		{"shuffled-4", "streams", 88.9, 100},
		{"noise-30", "streams", 62.0, 100},
		{"noise-50", "streams", 44.5, 100},
		{"threads-3-1", "streams", 66.7, 100},
		{"mixed-strides", "streams", 79.1, 100},
		{"random", "majority", 0, 0},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sim_metrics m = metrics_of(cases[i].pattern, cases[i].policy, true);

		check_share(sim_coverage(&m), cases[i].coverage, 3, cases[i].pattern);
		check_share(sim_accuracy(&m), cases[i].accuracy, 3, cases[i].pattern);
	}
}

/* The same model's rows where each stream of accesses has the paper's algorithms for itself (history_key=stream). */
static void test_rows_by_stream(void **state)
{
	static const struct {
		const char *pattern;
		double coverage, accuracy;
	} cases[] = {
		{"sequential", 88.9, 100},
		{"stride-10", 88.9, 100},
		{"noise-30", 62.0, 100},
		{"alternating-2", 88.9, 100},
		{"shuffled-4", 88.9, 100},
		{"threads-3-1", 66.7, 100},
		{"mixed-strides", 79.1, 100},
		{"alternating-4", 88.9, 100},
		{"random", 0, 0},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sim_options options = options_of("majority", true);
		struct trace trace;
		struct sim_result r;

		options.key = SIM_STREAM;
		assert_int_equal(generate(cases[i].pattern, 60000, 1, &trace), 0);
		r = run_with(&trace, &options);
		check_share(sim_coverage(&r.m), cases[i].coverage, 1, cases[i].pattern);
		check_share(sim_accuracy(&r.m), cases[i].accuracy, 1, cases[i].pattern);
		assert_int_equal(r.m.adds, r.m.hits + r.m.unused + r.resident);
		sim_result_free(&r);
		trace_free(&trace);
	}
}

/* Misses of an LRU memory of `local` pages, the slow way. */
static uint64_t lru_misses(const struct trace *trace, uint64_t local)
{
	uint64_t *pages = calloc(local, sizeof(*pages)), n = 0, misses = 0;

	assert_non_null(pages);
	for (uint64_t i = 0; i < trace->header.n_records; i++) {
		uint64_t vpn = trace->records[i].vpn, k = 0;

		while (k < n && pages[k] != vpn)
			k++;
		if (k == n) {
			misses++;
			if (n < local)
				n++;
			else
				k--;
		}
		memmove(pages + 1, pages, k * sizeof(*pages));
		pages[0] = vpn;
	}
	free(pages);
	return misses;
}

static void test_none_is_lru(void **state)
{
	static const char *const patterns[] = {"csr", "random", "threads-3-1"};
	static const uint64_t locals[] = {1, 7, 300};

	for (unsigned i = 0; i < 9; i++) {
		struct sim_options options = options_of("none", i % 2);
		struct trace trace;
		struct sim_result r;

		options.local_pages = locals[i % 3];
		assert_int_equal(generate(patterns[i / 3], 5000, 3, &trace), 0);
		r = run_with(&trace, &options);
		assert_int_equal(r.m.misses, lru_misses(&trace, locals[i % 3]));
		assert_int_equal(r.needed, r.m.misses);
		assert_int_equal(r.m.adds + r.m.hits + r.m.polluted, 0);
		assert_int_equal(r.m.stall_ns, r.m.misses * 21000);
		assert_int_equal(r.time_ns, r.m.stall_ns + 5000 * 1000);
		sim_result_free(&r);
		trace_free(&trace);
	}
}

/* What was brought was used, dropped, or is there; the oracle is best; the same again gives the same. */
static void check_everything(const char *pattern, bool cache)
{
	struct sim_result oracle = run(pattern, ACCESSES, "oracle", cache);

	for (unsigned i = 0; i < POLICIES; i++) {
		struct sim_result r = run(pattern, ACCESSES, policies[i], cache);
		struct sim_result again = run(pattern, ACCESSES, policies[i], cache);

		assert_int_equal(r.m.adds, r.m.hits + r.m.unused + r.resident);
		assert_true(r.m.late <= r.m.hits);
		assert_true(r.m.polluted <= r.m.misses);
		assert_int_equal(r.issue.count, r.m.hits);
		/* memory beside the pool is as without prefetching, if nobody looks ahead */
		if (i != ORACLE)
			assert_int_equal(r.m.hits + r.m.misses, r.needed);
		assert_true(r.m.polluted == 0 || i == ORACLE);
		assert_true(sim_coverage(&r.m) <= sim_coverage(&oracle.m));
		assert_true(sim_accuracy(&r.m) <= sim_accuracy(&oracle.m));
		assert_true(r.m.stall_ns >= oracle.m.stall_ns);
		if (cache && i != ORACLE) /* 8 pages a miss, not more */
			assert_true(sim_coverage(&r.m) <= 800.0 / 9 + 0.1);
		assert_memory_equal(&r.m, &again.m, sizeof(r.m));
		assert_int_equal(r.time_ns, again.time_ns);
		sim_result_free(&r);
		sim_result_free(&again);
	}
	sim_result_free(&oracle);
}

static void test_self_checks(void **state)
{
	for (unsigned i = 0; i < generators_count; i++)
		for (int cache = 0; cache < 2; cache++)
			check_everything(generators[i].name, cache);
}

/* A page that is touched before it has come waits for the rest of its way. */
static void test_late_hits(void **state)
{
	struct sim_options options = options_of("nextn", true);
	struct sim_result r;
	struct trace trace;

	assert_int_equal(generate("sequential", 3, 1, &trace), 0);
	options.think_ns = 0;
	r = run_with(&trace, &options);
	/*
	 * Miss at 0: there at 21 us. The next page waits for that one's service and its own: 22 us; touched at
	 * 21. The third: 23 us, touched at 22.
	 */
	assert_int_equal(r.m.misses, 1);
	assert_int_equal(r.m.hits, 2);
	assert_int_equal(r.m.late, 2);
	assert_int_equal(r.m.stall_ns, 21000 + 1000 + 1000);
	assert_int_equal(r.time_ns, 23000);
	assert_int_equal(r.resident, 6);
	assert_int_equal(r.arrival.max, 0);
	sim_result_free(&r);
	options.latency_ns = 0;
	options.service_ns = 0;
	r = run_with(&trace, &options);
	assert_int_equal(r.m.late, 0);
	assert_int_equal(r.m.stall_ns, 0);
	sim_result_free(&r);
	trace_free(&trace);
}

/* A history for each thread tells streams apart that one for the region does not. */
static void test_keys(void **state)
{
	struct sim_options options = options_of("majority", true);
	struct sim_result r;
	struct trace trace;

	assert_int_equal(generate("alternating-2", ACCESSES, 1, &trace), 0);
	for (uint64_t i = 0; i < ACCESSES; i++)
		trace.records[i].tid = i % 2;
	r = run_with(&trace, &options);
	assert_int_equal(r.m.hits, 0);
	assert_int_equal(r.ncells, 2);
	sim_result_free(&r);
	options.key = SIM_THREAD;
	r = run_with(&trace, &options);
	check_share(sim_coverage(&r.m), 800.0 / 9, 0.5, "by thread");
	assert_int_equal(r.ncells, 2);
	assert_int_equal(r.cells[0].m.misses + r.cells[1].m.misses, r.m.misses);
	assert_int_equal(r.cells[0].m.hits, r.cells[1].m.hits);
	sim_result_free(&r);
	trace_free(&trace);
}

static void test_regions_bound_plans(void **state)
{
	struct sim_options options = options_of("nextn", true);
	struct trace trace;
	struct sim_result r;

	trace_init(&trace, "ACCESS", TRACE_ACCESSES);
	assert_int_equal(trace_add_region(&trace, 1, 100, 5, "five"), 0);
	assert_int_equal(trace_add(&trace, &(struct trace_record){.vpn = 101, .region = 1}), 0);
	assert_int_equal(trace_add(&trace, &(struct trace_record){.vpn = 100, .region = 1}), 0);
	r = run_with(&trace, &options);
	assert_int_equal(r.m.adds, 3);
	sim_result_free(&r);
	trace_free(&trace);
}

/* Prefetched pages take room from pages that are in use. */
static void test_pollution(void **state)
{
	struct sim_options options = options_of("nextn", true);
	struct trace trace;
	struct sim_result r;

	/* 20 pages 100 apart, again and again: all fit, but not with 8 beside each */
	trace_init(&trace, "ACCESS", TRACE_ACCESSES);
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(
			trace_add(&trace, &(struct trace_record){.vpn = 1000 + i % 20 * 100}), 0);
	assert_int_equal(trace_add_region(&trace, 0, 0, 10000, "all"), 0);
	options.local_pages = 20;
	options.pool_pages = 10;
	r = run_with(&trace, &options);
	assert_int_equal(r.m.misses, 20);
	assert_int_equal(r.m.polluted, 0);
	sim_result_free(&r);
	options.beside = false;
	r = run_with(&trace, &options);
	assert_int_equal(r.needed, 20);
	assert_int_equal(r.m.misses, 200); /* 10 pages of memory, 20 in turn */
	assert_int_equal(r.m.polluted, 180);
	assert_int_equal(r.m.adds, r.m.unused + r.resident);
	sim_result_free(&r);
	trace_free(&trace);
}

/* Misses of two scans, with what the program says before each, in either model. */
static struct sim_metrics metrics_of_advice(enum trace_advice before, enum trace_advice between,
					    enum trace_advice at_start, bool runtime)
{
	struct sim_options options = options_of("streams", false);
	struct trace trace;
	struct sim_result r;

	options.runtime = runtime;
	options.advice = (uint8_t)at_start;
	trace_init(&trace, "ACCESS", TRACE_ACCESSES);
	assert_int_equal(trace_add_region(&trace, 7, 0, 40000, "all"), 0);
	for (uint64_t i = 0; i < 8000; i++) {
		uint32_t advice = i ? between : before;
		struct trace_record said = {.op = TRACE_ADVICE, .tid = advice, .region = 7};
		struct trace_record touch = {.vpn = i + i / 4000 * 20000, .region = 7};

		if (i % 4000 == 0 && (i || advice != at_start))
			assert_int_equal(trace_add(&trace, &said), 0);
		assert_int_equal(trace_add(&trace, &touch), 0);
	}
	r = run_with(&trace, &options);
	sim_result_free(&r);
	trace_free(&trace);
	return r.m;
}

static void test_advice(void **state)
{
	for (int runtime = 0; runtime < 2; runtime++) {
		const enum trace_advice no = TRACE_ADVICE_NORMAL, scan = TRACE_ADVICE_SEQUENTIAL;
		const enum trace_advice random = TRACE_ADVICE_RANDOM;
		uint64_t none = metrics_of_advice(no, no, no, runtime).misses;
		uint64_t both = metrics_of_advice(scan, scan, no, runtime).misses;
		uint64_t second = metrics_of_advice(no, scan, no, runtime).misses;

		/* where markers count as misses, those of 16 windows of 512 pages, too */
		assert_in_range(both, 4, runtime ? 4 + 16 : 4);
		assert_in_range(second, both + 1, none - 1);
		assert_int_equal(metrics_of_advice(scan, scan, scan, runtime).misses, both);
		assert_int_equal(metrics_of_advice(random, random, no, runtime).adds, 0);
		assert_int_equal(metrics_of_advice(random, random, random, runtime).misses, 8000);
		assert_in_range(metrics_of_advice(random, no, no, runtime).misses, 4000, 4050);
	}
}

/* Misses of a scan by a program that computes for so long a page; *ret_wait_ns: how long 95 % of what came waited at most. */
static struct sim_metrics metrics_of_think(const char *policy, uint64_t think_ns,
					   uint64_t *ret_wait_ns)
{
	struct sim_options options = options_of(policy, false);
	struct trace trace;
	struct sim_result r;

	options.think_ns = think_ns;
	assert_int_equal(generate("sequential", 60000, 1, &trace), 0);
	r = run_with(&trace, &options);
	*ret_wait_ns = hist_percentile(&r.arrival, 0.95);
	sim_result_free(&r);
	trace_free(&trace);
	return r.m;
}

/* Pages come well before they are needed, but not long before. */
static void test_time_to_use(void **state)
{
	static const char *const which[] = {"streams", "adaptive"};

	for (unsigned i = 0; i < 2; i++) {
		uint64_t fast_ns, slow_ns, slower_ns;
		struct sim_metrics fast = metrics_of_think(which[i], 2000, &fast_ns);
		struct sim_metrics slow = metrics_of_think(which[i], 100000, &slow_ns);
		struct sim_metrics slower = metrics_of_think(which[i], 2000000, &slower_ns);

		assert_in_range(fast_ns, 500000, 2000000); /* windows of 512 */
		assert_in_range(slow_ns, 1000000, 7500000);
		assert_in_range(slower_ns, 2000000, 30000000); /* of 8 */
		assert_true(slow.misses <= fast.misses && slower.misses <= fast.misses);
		assert_true(slow.adds < fast.adds && slower.adds < slow.adds);
		assert_int_equal(slow.late + slower.late, 0);
	}
}

/* Beside a hot set that just fits, a slow scan takes no more room than it needs. */
static void test_slow_scan_pollutes_little(void **state)
{
	struct sim_options options = options_of("streams", false);
	uint64_t random = 88172645463325252ull;
	struct trace trace;
	struct sim_result r;

	options.beside = false;
	options.think_ns = 100000;
	trace_init(&trace, "ACCESS", TRACE_ACCESSES);
	for (uint64_t i = 0; i < 100000; i++) {
		struct trace_record touch = {.vpn = 100000 + i / 10};

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		if (i % 10)
			touch.vpn = 1000 + random % (LOCAL - 300);
		assert_int_equal(trace_add(&trace, &touch), 0);
	}
	assert_int_equal(trace_add_region(&trace, 0, 0, 1000000, "all"), 0);
	r = run_with(&trace, &options);
	assert_true(r.m.hits > 9900); /* all of the scan */
	assert_in_range(r.m.polluted, 0, r.m.misses / 20);
	sim_result_free(&r);
	trace_free(&trace);
}

static void test_unknown_policy(void **state)
{
	struct sim_options options = options_of("majorty", true);
	struct sim_result r;
	struct trace trace;

	assert_int_equal(generate("random", 10, 1, &trace), 0);
	assert_int_not_equal(sim_run(&trace, &options, &r), 0);
	assert_non_null(strstr(error_last(), "streams"));
	options.policy = "majority";
	options.params.history_size = 1;
	assert_int_not_equal(sim_run(&trace, &options, &r), 0);
	assert_non_null(strstr(error_last(), "history_size"));
	trace_free(&trace);
	assert_int_not_equal(generate("rand", 10, 1, &trace), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_coverage_of_fixed_strides),
		cmocka_unit_test(test_misses_from_cold),
		cmocka_unit_test(test_rows_of_the_reference_model),
		cmocka_unit_test(test_rows_by_stream),
		cmocka_unit_test(test_none_is_lru),
		cmocka_unit_test(test_self_checks),
		cmocka_unit_test(test_late_hits),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_regions_bound_plans),
		cmocka_unit_test(test_pollution),
		cmocka_unit_test(test_advice),
		cmocka_unit_test(test_time_to_use),
		cmocka_unit_test(test_slow_scan_pollutes_little),
		cmocka_unit_test(test_unknown_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
