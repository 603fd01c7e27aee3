/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/history.c libleap/views.c libleap/util/mem.c libleap/util/fmt.c libleap/util/clerk.c libleap/util/fd.c libleap/lock.c libleap/log.c */
/* Whose history an access belongs to, and threads that have none. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/session.h"
#include "libleap/util/mem.h"

static struct leap leap;
static struct shard shard;
static struct leap_region a, b;
static struct region_view views_a[2], views_b[2];

static size_t state_bytes(const struct prefetch_params *params)
{
	return 100 * params->history_size;
}

static void scope(void *state, const struct prefetch_scope *s)
{
}

static const struct prefetcher_ops large = {.state_bytes = state_bytes};
static const struct prefetcher_ops for_one = {.state_bytes = state_bytes, .scope = scope};

static int set_up(void **state)
{
	memset(&leap, 0, sizeof(leap));
	memset(&shard, 0, sizeof(shard));
	shard.leap = &leap;
	shard.index = 1;
	memset(views_a, 0, sizeof(views_a));
	memset(views_b, 0, sizeof(views_b));
	a.views = views_a;
	b.views = views_b;
	a.npages = b.npages = 1 << 20;
	leap.prefetcher = &large;
	leap.config.history_size = 32;
	return 0;
}

static int tear_down(void **state)
{
	views_destroy(&shard.views);
	return 0;
}

static void test_region_and_process(void **state)
{
	assert_ptr_equal(views_find(&shard, &a, 1), &views_a[1]);
	assert_ptr_equal(views_find(&shard, &b, 1), &views_b[1]);
	assert_ptr_equal(views_of_unused(&shard, &b), &views_b[1]);
	leap.config.history_key = HISTORY_PROCESS;
	assert_ptr_equal(views_find(&shard, &a, 1), &shard.views.process);
	assert_ptr_equal(views_find(&shard, &b, 2), &shard.views.process);
	assert_ptr_equal(views_of_unused(&shard, &b), &shard.views.process);
	assert_null(shard.views.threads); /* nothing is kept that is not asked for */
}

/* 3,200 bytes are too much for less than 533 pages. */
static void test_small_regions(void **state)
{
	a.npages = 532;
	b.npages = 533;
	assert_ptr_equal(views_find(&shard, &a, 1), &shard.views.small);
	assert_ptr_equal(views_of_unused(&shard, &a), &shard.views.small);
	assert_ptr_equal(views_find(&shard, &b, 1), &views_b[1]);
	b.npages = 1;
	views_b[1].history = mem_alloc(16);
	leap.prefetch_generation++; /* an option was changed: it is looked at anew */
	assert_ptr_equal(views_find(&shard, &b, 1), &shard.views.small);
	assert_null(views_b[1].history);
	leap.config.history_size = 2;
	leap.prefetch_generation++;
	assert_ptr_equal(views_find(&shard, &a, 1), &views_a[1]);
	leap.config.history_key = HISTORY_STREAM; /* 64 times as much */
	leap.prefetch_generation++;
	assert_ptr_equal(views_find(&shard, &a, 1), &shard.views.small);
	a.npages = 1 << 20;
	leap.prefetch_generation++;
	assert_ptr_equal(views_find(&shard, &a, 1), &views_a[1]);
	assert_ptr_equal(views_of_unused(&shard, &a), &views_a[1]);
	leap.config.history_key = HISTORY_REGION;
	leap.config.history_size = 32;
	leap.prefetcher = &for_one;
	assert_ptr_equal(views_find(&shard, &a, 1), &views_a[1]);
	assert_ptr_equal(views_find(&shard, &b, 1), &views_b[1]);
}

static void test_threads(void **state)
{
	struct region_view *first, *second;

	leap.config.history_key = HISTORY_THREAD;
	assert_null(views_of_unused(&shard, &a));
	first = views_find(&shard, &a, 11);
	second = views_find(&shard, &a, 12);
	assert_non_null(first);
	assert_ptr_not_equal(first, second);
	assert_ptr_equal(views_find(&shard, &b, 11), first);
	assert_ptr_equal(views_of_unused(&shard, &a), first);
	assert_ptr_equal(views_find(&shard, &b, 12), second);
	assert_non_null(views_find(&shard, &b, 0)); /* where the kernel does not tell */
}

/* The one that was silent for longest loses its history. */
static void test_more_threads_than_views(void **state)
{
	struct region_view *kept;

	leap.config.history_key = HISTORY_THREAD;
	for (uint32_t t = 1; t <= VIEW_THREADS; t++)
		views_find(&shard, &a, t)->history = mem_alloc(64);
	kept = views_find(&shard, &a, 1);
	assert_non_null(kept->history);
	assert_null(views_find(&shard, &a, 1000)->history); /* in the place of 2 */
	assert_ptr_equal(views_find(&shard, &a, 1), kept);
	assert_non_null(views_find(&shard, &a, 3)->history);
	assert_null(views_find(&shard, &a, 2)->history);
}

/* A thread with a name, until it is told to end. */
struct named {
	pthread_t id;
	const char *name;
	uint32_t tid;
	pthread_barrier_t barrier;
};

static void *named_main(void *arg)
{
	struct named *n = arg;

	pthread_setname_np(pthread_self(), n->name);
	n->tid = (uint32_t)sys_gettid();
	pthread_barrier_wait(&n->barrier);
	pthread_barrier_wait(&n->barrier);
	return NULL;
}

static void begin(struct named *n, const char *name)
{
	n->name = name;
	pthread_barrier_init(&n->barrier, NULL, 2);
	assert_int_equal(pthread_create(&n->id, NULL, named_main, n), 0);
	pthread_barrier_wait(&n->barrier);
}

static void end(struct named *n)
{
	pthread_barrier_wait(&n->barrier);
	pthread_join(n->id, NULL);
	pthread_barrier_destroy(&n->barrier);
}

static bool excluded(const char *list, const struct named *n)
{
	bool gone;

	views_destroy(&shard.views);
	strcpy(leap.config.exclude_threads, list);
	gone = !views_find(&shard, &a, n->tid);
	if (!gone)
		assert_ptr_equal(views_find(&shard, &a, n->tid), &views_a[1]);
	return gone;
}

static void test_excluded(void **state)
{
	struct named n;

	begin(&n, "gc-worker 3");
	assert_true(excluded("gc-worker 3", &n));
	assert_true(excluded("main,gc-*", &n));
	assert_true(excluded("*", &n));
	assert_true(excluded("gc-worker 3,", &n));
	assert_false(excluded("gc", &n));
	assert_false(excluded("gc-worker 33", &n));
	assert_false(excluded("gc-worker 33*", &n));
	assert_false(excluded("worker*,", &n));
	assert_false(excluded(",", &n));
	strcpy(leap.config.exclude_threads, "*");
	assert_non_null(views_find(&shard, &a, 0)); /* who is not known has no name */
	end(&n);
	assert_false(excluded("gc-worker 3", &n)); /* gone */
}

/* Names are given late. */
static void test_renamed(void **state)
{
	struct named n;
	unsigned i;

	begin(&n, "early");
	assert_false(excluded("late", &n));
	pthread_setname_np(n.id, "late");
	for (i = 0; i < 10000 && views_find(&shard, &a, n.tid); i++)
		;
	assert_in_range(i, 1, 9999);
	end(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_region_and_process, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_small_regions, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_more_threads_than_views, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_excluded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_renamed, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
