/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leap bench micro without a pager: which pages the patterns touch, and that wrong content is
 * found. The region is plain memory here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/error.h"
#include "tools/bench.h"

#define PAGES 1000

struct leap_region {
	char *addr;
};

void *leap_region_addr(const struct leap_region *region)
{
	return region->addr;
}

int leap_stats(struct leap *leap, struct leap_stats *ret_stats)
{
	static uint64_t calls;

	ret_stats->faults = 100 * ++calls;
	ret_stats->over_limit = calls;
	ret_stats->window = 7;
	return 0;
}

static struct pattern parse(const char *text, uint32_t stride)
{
	struct pattern p;
	unsigned n = 0;

	assert_int_equal(pattern_parse_list(text, stride, &p, 1, &n), 0);
	assert_int_equal(n, 1);
	return p;
}

/* How often each page comes in n steps of one of several threads. */
static void count(const char *text, unsigned thread, unsigned threads, uint64_t n, unsigned *times)
{
	struct pattern p = parse(text, 10);
	struct cursor c;

	cursor_init(&c, &p, PAGES, thread, threads, 1);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t page = cursor_next(&c);

		assert_true(page < PAGES);
		times[page]++;
	}
}

static void test_names(void **state)
{
	struct pattern p[4];
	unsigned n = 0;

	assert_int_equal(pattern_parse_list("seq,stride,stride7,zipf1.2", 5, p, 4, &n), 0);
	assert_int_equal(n, 4);
	assert_string_equal(p[0].name, "seq");
	assert_string_equal(p[1].name, "stride5");
	assert_int_equal(p[2].stride, 7);
	assert_true(p[3].theta == 1.2);
	assert_int_not_equal(pattern_parse_list("seq,seq,seq,seq,seq", 5, p, 4, &n), 0);
	assert_int_not_equal(pattern_parse_list("", 5, p, 4, &n), 0);
	assert_int_not_equal(pattern_parse_list("stride0", 5, p, 4, &n), 0);
	assert_int_not_equal(pattern_parse_list("zipfnan", 5, p, 4, &n), 0);
	assert_int_not_equal(pattern_parse_list("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 5, p, 4, &n),
			     0);
}

/* Sequential and strided scans touch every page once in as many steps as there are pages. */
static void test_scans_touch_all(void **state)
{
	static const char *const scans[] = {"seq", "stride2", "stride10"};

	for (unsigned s = 0; s < 3; s++) {
		for (unsigned threads = 1; threads <= 4; threads++) {
			unsigned times[PAGES] = {0};

			for (unsigned t = 0; t < threads; t++)
				count(scans[s], t, threads,
				      (uint64_t)PAGES * (t + 1) / threads -
					      (uint64_t)PAGES * t / threads,
				      times);
			/* a stride that does not divide a part meets its last page more than once */
			for (unsigned i = 0; threads == 1 && i < PAGES; i++)
				assert_int_equal(times[i], 1);
			for (unsigned i = 0; s == 0 && i < PAGES; i++)
				assert_int_equal(times[i], 1);
		}
	}
}

static void test_stride_order(void **state)
{
	struct pattern p = parse("stride", 10);
	struct cursor c;

	cursor_init(&c, &p, PAGES, 0, 1, 1);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(cursor_next(&c), 10 * i);
	assert_int_equal(cursor_next(&c), 1);
	assert_int_equal(cursor_next(&c), 11);
}

static void test_random(void **state)
{
	struct pattern p = parse("random", 10);
	unsigned times[PAGES] = {0};
	uint32_t r = 77;
	struct cursor c;

	cursor_init(&c, &p, PAGES, 0, 1, r);
	for (unsigned i = 0; i < 100; i++) {
		r = r * 1664525u + 1013904223u;
		assert_int_equal(cursor_next(&c), ((uint64_t)r * PAGES) >> 32);
	}
	count("random", 0, 1, 100 * PAGES, times);
	for (unsigned i = 0; i < PAGES; i++)
		assert_in_range(times[i], 40, 180);
}

static int descending(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return x > y ? -1 : x < y;
}

/* The k-th most popular page has a share of k^-theta over the sum of all. */
static void test_zipf(void **state)
{
	static const struct {
		const char *text;
		double first, tenth; /* shares, worked out from the definition for 1000 pages */
	} cases[] = {
		{"zipf1", 0.13360, 0.013360},
		{"zipf0.5", 0.016177, 0.005116},
		{"zipf2", 0.60830, 0.0060830},
	};
	const unsigned n = 1000000;

	for (unsigned i = 0; i < 3; i++) {
		unsigned times[PAGES] = {0};

		count(cases[i].text, 0, 1, n, times);
		qsort(times, PAGES, sizeof(times[0]), descending);
		assert_true(times[0] > 0.95 * cases[i].first * n &&
			    times[0] < 1.05 * cases[i].first * n);
		assert_true(times[9] > 0.93 * cases[i].tenth * n &&
			    times[9] < 1.07 * cases[i].tenth * n);
	}
}

static void make_run(struct bench *bench, struct bench_run *run, struct leap_region *region)
{
	memset(bench, 0, sizeof(*bench));
	memset(run, 0, sizeof(*run));
	bench->pages = PAGES;
	bench->bytes = PAGES * 4096;
	bench->threads = 1;
	bench->accesses = PAGES;
	progress_init(&bench->progress, false);
	region->addr = calloc(PAGES, 4096);
	run->region = region;
	run->seed = calloc(PAGES, sizeof(*run->seed));
	run->tag = calloc(PAGES, 1);
	assert_true(region->addr && run->seed && run->tag);
	bench_fill(bench, run);
}

static void free_run(struct bench_run *run)
{
	free(run->region->addr);
	free(run->seed);
	free(run->tag);
}

static void measure(struct bench *bench, struct bench_run *run, const char *text, enum bench_op op,
		    uint8_t tag, struct bench_row *row)
{
	static struct pattern pattern;

	pattern = parse(text, 10);
	memset(row, 0, sizeof(*row));
	row->pattern = &pattern;
	row->op = op;
	assert_int_equal(bench_measure(bench, run, row, tag), 0);
}

static void test_right_content(void **state)
{
	static struct bench_row row;
	struct leap_region region;
	static struct bench bench;
	static struct bench_run run;

	make_run(&bench, &run, &region);
	measure(&bench, &run, "seq", OP_READ, 1, &row);
	assert_int_equal(row.accesses, PAGES);
	assert_int_equal(row.latency.count, PAGES);
	assert_int_equal(row.wrong, 0);
	assert_int_equal(row.stats.faults, 100);
	assert_int_equal(row.stats.over_limit, 1);
	assert_int_equal(row.stats.window, 7);
	measure(&bench, &run, "random", OP_WRITE, 2, &row);
	bench.threads = 3;
	measure(&bench, &run, "stride", OP_WRITE, 3, &row);
	assert_int_equal(row.accesses, PAGES);
	assert_int_equal(row.latency.count, PAGES);
	bench_verify(&bench, &run);
	assert_int_equal(run.verified, PAGES);
	assert_int_equal(run.wrong, 0);
	free_run(&run);
}

/* One byte anywhere, a page in another's place, a write that got lost: all are found. */
static void test_wrong_content(void **state)
{
	static struct bench_row row;
	struct leap_region region;
	static struct bench bench;
	static struct bench_run run;

	make_run(&bench, &run, &region);
	measure(&bench, &run, "seq", OP_WRITE, 1, &row);
	region.addr[17 * 4096 + 4095] ^= 1;
	region.addr[18 * 4096 + 4] ^= 2; /* word 1: the tag */
	memset(region.addr + 19 * 4096, 0, 4096);
	memcpy(region.addr + 20 * 4096, region.addr + 21 * 4096, 4096);
	bench_verify(&bench, &run);
	assert_int_equal(run.wrong, 4);
	measure(&bench, &run, "seq", OP_READ, 2, &row);
	assert_int_equal(row.wrong, 2); /* an access looks at the page's number only */
	free_run(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),         cmocka_unit_test(test_scans_touch_all),
		cmocka_unit_test(test_stride_order),  cmocka_unit_test(test_random),
		cmocka_unit_test(test_zipf),          cmocka_unit_test(test_right_content),
		cmocka_unit_test(test_wrong_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
