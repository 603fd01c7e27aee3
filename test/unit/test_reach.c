/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/error.c libleap/util/fmt.c */
/* How far windows may reach: what the limit does when pages are used, dropped, and dropped though needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "libleap/prefetch/reach.h"

#define MAX 512

static struct reach fresh(uint32_t max)
{
	struct reach r = {0};

	reach_init(&r, max);
	return r;
}

/* Windows of the limit are planned and used up until it changes; the number of pages that took. */
static uint64_t use_until_changed(struct reach *r)
{
	uint32_t limit = r->limit;
	uint64_t pages = 0;

	while (r->limit == limit && pages < 1u << 24) {
		reach_planned(r, limit);
		reach_used(r, limit, 0, false);
		pages += limit;
	}
	return pages;
}

static void test_doubles_at_the_start(void **state)
{
	struct reach r = fresh(MAX), small = fresh(8);

	assert_int_equal(small.limit, 8);
	assert_int_equal(r.limit, 64);
	for (uint32_t limit = 128; limit <= MAX; limit *= 2) {
		assert_int_equal(use_until_changed(&r), limit / 2 * REACH_PATIENCE);
		assert_int_equal(r.limit, limit);
	}
	reach_planned(&r, MAX);
	for (int i = 0; i < 1000; i++)
		reach_used(&r, MAX, 0, false);
	assert_int_equal(r.limit, MAX);
}

/* With more than a window's pages ahead, several streams are at work: small steps. */
static void test_steps_when_much_is_ahead(void **state)
{
	struct reach r = fresh(MAX);

	reach_planned(&r, 2000);
	for (int i = 0; i < REACH_PATIENCE; i++) {
		reach_planned(&r, 64);
		reach_used(&r, 64, 0, false);
	}
	assert_int_equal(r.limit, 72);
}

static void test_waste_halves_once(void **state)
{
	struct reach r = fresh(MAX);

	reach_planned(&r, 1000);
	reach_dropped(&r, REACH_EXCESS - 1);
	assert_int_equal(r.limit, 64);
	reach_dropped(&r, 1);
	assert_int_equal(r.limit, 32);
	assert_int_equal(r.settling, 512); /* 8 windows at most */
	assert_int_equal(reach_limit(&r), 16);
	/* what was planned before says nothing new ... */
	reach_dropped(&r, 500);
	assert_int_equal(r.limit, 32);
	reach_used(&r, 12, 0, false);
	assert_int_equal(r.settling, 0);
	assert_int_equal(reach_limit(&r), 32);
	/* ... and what comes then does */
	reach_dropped(&r, REACH_EXCESS + 12 / 2 - 1);
	assert_int_equal(r.limit, 32);
	reach_dropped(&r, 1);
	assert_int_equal(r.limit, 16);
	for (int i = 0; i < 100; i++)
		reach_dropped(&r, 100000);
	assert_int_equal(r.limit, 1);
	assert_int_equal(reach_limit(&r), 1);
}

/* Twice as much used as dropped is fine, for ever. */
static void test_use_makes_up_for_drops(void **state)
{
	struct reach r = fresh(MAX);

	for (int i = 0; i < 10000; i++) {
		reach_planned(&r, 96);
		reach_used(&r, 64, 0, false);
		reach_dropped(&r, 32);
	}
	assert_int_equal(r.limit, MAX);
}

/* Scans that end leave a window each. What was used before makes up for that, but not without end. */
static void test_reserve(void **state)
{
	struct reach r = fresh(64);

	for (int i = 0; i < 1000; i++) {
		reach_planned(&r, 5 * 64);
		for (int k = 0; k < 4; k++)
			reach_used(&r, 64, 0, false);
		reach_dropped(&r, 64);
		assert_int_equal(r.limit, 64);
	}
	for (int k = 0; k < 1000; k++)
		reach_used(&r, 64, 0, false);
	reach_dropped(&r, (REACH_RESERVE + 2) * 64 / 2 - 1);
	assert_int_equal(r.limit, 64);
	reach_dropped(&r, 1);
	assert_int_equal(r.limit, 32);
}

static void test_crowded(void **state)
{
	struct reach r = fresh(MAX);

	reach_planned(&r, 100);
	reach_crowded(&r);
	assert_int_equal(r.limit, 32);
	reach_crowded(&r); /* the same mistake */
	assert_int_equal(r.limit, 32);
	reach_used(&r, 100, 0, false);
	reach_crowded(&r);
	assert_int_equal(r.limit, 16);
	assert_int_equal(r.patience, REACH_LATEST);
}

