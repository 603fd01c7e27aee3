/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/stage.c libleap/util/mem.c libleap/util/fmt.c libleap/lock.c libleap/log.c */
/*
 * Staging buffers: runs of neighbours, the table of staged pages, the order of staging; a random walk is compared
 * with a plain model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/stage.h"

static struct stage stage;
static struct leap_region *const region_a = (struct leap_region *)0x10000;
static struct leap_region *const region_b = (struct leap_region *)0x20000;

static int set_up(void **state)
{
	memset(&stage, 0, sizeof(stage));
	return stage_init(&stage);
}

static int tear_down(void **state)
{
	stage_destroy(&stage);
	assert_null(stage.area);
	return 0;
}

static void test_runs(void **state)
{
	int a = stage_take(&stage, 64), b = stage_take(&stage, 1), c = stage_take(&stage, 5);

	assert_true(a >= 0 && b >= 0 && c >= 0);
	assert_true(b >= a + 64 || b < a);
	assert_true(c > b || c + 5 <= a);
	assert_int_equal(stage.nused, 70);
	assert_ptr_equal(stage_buf(&stage, (unsigned)a + 1), stage_buf(&stage, (unsigned)a) + 4096);
	/* the buffers are memory of their own */
	for (int i = 0; i < 64; i++)
		memset(stage_buf(&stage, (unsigned)(a + i)), i + 1, 4096);
	for (int i = 0; i < 64; i++)
		assert_int_equal(stage_buf(&stage, (unsigned)(a + i))[4095], i + 1);
	stage_put(&stage, (unsigned)a, 64);
	stage_put(&stage, (unsigned)b, 1);
	stage_put(&stage, (unsigned)c, 5);
	assert_int_equal(stage.nused, 0);
	assert_int_equal(stage_take(&stage, 3), 0); /* empty: the low, warm ones again */
}

static void test_high_water_mark(void **state)
{
	int a = stage_take(&stage, 10);

	assert_int_equal(a, 0);
	assert_int_equal(stage.high, 10);
	stage_put(&stage, 0, 10);
	for (int i = 0; i < 100; i++) { /* one at a time stays low */
		a = stage_take(&stage, 8);
		assert_int_equal(a, 0);
		stage_put(&stage, 0, 8);
	}
	assert_int_equal(stage.high, 10);
}

static void test_full(void **state)
{
	for (int i = 0; i < STAGE_PAGES / 64; i++)
		assert_true(stage_take(&stage, 64) >= 0);
	assert_int_equal(stage.nused, STAGE_PAGES);
	assert_int_equal(stage_take(&stage, 1), -1);
	/* room enough, but not side by side */
	stage_put(&stage, 100, 1);
	stage_put(&stage, 102, 1);
	assert_int_equal(stage_take(&stage, 2), -1);
	assert_int_equal(stage.nused, STAGE_PAGES - 2);
	assert_int_equal(stage_take(&stage, 1), 100);
	assert_int_equal(stage_take(&stage, 1), 102);
	/* the last and the first are no neighbours */
	stage_put(&stage, 0, 1);
	stage_put(&stage, STAGE_PAGES - 1, 1);
	assert_int_equal(stage_take(&stage, 2), -1);
	stage_put(&stage, STAGE_PAGES - 2, 1);
	assert_int_equal(stage_take(&stage, 2), STAGE_PAGES - 2);
}

static void test_find(void **state)
{
	unsigned i = (unsigned)stage_take(&stage, 4);

	assert_int_equal(stage_find(&stage, region_a, 5), -1);
	stage_insert(&stage, i, region_a, 5);
	stage_insert(&stage, i + 1, region_b, 5);
	stage_insert(&stage, i + 2, region_a, 6);
	assert_int_equal(stage.nstaged, 3);
	assert_int_equal(stage_find(&stage, region_a, 5), i);
	assert_int_equal(stage_find(&stage, region_b, 5), i + 1);
	assert_int_equal(stage_find(&stage, region_a, 6), i + 2);
	assert_int_equal(stage_find(&stage, region_b, 6), -1);
	assert_int_equal(stage.oldest, i);
	assert_int_equal(stage.newest, i + 2);
	stage_remove(&stage, i + 1);
	assert_int_equal(stage_find(&stage, region_b, 5), -1);
	assert_int_equal(stage_find(&stage, region_a, 5), i);
	assert_int_equal(stage.nused, 4); /* still taken */
	stage_remove(&stage, i);
	assert_int_equal(stage.oldest, i + 2);
	stage_remove(&stage, i + 2);
	assert_int_equal(stage.oldest, -1);
	assert_int_equal(stage.newest, -1);
	assert_int_equal(stage.nstaged, 0);
}

