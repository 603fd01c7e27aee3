/* SPDX-License-Identifier: Apache-2.0 */
/* What a donor lends is on its account until nobody has it any more, whoever that is. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "test/donor/harness.h"

#define SLABS 4u /* 256M */

static struct client joined(struct test_donor *d)
{
	struct client c;

	if (client_open(&c, d, CARRIER_SHM, 5000000000ull))
		fail_msg("%s", error_last());
	return c;
}

/* A process that keeps what is mapped here now, until it is killed. */
static pid_t keeper(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	while (!pid)
		pause();
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* The session ends, the memory stays mapped: the donor has lent it still. */
static void test_kept_by_the_dropped(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", NULL);
	struct client c = joined(d);
	uint32_t slab;
	pid_t pid;

	assert_int_equal(client_grant_all(&c), SLABS);
	pid = keeper();
	client_close(&c);
	c = joined(d);
	assert_int_equal(c.ops->slab_grant(c.port, &slab), -ENOSPC);
	assert_non_null(strstr(error_last(), "still map 256M"));
	end(pid);
	assert_int_equal(client_grant_all(&c), SLABS);
	client_close(&c);
	donor_stop(d);
}

/* Likewise a slab that was given back: it is emptied, but it can be written again. */
static void test_kept_by_the_giver(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", NULL);
	struct client c = joined(d);
	uint32_t slab[SLABS], again;
	pid_t pid;

	for (unsigned i = 0; i < SLABS; i++)
		assert_int_equal(c.ops->slab_grant(c.port, &slab[i]), 0);
	pid = keeper();
	assert_int_equal(c.ops->slab_release(c.port, slab[0]), 0);
	assert_int_equal(c.ops->slab_grant(c.port, &again), -ENOSPC);
	end(pid);
	assert_int_equal(c.ops->slab_grant(c.port, &again), 0);
	/* and with nobody else, at once, however often */
	for (int i = 0; i < 50; i++) {
		assert_int_equal(c.ops->slab_release(c.port, again), 0);
		assert_int_equal(c.ops->slab_grant(c.port, &again), 0);
	}
	client_close(&c);
	donor_stop(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_by_the_dropped),
		cmocka_unit_test(test_kept_by_the_giver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
