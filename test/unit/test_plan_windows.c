/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/history.c libleap/window.c libleap/stage.c libleap/views.c libleap/page.c libleap/util/mem.c libleap/util/fmt.c libleap/lock.c libleap/log.c libleap/util/clerk.c libleap/util/fd.c */
/* From a policy's wish to pages: markers, what is asked of fetch, room, windows cut short. */
#include "test/unit/plan_fake.h"

static void check_brought(size_t first, int64_t delta, uint32_t count, size_t but)
{
	unsigned n = 0;

	for (uint32_t k = 0; k < count; k++) {
		size_t index = (size_t)((int64_t)first + k * delta);

		if (index == but) {
			assert_true(page_has(&pages[index], PAGE_MARKER));
			assert_int_equal(page_state(&pages[index]), PAGE_REMOTE);
			continue;
		}
		assert_int_equal(page_state(&pages[index]), PAGE_LOCAL);
		assert_true(page_has(&pages[index], PAGE_PREFETCHED));
		assert_false(page_has(&pages[index], PAGE_MARKER));
		n++;
	}
	assert_int_equal(fake.nbrought, n);
	assert_int_equal(shard.count.prefetched, n);
}

static void test_window_is_brought(void **state)
{
	bring_window(9, 10, 1, 200);
	check_brought(10, 1, 200, 110);
	assert_int_equal(fake.calls, 4); /* an extent at a time */
	assert_int_equal(page_state(&pages[9]), PAGE_REMOTE);
	assert_int_equal(page_state(&pages[210]), PAGE_REMOTE);
}

static void test_strided_window(void **state)
{
	bring_window(1000, 993, -7, 50);
	check_brought(993, -7, 50, 993 - 25 * 7);
	for (unsigned i = 0; i < fake.nbrought; i++)
		assert_int_equal((993 - fake.brought[i]) % 7, 0);
}

static void test_cache_mode(void **state)
{
	leap.config.hits = HITS_CACHE;
	bring_window(9, 10, 1, 8);
	assert_int_equal(fake.nbrought, 8);
	for (size_t i = 10; i < 18; i++) {
		assert_int_equal(page_state(&pages[i]), PAGE_STAGED);
		assert_true(page_has(&pages[i], PAGE_PREFETCHED));
		assert_false(page_has(&pages[i], PAGE_MARKER));
	}
	assert_null(window_find(&shard.windows, &region, 14));
}

/* The marker comes too when reads take time, last, and stays unmapped. */
static void test_marker_is_staged(void **state)
{
	leap.all_sync = false;
	bring_window(9, 10, 1, 8);
	assert_int_equal(fake.nbrought, 8);
	assert_int_equal(fake.brought[7], 14);
	assert_int_equal(fake.how[7], FETCH_STAGE);
	assert_int_equal(fake.how[0], FETCH_MAP);
	assert_int_equal(page_state(&pages[14]), PAGE_STAGED);
	assert_true(page_has(&pages[14], PAGE_MARKER));
}

/* What is there is not brought; the marker is the next page that is not. */
static void test_partly_local(void **state)
{
	for (size_t i = 12; i < 17; i++)
		pages[i].word = PAGE_LOCAL;
	bring_window(9, 10, 1, 8);
	assert_int_equal(fake.nbrought, 2);
	assert_int_equal(fake.brought[0], 10);
	assert_int_equal(fake.brought[1], 11);
	assert_true(page_has(&pages[17], PAGE_MARKER));
	assert_false(page_has(&pages[12], PAGE_PREFETCHED));
	/* nothing left: no window, no marker */
	fake.nbrought = 0;
	bring_window(9, 10, 1, 7);
	assert_int_equal(fake.nbrought, 0);
	assert_int_equal(shard.count.markers, 0);
}

static void test_limbo_is_rescued(void **state)
{
	pages[10].word = pages[14].word = PAGE_LIMBO;
	bring_window(9, 10, 1, 8);
	assert_int_equal(fake.rescued, 1u << 10); /* but the marker */
	assert_true(page_has(&pages[14], PAGE_MARKER));
	assert_int_equal(page_state(&pages[14]), PAGE_LIMBO);
	assert_int_equal(fake.nbrought, 6);
}

