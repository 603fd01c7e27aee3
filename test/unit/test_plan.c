/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/history.c libleap/window.c libleap/stage.c libleap/views.c libleap/page.c libleap/util/mem.c libleap/util/fmt.c libleap/lock.c libleap/log.c libleap/util/clerk.c libleap/util/fd.c */
/* From a fault to a policy's wish: clipping, histories, what the policy is told. */
#include "test/unit/plan_fake.h"

static void test_clip(void **state)
{
	static const struct {
		size_t near;
		int64_t start, delta; /* relative to the region */
		uint32_t count;
		bool some;
		int64_t first;
		uint32_t left;
	} cases[] = {
		{5, 6, 1, 8, true, 6, 8},
		{5, 6, 1, 0, false, 0, 0},
		{5, 6, 0, 8, false, 0, 0},
		/* the stripe's end, the region's end */
		{5, STRIPE - 3, 1, 8, true, STRIPE - 3, 3},
		{5, STRIPE - 1, 1, 8, true, STRIPE - 1, 1},
		{5, STRIPE, 1, 8, false, 0, 0},
		{STRIPE, STRIPE, 1, 8, true, STRIPE, 8},
		{NPAGES - 1, NPAGES - 2, 1, 512, true, NPAGES - 2, 2},
		{NPAGES - 1, NPAGES, 1, 512, false, 0, 0},
		/* strides: whole steps only */
		{5, STRIPE - 21, 10, 8, true, STRIPE - 21, 3},
		{5, STRIPE - 20, 10, 8, true, STRIPE - 20, 2},
		{5, 10, 1ll << 40, 512, true, 10, 1},
		/* downwards, to the region's first page, to the stripe's */
		{9, 8, -1, 512, true, 8, 9},
		{9, 8, -3, 512, true, 8, 3},
		{9, 9, -3, 512, true, 9, 4},
		{9, -1, -1, 8, false, 0, 0},
		{STRIPE + 2, STRIPE + 1, -1, 8, true, STRIPE + 1, 2},
		{STRIPE + 2, STRIPE + 1, -(1ll << 50), 512, true, STRIPE + 1, 1},
		/* begins outside and walks in */
		{3, -4, 1, 8, true, 0, 4},
		{3, -4, 1, 4, false, 0, 0},
		{3, -4, 3, 8, true, 2, 6},
		{STRIPE, STRIPE - 2, 1, 4, true, STRIPE, 2},
		{STRIPE - 1, STRIPE + 1, -1, 8, true, STRIPE - 1, 6},
		{3, -1000, 2, 512, true, 0, 12},
		{3, -(1ll << 34), 1, 512, false, 0, 0}, /* other memory altogether */
		{3, 1ll << 34, -1, 512, false, 0, 0},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefetch_plan plan = {
			.start = BASE + (uint64_t)cases[i].start,
			.delta = cases[i].delta,
			.count = cases[i].count,
		};

		if (clip(&region, cases[i].near, &plan) != cases[i].some)
			fail_msg("case %u", i);
		if (!cases[i].some)
			continue;
		if ((int64_t)plan.start != cases[i].first || plan.count != cases[i].left)
			fail_msg("case %u: %ld, %u", i, (long)plan.start, plan.count);
	}
}

static void test_policy_is_told(void **state)
{
	struct plan_todo todo;

	assert_true(miss(10, 11, 1, 4, &todo));
	assert_int_equal(fake.heard.kind, PREFETCH_MISS);
	assert_int_equal(fake.heard.page, BASE + 10);
	assert_int_equal(fake.heard.thread, 77);
	assert_true(fake.heard.write);
	assert_ptr_equal(todo.region, &region);
	assert_int_equal(todo.plan.start, 11);
	assert_int_equal(shard.trend, -42);
	assert_int_equal(shard.window, 17);
	assert_false(miss(10, 11, 1, 0, &todo));
	plan_hit(&shard, &region, 12, false, 78);
	assert_int_equal(fake.heard.kind, PREFETCH_HIT);
	assert_int_equal(fake.heard.page, BASE + 12);
	assert_false(fake.heard.write);
	assert_int_equal(shard.count.prefetch_hits, 1);
	assert_int_equal(fake.asked, 3);
}

