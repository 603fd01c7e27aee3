/* SPDX-License-Identifier: Apache-2.0 */
/* Hints: what leap_advise(), leap_prefetch() and leap_evict() promise. */
#include "api.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PAGES 8192

struct fixture {
	struct leap *leap;
	struct leap_region *region;
	char *base;
};

static struct fixture open_filled(void)
{
	struct fixture f;

	f.leap = session("local=16M", NULL);
	assert_ok(leap_region_create(f.leap, PAGES * PAGE, &f.region));
	f.base = leap_region_addr(f.region);
	range_write(f.base, PAGES, 1);
	return f;
}

static void test_dontneed(void **state)
{
	struct fixture f = open_filled();

	assert_int_equal(leap_advise(f.leap, f.base + 1, PAGE, LEAP_ADVISE_DONTNEED), -EINVAL);
	/* remote ones, local ones, and some of both */
	assert_ok(leap_advise(f.leap, f.base + 100 * PAGE, 200 * PAGE, LEAP_ADVISE_DONTNEED));
	assert_ok(leap_advise(f.leap, f.base + (PAGES - 200) * PAGE, 200 * PAGE,
			      LEAP_ADVISE_DONTNEED));
	for (size_t p = 100; p < 300; p++)
		for (size_t i = 0; i < PAGE; i += 64)
			assert_int_equal(f.base[p * PAGE + i], 0);
	assert_int_equal(f.base[(PAGES - 1) * PAGE], 0);
	range_check(f.base, 100, 1);
	for (size_t p = 300; p < PAGES - 200; p++)
		assert_true(page_right(f.base, p, 1));
	/* what was read is held again, until it is evicted as a page of zeroes */
	assert_in_range(stats(f.leap).held_pages, PAGES - 400, PAGES - 400 + 201);
	assert_ok(leap_close(f.leap));
}

static void test_pin(void **state)
{
	struct fixture f = open_filled();
	uint64_t faults;

	assert_int_equal(leap_advise(f.leap, f.base, PAGES * PAGE, LEAP_ADVISE_PIN), -ENOMEM);
	assert_non_null(strstr(leap_last_error(), "local"));
	assert_ok(leap_advise(f.leap, f.base, 500 * PAGE, LEAP_ADVISE_PIN));
	for (size_t p = 500; p < PAGES; p++) /* everything else passes through */
		assert_true(page_right(f.base, p, 1));
	faults = stats(f.leap).faults;
	range_check(f.base, 500, 1);
	assert_int_equal(stats(f.leap).faults, faults);    /* never left */
	assert_ok(leap_evict(f.leap, f.base, 500 * PAGE)); /* pinned pages excepted */
	range_check(f.base, 500, 1);
	assert_int_equal(stats(f.leap).faults, faults);
	assert_ok(leap_advise(f.leap, f.base, 500 * PAGE, LEAP_ADVISE_UNPIN));
	assert_ok(leap_evict(f.leap, f.base, 500 * PAGE));
	range_check(f.base, 500, 1);
	assert_true(stats(f.leap).faults > faults);
	assert_ok(leap_close(f.leap));
}

/* The count of a page's pins does not wrap: one too many is refused, and leaves the others as they are. */
static void test_pins_counted(void **state)
{
	struct fixture f = open_filled();
	uint64_t faults;

	for (int i = 0; i < 4095; i++)
		assert_ok(leap_advise(f.leap, f.base + PAGE, PAGE, LEAP_ADVISE_PIN));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(leap_advise(f.leap, f.base, 3 * PAGE, LEAP_ADVISE_PIN),
				 -EOVERFLOW);
		assert_non_null(strstr(leap_last_error(), "4095"));
	}
	assert_ok(leap_evict(f.leap, f.base, 3 * PAGE));
	faults = stats(f.leap).faults;
	assert_true(page_right(f.base, 1, 1));
	assert_int_equal(stats(f.leap).faults, faults);
	assert_true(page_right(f.base, 0, 1)); /* its neighbour is not pinned */
	assert_true(stats(f.leap).faults > faults);
	for (int i = 0; i < 4095; i++)
		assert_ok(leap_advise(f.leap, f.base + PAGE, PAGE, LEAP_ADVISE_UNPIN));
	assert_ok(leap_evict(f.leap, f.base, 3 * PAGE));
	faults = stats(f.leap).faults;
	assert_true(page_right(f.base, 1, 1));
	assert_true(stats(f.leap).faults > faults);
	assert_ok(leap_close(f.leap));
}

static void test_prefetch_and_evict(void **state)
{
	struct fixture f = open_filled();
	uint64_t faults;

	assert_ok(leap_evict(f.leap, f.base, PAGES * PAGE));
	assert_int_equal(stats(f.leap).local_pages, 0);
	assert_int_equal(stats(f.leap).remote_pages, PAGES);
	assert_ok(leap_prefetch(f.leap, f.base + 1000 * PAGE, 1000 * PAGE));
	faults = stats(f.leap).faults;
	for (size_t p = 1000; p < 2000; p++)
		assert_true(page_right(f.base, p, 1));
	assert_int_equal(stats(f.leap).faults, faults);
	assert_ok(leap_advise(f.leap, f.base + 4000 * PAGE, 500 * PAGE, LEAP_ADVISE_WILLNEED));
	for (int i = 0; i < 500 && stats(f.leap).local_pages < 1500; i++)
		usleep(10000);
	assert_true(stats(f.leap).local_pages >= 1500);
	/* cold ones leave first */
	assert_ok(leap_advise(f.leap, f.base + 1000 * PAGE, 960 * PAGE, LEAP_ADVISE_COLD));
	range_check(f.base, PAGES, 1);
	assert_ok(leap_close(f.leap));
}

