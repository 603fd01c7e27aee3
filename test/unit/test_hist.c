/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/util/hist.c */
/*
 * The latency histogram: bucket bounds, percentiles against exact ones of sorted samples,
 * merging.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/util/hist.h"

#define SAMPLES 20000

static uint64_t random_state = 88172645463325252ull;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void test_buckets_are_contiguous(void **state)
{
	for (unsigned i = 0; i + 1 < HIST_BUCKETS; i++) {
		uint64_t top = hist_bucket_top(i);

		assert_int_equal(hist_bucket(top), i);
		assert_int_equal(hist_bucket(top + 1), i + 1);
	}
	assert_int_equal(hist_bucket(0), 0);
	assert_int_equal(hist_bucket(31), 31);
	assert_int_equal(hist_bucket(32), 32);
	assert_int_equal(hist_bucket(33), 32);
	assert_int_equal(hist_bucket((1ull << 43) - 1), HIST_BUCKETS - 1);
	assert_int_equal(hist_bucket(1ull << 43), HIST_BUCKETS - 1);
	assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
	assert_true(hist_bucket_top(HIST_BUCKETS - 1) == UINT64_MAX);
}

static void test_bucket_error_bound(void **state)
{
	for (int i = 0; i < 200000; i++) {
		uint64_t v = random64() >> (22 + random64() % 42),
			 top = hist_bucket_top(hist_bucket(v));

		assert_true(top >= v);
		assert_true((top - v) * 16 <= v);
	}
}

static void test_empty(void **state)
{
	struct hist h = {0};

	assert_int_equal(hist_percentile(&h, 0.5), 0);
	assert_int_equal(hist_percentile(&h, 1), 0);
}

static void test_small_values_are_exact(void **state)
{
	struct hist h = {0};

	for (uint64_t v = 1; v <= 10; v++)
		hist_add(&h, v);
	assert_int_equal(h.count, 10);
	assert_int_equal(h.sum, 55);
	assert_int_equal(h.max, 10);
	assert_int_equal(hist_percentile(&h, 0), 1);
	assert_int_equal(hist_percentile(&h, 0.1), 1);
	assert_int_equal(hist_percentile(&h, 0.11), 2);
	assert_int_equal(hist_percentile(&h, 0.5), 5);
	assert_int_equal(hist_percentile(&h, 0.9), 9);
	assert_int_equal(hist_percentile(&h, 0.99), 10);
	assert_int_equal(hist_percentile(&h, 1), 10);
	assert_int_equal(hist_percentile(&h, 7), 10);
	assert_int_equal(hist_percentile(&h, -1), 1);
	assert_int_equal(hist_percentile(&h, __builtin_nan("")), 1);
}

static void test_never_above_max(void **state)
{
	struct hist h = {0};

	hist_add(&h, 1000001);
	assert_int_equal(hist_percentile(&h, 0.5), 1000001);
	hist_add(&h, UINT64_MAX / 2);
	assert_true(hist_percentile(&h, 1) == UINT64_MAX / 2);
	assert_true(hist_percentile(&h, 0.5) >= 1000001 && hist_percentile(&h, 0.5) < 1063000);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Half in one histogram, half in another, merged: as precise as promised against the sorted
 * samples. */
static void test_percentiles_of_random_samples(void **state)
{
	static const double shares[] = {0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1};
	static uint64_t samples[SAMPLES];
	struct hist a = {0}, b = {0}, whole = {0};
	uint64_t sum = 0;

	for (int i = 0; i < SAMPLES; i++) {
		samples[i] = random64() >> (22 + random64() % 40);
		sum += samples[i];
		hist_add(i % 2 ? &a : &b, samples[i]);
		hist_add(&whole, samples[i]);
	}
	hist_merge(&a, &b);
	assert_memory_equal(&a, &whole, sizeof(a));
	assert_int_equal(a.count, SAMPLES);
	assert_true(a.sum == sum);
	qsort(samples, SAMPLES, sizeof(samples[0]), compare);
	assert_true(a.max == samples[SAMPLES - 1]);
	for (unsigned i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		double at = shares[i] * SAMPLES;
		uint64_t rank = (uint64_t)at + ((double)(uint64_t)at < at),
			 exact = samples[rank - 1];
		uint64_t got = hist_percentile(&a, shares[i]);

		assert_true(got >= exact);
		assert_true((got - exact) * 16 <= exact);
	}
}

static void test_merge_with_empty(void **state)
{
	struct hist a = {0}, before, none = {0};

	hist_add(&a, 123456);
	before = a;
	hist_merge(&a, &none);
	assert_memory_equal(&a, &before, sizeof(a));
	hist_merge(&none, &a);
	assert_memory_equal(&none, &a, sizeof(a));
}

static void test_full_bucket_stays_full(void **state)
{
	struct hist a = {0}, b = {0};

	a.bucket[3] = UINT32_MAX - 1;
	hist_add(&a, 3);
	hist_add(&a, 3);
	assert_int_equal(a.bucket[3], UINT32_MAX);
	b.bucket[3] = 5;
	hist_merge(&a, &b);
	assert_int_equal(a.bucket[3], UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets_are_contiguous),
		cmocka_unit_test(test_bucket_error_bound),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_small_values_are_exact),
		cmocka_unit_test(test_never_above_max),
		cmocka_unit_test(test_percentiles_of_random_samples),
		cmocka_unit_test(test_merge_with_empty),
		cmocka_unit_test(test_full_bucket_stays_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
