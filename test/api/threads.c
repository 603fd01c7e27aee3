/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c - two threads that scan by turns: whose history their faults belong to, and threads that have none. */
#include <pthread.h>

#include "api.h"

#define PAGES ((size_t)8192)

struct scan {
	char *base;
	const char *name;
	pthread_barrier_t *turns;
	bool second;
};

/* A page of one's own half in each turn. */
static void *scan_main(void *arg)
{
	struct scan *s = arg;

	pthread_setname_np(pthread_self(), s->name);
	for (size_t page = 0; page < PAGES / 2; page++) {
		if (s->second)
			pthread_barrier_wait(s->turns);
		if (!page_right(s->base, page + s->second * PAGES / 2, 1))
			return s;
		if (!s->second)
			pthread_barrier_wait(s->turns);
		pthread_barrier_wait(s->turns);
	}
	return NULL;
}

/* Pages prefetched, with this key and these threads left out. */
static uint64_t prefetched(const char *key, const char *excluded)
{
	struct leap *leap = session("local=64M", "donors=loop:", "prefetch=majority", "hits=cache",
				    key, excluded, NULL);
	struct leap_stats st = {.size = sizeof(st)};
	struct leap_region *region;
	pthread_barrier_t turns;
	struct scan scans[2];
	pthread_t thread[2];
	void *wrong;

	assert_ok(leap_region_create(leap, PAGES * PAGE, &region));
	for (size_t page = 0; page < PAGES; page++)
		page_write(leap_region_addr(region), page, 1);
	assert_ok(leap_evict(leap, leap_region_addr(region), PAGES * PAGE));
	pthread_barrier_init(&turns, NULL, 2);
	for (int i = 0; i < 2; i++) {
		scans[i] = (struct scan){.base = leap_region_addr(region),
					 .name = i ? "scan-two" : "scan-one",
					 .turns = &turns,
					 .second = i};
		assert_int_equal(pthread_create(&thread[i], NULL, scan_main, &scans[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(thread[i], &wrong), 0);
		assert_null(wrong);
	}
	pthread_barrier_destroy(&turns);
	assert_ok(leap_stats(leap, &st));
	assert_ok(leap_close(leap));
	return st.prefetched;
}

/* Taken together the scans have no trend; each alone has a simple one. */
static void test_keys(void **state)
{
	assert_in_range(prefetched("history_key=region", "exclude_threads="), 0, PAGES / 20);
	assert_in_range(prefetched("history_key=process", "exclude_threads="), 0, PAGES / 20);
	assert_in_range(prefetched("history_key=thread", "exclude_threads="), PAGES * 8 / 10,
			PAGES);
	assert_in_range(prefetched("history_key=stream", "exclude_threads="), PAGES * 8 / 10,
			PAGES);
}

static void test_excluded(void **state)
{
	assert_int_equal(prefetched("history_key=thread", "exclude_threads=scan-*"), 0);
	/* the other's trend can be seen again */
	assert_in_range(prefetched("history_key=region", "exclude_threads=scan-two"),
			PAGES * 4 / 10, PAGES / 2);
}

/* Two scans by one thread, whose key is changed while they run. */
static void test_changed(void **state)
{
	struct leap *leap = session("local=64M", "donors=loop:", "prefetch=majority", "hits=cache",
				    "history_key=region", NULL);
	static const char *const keys[] = {"region", "stream", "process", "stream"};
	struct leap_stats st = {.size = sizeof(st)};
	struct leap_region *region;
	uint64_t before = 0;

	assert_ok(leap_region_create(leap, PAGES * PAGE, &region));
	for (size_t page = 0; page < PAGES; page++)
		page_write(leap_region_addr(region), page, 1);
	assert_ok(leap_evict(leap, leap_region_addr(region), PAGES * PAGE));
	for (size_t k = 0; k < 4; k++) {
		assert_ok(leap_set(leap, "history_key", keys[k]));
		for (size_t page = k * 1000; page < k * 1000 + 1000; page++) {
			assert_true(page_right(leap_region_addr(region), page, 1));
			assert_true(page_right(leap_region_addr(region), page + PAGES / 2, 1));
		}
		assert_ok(leap_stats(leap, &st));
		if (k % 2)
			assert_in_range(st.prefetched - before, 1600, 2000);
		else
			assert_in_range(st.prefetched - before, 0, 100);
		before = st.prefetched;
	}
	assert_ok(leap_close(leap));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_excluded),
		cmocka_unit_test(test_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
