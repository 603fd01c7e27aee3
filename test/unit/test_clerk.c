/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/util/clerk.c libleap/util/fd.c libleap/util/fmt.c libleap/lock.c libleap/log.c */
/*
 * A table of descriptors that nobody else sees: what is opened there takes no number here, and what is lent is found there.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "libleap/util/clerk.h"
#include "libleap/util/sys.h"

static pthread_t thread;

static int set_up(void **state)
{
	if (clerk_prepare() || pthread_create(&thread, NULL, clerk_main, NULL))
		return -1;
	clerk_wait();
	return 0;
}

static int tear_down(void **state)
{
	clerk_end();
	return pthread_join(thread, NULL);
}

static int lowest(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(fd);
	return fd;
}

static void do_open(void *arg)
{
	*(int *)arg = open("/dev/zero", O_RDONLY | O_CLOEXEC);
}

static void test_takes_no_number_here(void **state)
{
	int here = lowest(), fd = -1, more = -1;

	clerk_run(do_open, &fd, NULL);
	clerk_run(do_open, &more, NULL);
	assert_int_equal(fd, 0); /* its table is empty */
	assert_int_equal(more, 1);
	assert_int_equal(lowest(), here);
	clerk_close(fd);
	clerk_run(do_open, &more, NULL);
	assert_int_equal(more, 0);
	clerk_close(-1);
}

struct lent {
	int fd;
	char text[8];
	ssize_t n;
};

static void do_take(void *arg)
{
	struct lent *l = arg;

	l->n = read(l->fd, l->text, sizeof(l->text));
}

static void test_lent(void **state)
{
	struct lent l = {.n = -1};
	int fds[2], own;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "hello", 5), 5);
	l.fd = own = fds[0];
	clerk_run(do_take, &l, &l.fd);
	assert_int_equal(l.fd, own);
	assert_int_equal(l.n, 5);
	assert_memory_equal(l.text, "hello", 5);
	/* it keeps nothing: the pipe ends with the last number here */
	close(fds[0]);
	assert_int_equal(write(fds[1], "x", 1), -1);
	close(fds[1]);
}

/* A pipe that was open before the clerk began has its end here. */
static void test_holds_nothing_open(void **state)
{
	char byte;
	int fds[2];

	tear_down(state);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(set_up(state), 0);
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 0);
	close(fds[0]);
}

static void test_reads(void **state)
{
	char text[64];
	long n = clerk_read("/proc/self/comm", text, sizeof(text));

	assert_true(n > 1);
	assert_int_equal(text[n - 1], '\n');
	assert_int_equal(clerk_read("/no/such/file", text, sizeof(text)), -ENOENT);
}

static void *many(void *arg)
{
	char text[64];

	for (int i = 0; i < 2000; i++) {
		struct lent l = {.fd = *(int *)arg};

		clerk_run(do_take, &l, &l.fd);
		assert_int_equal(l.n, sizeof(l.text));
		clerk_read("/proc/self/comm", text, sizeof(text));
	}
	return NULL;
}

static void test_many_callers(void **state)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	pthread_t callers[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&callers[i], NULL, many, &zero), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(callers[i], NULL);
	close(zero);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_takes_no_number_here, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_holds_nothing_open, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many_callers, set_up, tear_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