static void test_marker_touched(void **state)
{
	struct plan_todo todo;

	shard.fault_ns = 1000000;
	bring_window(100, 97, -3, 20);
	shard.fault_ns = 1700000;
	fake.plan = (struct prefetch_plan){.start = BASE + 37, .delta = -3, .count = 40};
	assert_true(page_has(&pages[97 - 30], PAGE_MARKER));
	assert_true(touch_marker(97 - 30, &todo));
	assert_int_equal(fake.heard.kind, PREFETCH_MARKER);
	assert_int_equal(fake.heard.page, BASE + 67);
	assert_int_equal(fake.heard.credit, 20);
	assert_int_equal(fake.heard.delta, -3);
	assert_int_equal(fake.heard.frontier, BASE + 97 - 19 * 3);
	assert_int_equal(fake.heard.age_ns, 700000);
	assert_false(fake.heard.late);
	assert_int_equal(todo.planned_ns, 1700000);
	assert_int_equal(shard.count.markers, 1);
	assert_int_equal(shard.count.prefetch_hits,
			 19); /* those that were brought: not the marker */
	for (size_t i = 0; i <= 100; i++) {
		assert_false(page_has(&pages[i], PAGE_PREFETCHED));
		assert_false(page_has(&pages[i], PAGE_MARKER));
	}
	assert_int_equal(todo.plan.start, 37);
	assert_int_equal(todo.plan.count, 13); /* clipped: 37, 34 .. 1 */
	/* the window is gone: a second touch tells nothing */
	assert_false(touch_marker(67, &todo));
	assert_int_equal(shard.count.markers, 1);
}

/* One that is touched while it is on its way is late. */
static void test_late_marker(void **state)
{
	struct plan_todo todo;

	bring_window(9, 10, 1, 8);
	pages[14].word = PAGE_FILLING | PAGE_MARKER;
	fake.plan = (struct prefetch_plan){0};
	touch_marker(14, &todo);
	assert_int_equal(fake.heard.kind, PREFETCH_MARKER);
	assert_true(fake.heard.late);
}

