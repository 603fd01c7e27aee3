/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stacks.c - a thread whose stack lies in a region calls the library, while another one pushes that stack out over and
 * over. It must not lose the stack while it holds a lock: it and the fault thread would wait for each other for ever.
 */
#include <pthread.h>
#include <stdbool.h>
#include <ucontext.h>

#include "api.h"

#define STACK  ((size_t)64 << 10)
#define ROUNDS 3000

static struct leap *leap;
static char *base;
static ucontext_t here, there;
static bool stop;
static unsigned rounds;

static void *push_out(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		leap_evict(leap, base, STACK);
	return NULL;
}

static void on_stack(void)
{
	struct leap_stats stats = {.size = sizeof(stats)};

	for (; rounds < ROUNDS; rounds++) {
		char *at = base + 8 * MIB + rounds % 7 * STACK;

		*at = 1;
		leap_advise(leap, at, 4 * STACK, LEAP_ADVISE_DONTNEED);
		leap_advise(leap, at, 4 * STACK, LEAP_ADVISE_PIN);
		leap_advise(leap, at, 4 * STACK, LEAP_ADVISE_UNPIN);
		leap_stats(leap, &stats);
		if (rounds % 100 == 0)
			leap_evict(leap, base + 16 * MIB, 64 * PAGE);
	}
}

static void run(const char *mover, const char *frontend)
{
	struct leap_region *region;
	pthread_t thread;

	leap = session("local=16M", "donors=loop:", mover, frontend, NULL);
	assert_ok(leap_region_create(leap, 64 * MIB, &region));
	base = leap_region_addr(region);
	for (size_t page = 0; page < 64 * MIB / PAGE; page++)
		page_write(base, page, 0);
	getcontext(&there);
	there.uc_stack.ss_sp = base;
	there.uc_stack.ss_size = STACK;
	there.uc_link = &here;
	makecontext(&there, on_stack, 0);
	rounds = 0;
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, push_out, NULL), 0);
	swapcontext(&here, &there);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(rounds, ROUNDS);
	for (size_t page = 20 * MIB / PAGE; page < 64 * MIB / PAGE; page++)
		assert_true(page_right(base, page, 0));
	assert_ok(leap_region_destroy(region));
	assert_ok(leap_close(leap));
}

static void test_move(void **state)
{
	run("mover=move", "frontend=block");
	run("mover=move", "frontend=busy");
}

static void test_wp(void **state)
{
	run("mover=wp", "frontend=block");
	run("mover=wp", "frontend=busy");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_wp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