/* Patterns told: random stops prefetching, normal allows it again. */
static void test_patterns(void **state)
{
	struct fixture f = open_filled();
	uint64_t before;

	assert_ok(leap_evict(f.leap, f.base, PAGES * PAGE));
	assert_ok(leap_advise(f.leap, f.base, PAGES * PAGE, LEAP_ADVISE_RANDOM));
	before = stats(f.leap).prefetched;
	range_check(f.base, 2000, 1);
	assert_int_equal(stats(f.leap).prefetched, before);
	assert_ok(leap_advise(f.leap, f.base, PAGES * PAGE, LEAP_ADVISE_NORMAL));
	for (size_t p = 2000; p < PAGES; p++)
		assert_true(page_right(f.base, p, 1));
	assert_true(stats(f.leap).prefetched > before + 3000);
	assert_ok(leap_close(f.leap));
}

/* Faults that waited for a donor, and all, in a scan of 2,000 pages that were evicted. */
static struct leap_stats scan_of_cold_pages(const char *policy, enum leap_advice advice)
{
	struct fixture f = {
		.leap = session("local=64M", "donors=loop:", "fault_threads=1", policy, NULL)};
	struct leap_stats before, after;

	assert_ok(leap_region_create(f.leap, PAGES * PAGE, &f.region));
	f.base = leap_region_addr(f.region);
	range_write(f.base, PAGES, 1);
	assert_ok(leap_evict(f.leap, f.base, PAGES * PAGE));
	assert_ok(leap_advise(f.leap, f.base, PAGES * PAGE, advice));
	before = stats(f.leap);
	range_check(f.base, 2000, 1);
	after = stats(f.leap);
	assert_ok(leap_close(f.leap));
	after.faults -= before.faults;
	after.markers -= before.markers;
	after.prefetch_hits -= before.prefetch_hits;
	return after;
}

/* A scan that is announced has its first large window at its second page. */
static void test_scan_announced(void **state)
{
	static const char *const policies[] = {"prefetch=majority", "prefetch=streams",
					       "prefetch=adaptive", "prefetch=readahead"};

	for (unsigned i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct leap_stats plain = scan_of_cold_pages(policies[i], LEAP_ADVISE_NORMAL);
		struct leap_stats told = scan_of_cold_pages(policies[i], LEAP_ADVISE_SEQUENTIAL);

		print_message(
			"%-20s faults %lu, of them markers %lu, hits %lu; announced %lu, %lu, %lu\n",
			policies[i], plain.faults, plain.markers, plain.prefetch_hits, told.faults,
			told.markers, told.prefetch_hits);
		assert_in_range(told.faults, 2, 12);
		assert_in_range(plain.faults, told.faults + 3, 100);
	}
}

/* A scan that takes so long a page; how large its windows are at the end. */
static uint64_t window_of_scan(useconds_t page_us)
{
	struct fixture f = {.leap = session("local=64M", "donors=loop:", "fault_threads=1",
					    "prefetch=adaptive", NULL)};
	uint64_t window;

	assert_ok(leap_region_create(f.leap, PAGES * PAGE, &f.region));
	f.base = leap_region_addr(f.region);
	range_write(f.base, PAGES, 1);
	assert_ok(leap_evict(f.leap, f.base, PAGES * PAGE));
	assert_ok(leap_advise(f.leap, f.base, PAGES * PAGE, LEAP_ADVISE_SEQUENTIAL));
	for (size_t p = 0; p < 4000; p++) {
		assert_true(page_right(f.base, p, 1));
		usleep(page_us);
	}
	window = stats(f.leap).window;
	assert_ok(leap_close(f.leap));
	return window;
}

/* A program that takes its time has few pages ahead: a window of 64 would wait for 6.4 ms at least. */
static void test_slow_scan(void **state)
{
	assert_in_range(window_of_scan(100), 8, 50);
}

static void test_bad_ranges(void **state)
{
	struct fixture f = open_filled();
	static char outside[2 * PAGE];

	assert_int_equal(leap_advise(f.leap, outside, PAGE, LEAP_ADVISE_WILLNEED), -EINVAL);
	assert_int_equal(leap_advise(f.leap, f.base, PAGE, (enum leap_advice)99), -EINVAL);
	assert_int_equal(leap_advise(f.leap, f.base, SIZE_MAX, LEAP_ADVISE_COLD), -EINVAL);
	assert_int_equal(leap_evict(f.leap, f.base + PAGES * PAGE, PAGE), -EINVAL);
	assert_int_equal(leap_prefetch(f.leap, f.base - PAGE, 2 * PAGE), -EINVAL);
	assert_ok(leap_advise(f.leap, f.base, 0, LEAP_ADVISE_COLD)); /* nothing to do */
	range_check(f.base, PAGES, 1);
	assert_ok(leap_close(f.leap));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dontneed),           cmocka_unit_test(test_pin),
		cmocka_unit_test(test_prefetch_and_evict), cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_bad_ranges),         cmocka_unit_test(test_pins_counted),
		cmocka_unit_test(test_scan_announced),     cmocka_unit_test(test_slow_scan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