/* Three steps of 2 and one of 10, again and again: all of it is brought, credited and continued. */
static void test_pattern(void **state)
{
	static const size_t expected[] = {30, 32, 34, 36, 48, 50, 52, 62};
	struct prefetch_plan pattern = {BASE + 30, 16, 9, 7, 4, {0, 2, 4, 6}};
	struct plan_todo todo;

	fake.plan = pattern;
	lock_acquire(&shard.lock);
	assert_true(plan_miss(&shard, &region, 20, false, 0, &todo));
	lock_release(&shard.lock);
	plan_execute(&shard, &todo);
	assert_int_equal(fake.nbrought, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(fake.brought[i], expected[i]);
	assert_true(page_has(&pages[46], PAGE_MARKER));
	assert_true(touch_marker(46, &todo));
	assert_int_equal(fake.heard.credit, 9);
	assert_int_equal(fake.heard.delta, 16);
	assert_int_equal(fake.heard.frontier, BASE + 62);
	assert_int_equal(fake.window.start, BASE + 30);
	assert_int_equal(fake.window.tag, 7);
	assert_int_equal(fake.window.nsteps, 4);
	assert_int_equal(shard.count.prefetch_hits, 8);
	for (size_t i = 0; i < 100; i++)
		assert_false(page_has(&pages[i], PAGE_PREFETCHED));
}

/* Cut before the first page that is not the region's, at either end. */
static void test_pattern_clipped(void **state)
{
	struct prefetch_plan up = {BASE + NPAGES - 10, 16, 9, 0, 4, {0, 2, 4, 6}};
	struct prefetch_plan down = {BASE + 5, -9, 100, 0, 2, {0, -3}};
	struct plan_todo todo;
	size_t indexes[] = {NPAGES - 12, 8, 8};

	for (unsigned i = 0; i < 3; i++) {
		fake.plan = i ? down : up;
		if (i == 2)
			fake.plan.start = BASE - 1; /* begins outside */
		lock_acquire(&shard.lock);
		assert_int_equal(plan_miss(&shard, &region, indexes[i], false, 0, &todo), i < 2);
		lock_release(&shard.lock);
		assert_int_equal(todo.plan.count, i == 0 ? 4 : i == 1 ? 2 : 0);
	}
}

/* More windows than the table holds: the oldest loses its marker. */
static void test_many_windows(void **state)
{
	struct plan_todo todo;

	for (size_t i = 0; i <= WINDOWS_MAX; i++)
		bring_window(i * 100, (int64_t)i * 100 + 1, 1, 8);
	assert_false(page_has(&pages[5], PAGE_MARKER));
	for (size_t i = 1; i <= WINDOWS_MAX; i++)
		assert_true(page_has(&pages[i * 100 + 5], PAGE_MARKER));
	assert_false(touch_marker(5, &todo));
	assert_true(touch_marker(105, &todo));
}

/* Stopped on the way: the window ends where the pages do, and its marker lies within or right behind. */
static void test_cut_short(void **state)
{
	static const struct {
		unsigned extents; /* brought */
		size_t marker;
		uint32_t credit;
		size_t frontier;
	} cases[] = {
		{0, 64, 1, 64},     {1, 128, 65, 128},
		{2, 192, 129, 192}, {4, 320, 257, 320}, /* up to the middle exactly */
		{5, 320, 320, 383}, {7, 320, 448, 511},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct plan_todo todo;

		all_remote();
		fake.calls = fake.nbrought = 0;
		fake.stop_after = cases[i].extents;
		bring_window(63, 64, 1, 512);
		for (size_t k = 0; k < 640; k++)
			if (page_has(&pages[k], PAGE_MARKER) != (k == cases[i].marker))
				fail_msg("case %u: page %zu", i, k);
		fake.stop_after = 1000000;
		touch_marker(cases[i].marker, &todo);
		assert_int_equal(fake.heard.credit, cases[i].credit);
		assert_int_equal(fake.heard.frontier, BASE + cases[i].frontier);
	}
}

static void test_no_room(void **state)
{
	/* donors that take time: not far ahead of the evictor */
	leap.all_sync = false;
	leap.local_all = 1000;
	fake.budget = 1000;
	fake.headroom = 100;
	fake.evict_answer = EVICT_AGAIN;
	bring_window(63, 64, 1, 512);
	assert_int_equal(fake.nbrought, 512);
	all_remote();
	fake.nbrought = 0;
	leap.local_all = 1050;
	bring_window(63, 64, 1, 512);
	assert_int_equal(fake.nbrought, 0); /* 64 more would be past the headroom */
	assert_true(page_has(&pages[64], PAGE_MARKER));
	/* up to it is allowed */
	all_remote();
	fake.headroom = 114;
	bring_window(63, 64, 1, 512);
	assert_int_equal(fake.nbrought, 512);
	fake.headroom = 113;
	fake.nbrought = 0;
	all_remote();
	bring_window(63, 64, 1, 64); /* 63 and the marker */
	assert_int_equal(fake.nbrought, 64);
	/* there is room again */
	leap.local_all = 100000;
	fake.nbrought = 0;
	all_remote();
	fake.evict_answer = 0;
	bring_window(63, 64, 1, 512);
	assert_int_equal(fake.nbrought, 512);
}

static void test_recycling(void **state)
{
	fake.budget = leap.local_all = 100000;
	leap.recycle = true;
	fake.can_recycle = 1;
	bring_window(63, 64, 1, 128);
	assert_int_equal(fake.evicted, 2);
	assert_int_equal(fake.recycled, 127);
	assert_int_equal(fake.nbrought, 0);
	assert_int_equal(shard.count.prefetched, 127);
	/* not worth it for a few pages, not in cache mode, not when frames may be referenced */
	bring_window(1000, 1001, 1, 8);
	assert_int_equal(fake.evicted, 2);
	leap.recycle = false;
	bring_window(2047, 2048, 1, 64);
	assert_int_equal(fake.evicted, 2);
	leap.recycle = true;
	leap.config.hits = HITS_CACHE;
	bring_window(4095, 4096, 1, 64);
	assert_int_equal(fake.evicted, 2);
	/* when nothing fits, it is read as usual; when donors are full, it is not */
	leap.config.hits = HITS_MARKER;
	fake.can_recycle = 0;
	fake.nbrought = 0;
	bring_window(8191, 8192, 1, 64);
	assert_int_equal(fake.nbrought, 63);
	fake.evict_answer = EVICT_FULL;
	fake.nbrought = 0;
	bring_window(8255, 8256, 1, 64);
	assert_int_equal(fake.nbrought, 0);
}

static void test_dying_region(void **state)
{
	struct plan_todo todo;

	assert_true(miss(9, 10, 1, 8, &todo));
	region.dying = true;
	plan_execute(&shard, &todo);
	assert_int_equal(fake.nbrought, 0);
	assert_false(page_has(&pages[14], PAGE_MARKER));
}

static void test_range(void **state)
{
	pages[70].word = PAGE_LOCAL;
	plan_range(&shard, &region, 60, 100);
	assert_int_equal(fake.nbrought, 99);
	assert_int_equal(fake.calls, 3);
	for (size_t i = 60; i < 160; i++)
		assert_int_equal(page_state(&pages[i]), PAGE_LOCAL);
	assert_int_equal(page_state(&pages[59]), PAGE_REMOTE);
	assert_int_equal(page_state(&pages[160]), PAGE_REMOTE);
	fake.calls = 0;
	fake.stop_after = 1;
	plan_range(&shard, &region, 640, 640);
	assert_int_equal(fake.calls, 2); /* the second got nothing: no third */
	plan_range(&shard, &region, 5, 0);
	assert_int_equal(fake.calls, 2);
}

static unsigned flagged(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < NPAGES; i++)
		n += page_has(&pages[i], PAGE_PREFETCHED);
	return n;
}