/* Small steps with more patience up to the limit that failed; beyond it as at the start. */
static void test_recovers(void **state)
{
	struct reach r = fresh(MAX);

	reach_crowded(&r);
	assert_int_equal(r.failed, 64);
	assert_int_equal(use_until_changed(&r), 32 * REACH_PATIENCE * REACH_LATER);
	assert_int_equal(r.limit, 36);
	while (r.failed)
		use_until_changed(&r);
	assert_in_range(r.limit, 65, 72);
	assert_int_equal(r.patience, REACH_PATIENCE);
	assert_true(use_until_changed(&r) <= 73 * REACH_PATIENCE);
	assert_true(r.limit >= 130);
	for (int i = 0; i < 100; i++) {
		r.settling = 0;
		reach_crowded(&r);
	}
	assert_int_equal(r.limit, 1);
	assert_int_equal(r.patience, REACH_LATEST);
	for (int i = 0; i < 100; i++)
		use_until_changed(&r);
	assert_int_equal(r.limit, MAX);
}

/* So many windows of the limit, each page of which takes so long to be used. */
static void use_slowly(struct reach *r, int windows, uint64_t page_ns, bool late)
{
	for (int i = 0; i < windows; i++) {
		uint32_t pages = reach_limit(r);

		reach_planned(r, pages);
		reach_used(r, pages, pages * page_ns, late);
	}
}

/* A program that computes for 100 us a page is not to have more than 5 ms of them ahead, however well it uses them. */
static void test_pages_do_not_wait(void **state)
{
	struct reach r = fresh(MAX);

	use_slowly(&r, 100, 1000, false);
	assert_int_equal(reach_limit(&r), MAX);
	use_slowly(&r, 1, 100000, false); /* once does not count: it may have slept */
	assert_int_equal(reach_limit(&r), MAX);
	use_slowly(&r, 1, 1000, false);
	use_slowly(&r, 1, 100000, false);
	assert_int_equal(reach_limit(&r), MAX);
	use_slowly(&r, 1, 100000, false);
	assert_int_equal(reach_limit(&r), MAX / 2);
	use_slowly(&r, 100, 100000, false);
	assert_int_equal(reach_limit(&r), 32);
	assert_int_equal(r.limit, MAX); /* what use and drops have taught is kept */
	use_slowly(&r, 100, 30000000, false);
	assert_int_equal(reach_limit(&r), REACH_LEAST);
	/* faster again: at once */
	use_slowly(&r, 6, 1000, false);
	assert_int_equal(reach_limit(&r), MAX);
	/* as far as there is time */
	use_slowly(&r, 100, 15000, false);
	assert_int_equal(reach_limit(&r), 256);
	use_slowly(&r, 100, 5000, false);
	assert_int_equal(reach_limit(&r), MAX);
}

/* From the start on, before the limit has grown. */
static void test_slow_from_the_start(void **state)
{
	struct reach r = fresh(MAX);

	use_slowly(&r, 2, 100000, false);
	assert_int_equal(reach_limit(&r), 32);
	use_slowly(&r, 1000, 100000, false);
	assert_int_equal(reach_limit(&r), 32);
}

/* Late ones waited for the link; small ones hold next to nothing; of some the age is not known. */
static void test_ages_that_say_nothing(void **state)
{
	struct reach r = fresh(MAX);

	use_slowly(&r, 100, 100000, true);
	assert_int_equal(reach_limit(&r), MAX);
	for (int i = 0; i < 100; i++) {
		reach_planned(&r, REACH_LEAST);
		reach_used(&r, REACH_LEAST, 1000000000, false);
		reach_used(&r, MAX, 0, false);
	}
	assert_int_equal(reach_limit(&r), MAX);
	use_slowly(&r, 100, 100000, false);
	assert_int_equal(reach_limit(&r), 32);
	use_slowly(&r, 4, 100000, true);
	assert_int_equal(reach_limit(&r), MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doubles_at_the_start),
		cmocka_unit_test(test_steps_when_much_is_ahead),
		cmocka_unit_test(test_waste_halves_once),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_use_makes_up_for_drops),
		cmocka_unit_test(test_crowded),
		cmocka_unit_test(test_recovers),
		cmocka_unit_test(test_pages_do_not_wait),
		cmocka_unit_test(test_slow_from_the_start),
		cmocka_unit_test(test_ages_that_say_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
