/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/window.c */
/*
 * The table of windows: free entries first, then the oldest; found by region and marker; forgotten with their region.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/window.h"

static struct windows windows;
static struct leap_region *const region_a = (struct leap_region *)0x10000;
static struct leap_region *const region_b = (struct leap_region *)0x20000;

static struct window *add(struct leap_region *region, size_t marker, bool expect_old)
{
	bool old = !expect_old;
	struct window *w = window_new(&windows, &old);

	assert_true(w >= windows.window && w < windows.window + WINDOWS_MAX);
	assert_int_equal(old, expect_old);
	w->region = region;
	w->marker = marker;
	return w;
}

static int set_up(void **state)
{
	memset(&windows, 0, sizeof(windows));
	return 0;
}

static void test_find(void **state)
{
	struct window *a = add(region_a, 5, false), *b = add(region_b, 5, false);

	assert_ptr_not_equal(a, b);
	assert_ptr_equal(window_find(&windows, region_a, 5), a);
	assert_ptr_equal(window_find(&windows, region_b, 5), b);
	assert_null(window_find(&windows, region_a, 6));
	window_free(a);
	assert_null(window_find(&windows, region_a, 5));
	assert_ptr_equal(window_find(&windows, region_b, 5), b);
}

static void test_oldest_is_replaced(void **state)
{
	struct window *first = add(region_a, 0, false), *freed;

	for (size_t i = 1; i < WINDOWS_MAX; i++)
		add(region_a, i, false);
	/* full: the oldest, with what it holds, so that its marker can be cleared */
	for (size_t i = 0; i < 3 * WINDOWS_MAX; i++) {
		bool old = false;
		struct window *w = window_new(&windows, &old);

		assert_true(old);
		assert_ptr_equal(w->region, region_a);
		assert_int_equal(w->marker, i);
		w->marker = WINDOWS_MAX + i;
	}
	assert_ptr_equal(window_find(&windows, region_a, 3 * WINDOWS_MAX), first);
	/* a free entry goes first, and is then the youngest */
	freed = window_find(&windows, region_a, 3 * WINDOWS_MAX + 7);
	window_free(freed);
	assert_ptr_equal(add(region_b, 1, false), freed);
	for (size_t i = 0; i + 1 < WINDOWS_MAX; i++)
		assert_ptr_not_equal(add(region_b, 2, true), freed);
	assert_ptr_equal(add(region_b, 3, true), freed);
}

static void test_forget(void **state)
{
	for (size_t i = 0; i < WINDOWS_MAX; i++)
		add(i % 2 ? region_a : region_b, i, false);
	windows_forget(&windows, region_a);
	for (size_t i = 0; i < WINDOWS_MAX; i++) {
		assert_null(window_find(&windows, region_a, i));
		assert_int_equal(window_find(&windows, region_b, i) != NULL, i % 2 == 0);
	}
	for (size_t i = 0; i < WINDOWS_MAX / 2; i++)
		add(region_a, i, false);
	add(region_a, 99, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_find, set_up),
		cmocka_unit_test_setup(test_oldest_is_replaced, set_up),
		cmocka_unit_test_setup(test_forget, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