/* When memory is full, pages that nobody touched hold their share at most: the plan is a smaller one then. */
static void test_share(void **state)
{
	struct plan_todo todo;

	leap.config.prefetch_share = 25;
	fake.budget = leap.local_all = 1000;
	bring_window(9, 10, 1, 200);
	check_brought(10, 1, 200, 110);
	assert_int_equal(shard.untouched, 199);
	bring_window(999, 1000, -1, 200); /* 51 are left, one of which is the marker */
	assert_int_equal(fake.nbrought, 199 + 50);
	assert_true(page_has(&pages[1000 - 25], PAGE_MARKER));
	assert_int_equal(page_state(&pages[949]), PAGE_REMOTE);
	assert_int_equal(shard.untouched, 249);
	assert_int_equal(flagged(), 249);
	/* one is a marker that brings nothing; then nothing at all, not even a marker */
	bring_window(2000, 2001, 1, 8);
	assert_int_equal(fake.nbrought, 249);
	assert_true(page_has(&pages[2001], PAGE_MARKER));
	shard_prefetched(&shard, &pages[3000], true);
	bring_window(3099, 3100, 1, 8);
	assert_int_equal(fake.nbrought, 249);
	for (size_t i = 3100; i < 3108; i++)
		assert_int_equal(page_word(&pages[i]), PAGE_REMOTE | PAGE_STORED);
	/* what is used makes room; the policy hears how far the window went */
	assert_true(touch_marker(975, &todo));
	assert_int_equal(fake.heard.credit, 51);
	assert_int_equal(fake.heard.frontier, BASE + 950);
	assert_int_equal(shard.untouched, 200);
	assert_int_equal(flagged(), 200);
}

/* With room enough nothing has to leave, and the share means nothing. */
static void test_share_of_empty_memory(void **state)
{
	leap.config.prefetch_share = 1;
	fake.budget = 10000;
	leap.local_all = 10000 - SHARE_ROOM;
	bring_window(9, 10, 1, 512);
	assert_int_equal(shard.untouched, 511);
	leap.local_all++;
	bring_window(2000, 2001, 1, 8);
	assert_int_equal(shard.untouched, 511);
	/* a little can always be brought, and what is here does not count */
	all_remote();
	fake.budget = leap.local_all = 64;
	for (size_t i = 10; i < 100; i++)
		pages[i].word = PAGE_LOCAL;
	bring_window(9, 10, 1, 512);
	assert_int_equal(shard.untouched, SHARE_MIN - 1);
	assert_true(page_has(&pages[100], PAGE_MARKER));
	assert_true(page_has(&pages[101], PAGE_PREFETCHED));
}

/* In cache mode pages that have waited longest make room, but not the plan's own. */
static void test_share_of_cache(void **state)
{
	leap.config.hits = HITS_CACHE;
	leap.config.prefetch_share = 25;
	fake.budget = leap.local_all = 64;
	for (size_t i = 0; i < 3; i++) {
		size_t first = i * 100 + 10;

		bring_window(first - 1, (int64_t)first, 1, 8);
		for (size_t k = first; k < first + 8; k++)
			stage_insert(&shard.stage, (unsigned)(i * 8 + k - first), &region, k);
	}
	assert_int_equal(shard.untouched, 16);
	assert_int_equal(page_state(&pages[10]), PAGE_REMOTE);
	assert_int_equal(page_state(&pages[110]), PAGE_STAGED);
	assert_int_equal(page_state(&pages[217]), PAGE_STAGED);
	fake.nbrought = 0;
	bring_window(109, 110, 1, 50); /* wants 8 that wait: those of the others make room */
	assert_int_equal(page_state(&pages[110]), PAGE_STAGED);
	assert_int_equal(fake.nbrought, 8);
	assert_int_equal(shard.untouched, 16);
	assert_int_equal(flagged(), 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_window_is_brought),
		TEST(test_strided_window),
		TEST(test_cache_mode),
		TEST(test_marker_is_staged),
		TEST(test_partly_local),
		TEST(test_limbo_is_rescued),
		TEST(test_marker_touched),
		TEST(test_late_marker),
		TEST(test_pattern),
		TEST(test_pattern_clipped),
		TEST(test_many_windows),
		TEST(test_cut_short),
		TEST(test_no_room),
		TEST(test_recycling),
		TEST(test_dying_region),
		TEST(test_range),
		TEST(test_share),
		TEST(test_share_of_empty_memory),
		TEST(test_share_of_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