/* Single buffers come from gaps, so that runs stay possible. */
static void test_gaps(void **state)
{
	for (int i = 0; i < STAGE_PAGES / 64; i++)
		stage_take(&stage, 64);
	stage_put(&stage, 100, 1);
	stage_put(&stage, 512, 64);
	stage_put(&stage, 130, 1);
	assert_int_equal(stage_take(&stage, 1), 100);
	assert_int_equal(stage_take(&stage, 1), 130);
	assert_int_equal(stage_take(&stage, 64), 512);
}

/* What was staged before the fence may be dropped, unless it was wanted again since. */
static void test_fence(void **state)
{
	int i = stage_take(&stage, 3);

	assert_false(stage_droppable(&stage));
	stage_insert(&stage, (unsigned)i, region_a, 5);
	assert_false(stage_droppable(&stage));
	stage_insert(&stage, (unsigned)i + 1, region_a, 6);
	stage_fence(&stage);
	stage_insert(&stage, (unsigned)i + 2, region_a, 7);
	assert_true(stage_droppable(&stage));
	stage_renew(&stage, (unsigned)i);
	assert_int_equal(stage.oldest, i + 1);
	assert_int_equal(stage.newest, i);
	assert_int_equal(stage_find(&stage, region_a, 5), i);
	assert_true(stage_droppable(&stage));
	stage_remove(&stage, (unsigned)i + 1);
	assert_false(stage_droppable(&stage));
	stage_fence(&stage);
	assert_true(stage_droppable(&stage));
	assert_int_equal(stage.nstaged, 2);
}

/* The model: what each buffer holds, in order of staging. */
static struct {
	bool taken;
	struct leap_region *region;
	size_t page;
	uint64_t when;
} model[STAGE_PAGES];

static void check_order(void)
{
	int32_t i = stage.oldest, last = -1;
	uint32_t n = 0;

	for (; i >= 0; last = i, i = stage.entry[i].newer, n++) {
		assert_int_equal(stage.entry[i].older, last);
		assert_non_null(model[i].region);
		assert_true(last < 0 || model[last].when < model[i].when);
	}
	assert_int_equal(stage.newest, last);
	assert_int_equal(n, stage.nstaged);
}

static void walk_take(uint64_t r, uint64_t when)
{
	unsigned n = 1 + (unsigned)(r >> 8) % 64;
	int first = stage_take(&stage, n);

	if (first < 0)
		return;
	assert_true((unsigned)first + n <= STAGE_PAGES);
	for (unsigned i = (unsigned)first; i < (unsigned)first + n; i++) {
		assert_false(model[i].taken);
		model[i].taken = true;
		if ((r >> 32) % 2) {
			model[i].region = (r >> 40) % 2 ? region_a : region_b;
			model[i].page = when * STAGE_PAGES + i;
			model[i].when = when * 64 + i - (unsigned)first;
			stage_insert(&stage, i, model[i].region, model[i].page);
		}
	}
}

static void walk_put(unsigned i)
{
	if (!model[i].taken)
		return;
	if (model[i].region) {
		assert_int_equal(stage_find(&stage, model[i].region, model[i].page), i);
		stage_remove(&stage, i);
		assert_int_equal(stage_find(&stage, model[i].region, model[i].page), -1);
	}
	stage_put(&stage, i, 1);
	memset(&model[i], 0, sizeof(model[i]));
}

static void test_random_walk(void **state)
{
	uint64_t r = 88172645463325252ull;

	memset(model, 0, sizeof(model));
	for (uint64_t step = 1; step < 20000; step++) {
		uint32_t used = 0;

		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		if (r % 4 == 0)
			walk_take(r, step);
		else
			for (unsigned k = 0; k < 16; k++)
				walk_put((unsigned)(r >> 20) % STAGE_PAGES + k < STAGE_PAGES
						 ? (unsigned)(r >> 20) % STAGE_PAGES + k
						 : 0);
		if (step % 64)
			continue;
		for (unsigned i = 0; i < STAGE_PAGES; i++) {
			used += model[i].taken;
			if (model[i].region)
				assert_int_equal(stage_find(&stage, model[i].region, model[i].page),
						 i);
		}
		assert_int_equal(stage.nused, used);
		check_order();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_runs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_high_water_mark, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_find, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gaps, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fence, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_random_walk, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
