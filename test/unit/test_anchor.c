/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/uffd/anchor.c libleap/uffd/follow.c libleap/lock.c libleap/log.c libleap/util/fmt.c libleap/util/clerk.c libleap/util/fd.c */
/* The affinity of a thread that is anchored, and of one that is let go; who follows whom. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "libleap/uffd/anchor.h"
#include "libleap/uffd/follow.h"
#include "libleap/util/sys.h"

static cpu_set_t all;
static int first_cpu;

static int cpus_of(uint32_t thread)
{
	cpu_set_t set;

	assert_int_equal(sched_getaffinity((pid_t)thread, sizeof(set), &set), 0);
	return CPU_COUNT(&set);
}

static int setup(void **state)
{
	sched_getaffinity(0, sizeof(all), &all);
	for (first_cpu = 0; !CPU_ISSET(first_cpu, &all); first_cpu++)
		;
	return 0;
}

static void needs_two(void)
{
	if (CPU_COUNT(&all) < 2)
		skip();
}

static void test_set_and_clear(void **state)
{
	uint32_t me = (uint32_t)sys_gettid();

	needs_two();
	assert_false(anchor_holds(me));
	assert_int_equal(anchor_set(me, first_cpu), first_cpu);
	assert_int_equal(cpus_of(me), 1);
	assert_true(anchor_holds(me));
	assert_false(anchor_holds(me + 1));
	anchor_clear(me + 1); /* another one */
	assert_int_equal(cpus_of(me), 1);
	anchor_clear(me);
	assert_int_equal(cpus_of(me), CPU_COUNT(&all));
	assert_false(anchor_holds(me));
	anchor_clear(me); /* harmless */
	assert_int_equal(cpus_of(me), CPU_COUNT(&all));
}

static void test_one_at_a_time(void **state)
{
	uint32_t me = (uint32_t)sys_gettid();

	assert_int_equal(anchor_set(me, first_cpu), first_cpu);
	assert_int_equal(anchor_set(me, first_cpu + 1), first_cpu); /* where it is */
	assert_int_equal(anchor_set(1, first_cpu), -1);
	anchor_clear(me);
}

static void test_not_allowed(void **state)
{
	assert_int_equal(anchor_set((uint32_t)sys_gettid(), CPU_SETSIZE - 1), -1);
	assert_int_equal(anchor_set(0x3fffffff, first_cpu), -1); /* no such thread */
	assert_int_equal(cpus_of(0), CPU_COUNT(&all));
}

static void test_hold(void **state)
{
	uint32_t me = (uint32_t)sys_gettid();

	assert_int_equal(anchor_set(me, first_cpu), first_cpu);
	anchor_hold();
	assert_int_equal(cpus_of(me), CPU_COUNT(&all));
	anchor_hold();
	assert_int_equal(anchor_set(me, first_cpu), -1);
	anchor_unhold();
	assert_int_equal(anchor_set(me, first_cpu), -1);
	anchor_unhold();
	assert_int_equal(anchor_set(me, first_cpu), first_cpu);
	anchor_clear(me);
	anchor_unhold(); /* one too many */
	assert_int_equal(anchor_set(me, first_cpu), first_cpu);
	anchor_clear(me);
}

static void test_forked(void **state)
{
	uint32_t me = (uint32_t)sys_gettid();

	anchor_hold();
	anchor_forked();
	assert_int_equal(anchor_set(me, first_cpu), first_cpu);
	anchor_clear(me);
}

/* A thread of the program, which works `work_ns` for each fault. */
static uint64_t work_ns;
static uint32_t worker;
static bool end;

static void *work_main(void *arg)
{
	__atomic_store_n(&worker, (uint32_t)sys_gettid(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(&end, __ATOMIC_ACQUIRE)) {
		struct timespec t;

		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
		if (__atomic_load_n(&work_ns, __ATOMIC_RELAXED) >
		    (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec)
			continue;
		usleep(100);
	}
	return NULL;
}

static void burn(uint64_t ns)
{
	uint64_t until = clock_ns() + ns;

	while (clock_ns() < until)
		;
}

static void faults(struct follow *follow, uint32_t thread, unsigned n, uint64_t own_ns,
		   uint64_t its_ns)
{
	for (unsigned i = 0; i < n; i++) {
		__atomic_fetch_add(&work_ns, its_ns, __ATOMIC_RELAXED);
		burn(own_ns);
		follow_fault(follow, thread, 1);
	}
}

static void test_follow(void **state)
{
	struct follow follow;
	pthread_t thread;

	needs_two();
	assert_int_equal(pthread_create(&thread, NULL, work_main, NULL), 0);
	while (!__atomic_load_n(&worker, __ATOMIC_ACQUIRE))
		usleep(100);
	follow_init(&follow, true);
	assert_int_equal(follow_timeout(&follow), -1);
	faults(&follow, worker, 200, 0, 0);
	assert_int_equal(cpus_of(worker), 1);
	assert_int_equal(cpus_of(0), 1);
	assert_true(follow_timeout(&follow) > 0);
	/* somebody let it go meanwhile: it is held again */
	anchor_hold();
	anchor_unhold();
	assert_int_equal(cpus_of(worker), CPU_COUNT(&all));
	faults(&follow, worker, 200, 0, 0);
	assert_int_equal(cpus_of(worker), 1);
	follow_idle(&follow);
	assert_int_equal(cpus_of(worker), CPU_COUNT(&all));
	assert_int_equal(cpus_of(0), CPU_COUNT(&all));
	/* another thread faults in between */
	faults(&follow, worker, 200, 0, 0);
	assert_int_equal(cpus_of(worker), 1);
	faults(&follow, worker + 1, 1, 0, 0);
	assert_int_equal(cpus_of(worker), CPU_COUNT(&all));
	assert_int_equal(cpus_of(0), CPU_COUNT(&all));
	__atomic_store_n(&end, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	faults(&follow, worker, 200, 0, 0); /* it is gone */
	assert_int_equal(cpus_of(0), CPU_COUNT(&all));
	follow_idle(&follow);
}

static void test_follow_without_anchor(void **state)
{
	struct follow follow;
	uint32_t parent = (uint32_t)getpid();

	needs_two();
	follow_init(&follow, false);
	faults(&follow, parent, 200, 0, 0);
	assert_int_equal(cpus_of(0), 1); /* this thread itself is the follower */
	follow_idle(&follow);
	assert_int_equal(cpus_of(0), CPU_COUNT(&all));
}

/* Both have much to do at the same time. */
static void test_follow_apart(void **state)
{
	struct follow follow;
	pthread_t thread;

	needs_two();
	__atomic_store_n(&end, false, __ATOMIC_RELAXED);
	__atomic_store_n(&worker, 0, __ATOMIC_RELAXED);
	assert_int_equal(pthread_create(&thread, NULL, work_main, NULL), 0);
	while (!__atomic_load_n(&worker, __ATOMIC_ACQUIRE))
		usleep(100);
	follow_init(&follow, true);
	__atomic_store_n(&work_ns, UINT64_MAX / 2, __ATOMIC_RELAXED); /* all the time */
	faults(&follow, worker, 300, 1000000, 0);
	assert_int_equal(cpus_of(worker), CPU_COUNT(&all));
	assert_int_equal(cpus_of(0), CPU_COUNT(&all));
	__atomic_store_n(&work_ns, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&end, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	follow_idle(&follow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_and_clear),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_not_allowed),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_forked),
		cmocka_unit_test(test_follow),
		cmocka_unit_test(test_follow_without_anchor),
		cmocka_unit_test(test_follow_apart),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
