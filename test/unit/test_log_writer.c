/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/log.c libleap/log_writer.c libleap/thread.c libleap/util/proc.c libleap/lock.c libleap/error.c libleap/util/fmt.c libleap/util/fd.c libleap/util/mem.c */
/*
 * Lines of a paged process: written by another thread, nobody waits for long, and those that are missing are counted.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "libleap/lock.h"
#include "libleap/log.h"
#include "libleap/log_writer.h"
#include "libleap/runtime.h"

__thread int runtime_depth __attribute__((tls_model("initial-exec")));

static int fds[2], saved;

/* stderr is a pipe when the session opens. */
static int set_up(void **state)
{
	saved = dup(2);
	if (pipe(fds) || fcntl(fds[1], F_SETPIPE_SZ, 4096) < 0)
		return -1;
	dup2(fds[1], 2);
	log_writer_open();
	dup2(saved, 2);
	close(fds[1]);
	return log_writer_start();
}

static int tear_down(void **state)
{
	close(fds[0]);
	close(saved);
	return 0;
}

/* All that comes until the writers' end is closed. */
static char *all(void)
{
	static char text[1 << 18];
	size_t at = 0;
	ssize_t n;

	while ((n = read(fds[0], text + at, sizeof(text) - 1 - at)) > 0)
		at += (size_t)n;
	text[at] = '\0';
	return text;
}

static void *read_all(void *arg)
{
	return all();
}

static void test_goes_to_the_first_stderr(void **state)
{
	const char *text;

	log_error("one");
	log_warn("two");
	log_writer_close();
	text = all();
	assert_non_null(strstr(text, "]: one\n"));
	assert_non_null(strstr(text, "]: two\n"));
	assert_int_equal(log_get_fd(), 2);
}

static void *say(void *arg)
{
	for (int i = 0; i < 2000; i++)
		log_warn("thread %s line %d", (const char *)arg, i);
	return NULL;
}

/* Four threads, a pipe of one page: each line that comes is whole, in the order of its thread, and the rest is counted. */
static void test_whole_or_counted(void **state)
{
	static char *const names[4] = {"a", "b", "c", "d"};
	pthread_t reader, thread[4];
	int next[4] = {0};
	unsigned long lines = 0, missing = 0;
	char *text, *end;

	pthread_create(&reader, NULL, read_all, NULL);
	for (int t = 0; t < 4; t++)
		pthread_create(&thread[t], NULL, say, names[t]);
	for (int t = 0; t < 4; t++)
		pthread_join(thread[t], NULL);
	log_writer_close();
	pthread_join(reader, (void **)&text);
	for (; *text; text = end + 1) {
		char name;
		int i, n;

		end = strchr(text, '\n');
		assert_non_null(end);
		*end = '\0';
		text = strchr(text, ' ') + 1;
		if (sscanf(text, "thread %c line %d", &name, &i) == 2) {
			assert_true(i >= next[name - 'a']);
			next[name - 'a'] = i + 1;
			lines++;
		} else {
			assert_int_equal(sscanf(text, "%d lines are missing", &n), 1);
			missing += (unsigned long)n;
		}
	}
	assert_int_equal(lines + missing, 8000);
}

/* Nobody reads the pipe: whoever speaks goes on all the same. */
static void test_nobody_reads(void **state)
{
	for (int i = 0; i < 500; i++)
		log_error("a sentence that nobody reads, number %d", i);
	assert_true(log_writer_runs());
	close(fds[0]); /* SIGPIPE is blocked in the pager's threads: the rest goes nowhere */
	log_writer_close();
	assert_false(log_writer_runs());
	fds[0] = -1;
}

/* A reader waits for the end of the pipe: it is not held open behind the program's back. */
static void test_given_up(void **state)
{
	log_writer_stderr_gone();
	assert_string_equal(all(), "");
	log_error("into the void");
	log_writer_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_goes_to_the_first_stderr, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_whole_or_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nobody_reads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_given_up, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