static void test_not_asked(void **state)
{
	struct plan_todo todo;

	leap.config.prefetching = false;
	assert_false(miss(10, 11, 1, 4, &todo));
	leap.config.prefetching = true;
	region.advice = LEAP_ADVISE_RANDOM;
	assert_false(miss(10, 11, 1, 4, &todo));
	assert_int_equal(fake.asked, 0);
	region.advice = LEAP_ADVISE_NORMAL;
	mem_fail_nth(1, false);
	assert_false(miss(10, 11, 1, 4, &todo));
	mem_fail_nth(0, false);
	fake.init_fails = 1;
	assert_false(miss(10, 11, 1, 4, &todo));
	assert_int_equal(fake.asked, 0);
	fake.init_fails = 0;
	assert_true(miss(10, 11, 1, 4, &todo));
}

/* A region's advice is told with its next access, also to a history that was made anew, or is that of several regions. */
static void test_hints(void **state)
{
	struct plan_todo todo;

	miss(10, 11, 1, 4, &todo);
	assert_int_equal(fake.hints, 0);
	region.advice = LEAP_ADVISE_SEQUENTIAL;
	miss(12, 13, 1, 4, &todo);
	miss(14, 15, 1, 4, &todo);
	assert_int_equal(fake.hints, 1);
	assert_int_equal(fake.hint, PREFETCH_HINT_SEQUENTIAL);
	leap.prefetch_generation++;
	miss(16, 17, 1, 4, &todo);
	assert_int_equal(fake.hints, 2);
	region.advice = LEAP_ADVISE_RANDOM;
	assert_false(miss(18, 19, 1, 4, &todo));
	region.advice = LEAP_ADVISE_NORMAL;
	miss(20, 21, 1, 4, &todo);
	assert_int_equal(fake.hints, 3);
	assert_int_equal(fake.hint, PREFETCH_HINT_NORMAL);
	leap.config.history_key = HISTORY_PROCESS;
	region.advice = LEAP_ADVISE_SEQUENTIAL;
	miss(22, 23, 1, 4, &todo);
	assert_int_equal(fake.hint, PREFETCH_HINT_SEQUENTIAL);
}

static void test_histories(void **state)
{
	struct plan_todo todo;
	void *first;

	miss(1, 2, 1, 1, &todo);
	miss(2, 3, 1, 1, &todo);
	assert_int_equal(fake.inits, 1);
	first = view.history;
	leap.prefetch_generation++; /* parameters changed */
	miss(3, 4, 1, 1, &todo);
	assert_int_equal(fake.inits, 2);
	leap.prefetcher = &other_policy;
	miss(4, 5, 1, 1, &todo);
	miss(5, 6, 1, 1, &todo);
	assert_int_equal(fake.inits, 3);
	assert_ptr_equal(view.ops, &other_policy);
	assert_null(shard.views.process.history);
	leap.config.history_key = HISTORY_PROCESS;
	miss(6, 7, 1, 1, &todo);
	assert_int_equal(fake.inits, 4);
	assert_non_null(shard.views.process.history);
	assert_non_null(first);
	/* a region that goes takes its own along only */
	plan_forget(&shard, &region);
	assert_null(view.history);
	assert_non_null(shard.views.process.history);
}

static void test_automatic_windows(void **state)
{
	struct config config = {.hits = HITS_MARKER};

	assert_int_equal(views_params(&config).window_max, 512);
	config.hits = HITS_CACHE;
	assert_int_equal(views_params(&config).window_max, 8);
	config.window_max = 33;
	assert_int_equal(views_params(&config).window_max, 33);
}

static void test_unused(void **state)
{
	plan_unused(&shard, &region, 0, 3); /* no history yet: counted */
	assert_int_equal(shard.count.prefetch_unused, 3);
	bring_window(9, 10, 1, 8);
	plan_unused(&shard, &region, 10, 5);
	plan_unused(&shard, &region, 10, 0);
	assert_int_equal(fake.unused, 5);
	assert_int_equal(shard.count.prefetch_unused, 8);
}

static void test_forget(void **state)
{
	struct plan_todo todo;

	bring_window(9, 10, 1, 8);
	lock_acquire(&shard.lock);
	plan_forget(&shard, &region);
	lock_release(&shard.lock);
	assert_null(view.history);
	assert_false(touch_marker(14, &todo));
	lock_acquire(&shard.lock);
	plan_forget(&shard, &region); /* twice does no harm */
	lock_release(&shard.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_clip),
		TEST(test_policy_is_told),
		TEST(test_not_asked),
		TEST(test_histories),
		TEST(test_automatic_windows),
		TEST(test_unused),
		TEST(test_forget),
		TEST(test_hints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
