/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/error.c libleap/log.c libleap/util/fmt.c */
/*
 * The sentence of the last error, and the lines of the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "libleap/error.h"
#include "libleap/log.h"

static int pipe_fds[2];

static int set_up(void **state)
{
	log_set_name("leap");
	log_set_level(LOG_LEVEL_WARN);
	error_clear();
	if (pipe2(pipe_fds, O_NONBLOCK))
		return -1;
	log_set_fd(pipe_fds[1]);
	return 0;
}

static int tear_down(void **state)
{
	log_set_fd(2);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* What came through the pipe, as a string. */
static const char *logged(void)
{
	static char text[8192];
	ssize_t n = read(pipe_fds[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void test_set_returns_code(void **state)
{
	assert_string_equal(error_last(), "");
	assert_int_equal(error_set(ENOENT, "no %s of %d", "page", 7), -ENOENT);
	assert_string_equal(error_last(), "no page of 7");
	error_clear();
	assert_string_equal(error_last(), "");
}

static void test_prefix(void **state)
{
	error_set(EIO, "it broke");
	assert_int_equal(error_prefix(-EIO, "leap_open"), -EIO);
	assert_string_equal(error_last(), "leap_open: it broke");
	assert_int_equal(error_prefix(-EIO, "again"), -EIO);
	assert_string_equal(error_last(), "again: leap_open: it broke");
}

static void test_own_text_as_argument(void **state)
{
	error_set(EIO, "cause");
	error_set(EIO, "effect (%s)", error_last());
	assert_string_equal(error_last(), "effect (cause)");
}

static void test_long_sentences_are_cut(void **state)
{
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	error_set(EIO, "%s", text);
	assert_int_equal(strlen(error_last()), 511);
	for (int i = 0; i < 100; i++)
		error_prefix(-EIO, "prefix");
	assert_int_equal(strlen(error_last()), 511);
	assert_memory_equal(error_last(), "prefix: prefix: ", 16);
}

static void *other_thread(void *arg)
{
	if (error_last()[0])
		return "not empty at first";
	error_set(EPERM, "theirs");
	return strcmp(error_last(), "theirs") ? "wrong" : NULL;
}

static void test_each_thread_has_its_own(void **state)
{
	pthread_t thread;
	void *wrong;

	error_set(EIO, "mine");
	assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
	pthread_join(thread, &wrong);
	assert_null(wrong);
	assert_string_equal(error_last(), "mine");
}

static void test_log_line(void **state)
{
	char expected[128];

	log_warn("donor %s is %d%% full", "a:1", 99);
	snprintf(expected, sizeof(expected), "leap[%d]: donor a:1 is 99%% full\n", getpid());
	assert_string_equal(logged(), expected);
	log_set_name("leap-donor");
	log_error("x\n");
	snprintf(expected, sizeof(expected), "leap-donor[%d]: x\n", getpid());
	assert_string_equal(logged(), expected);
}

static void test_log_levels(void **state)
{
	static const enum log_level levels[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
						LOG_LEVEL_DEBUG};

	for (int set = 0; set < 4; set++) {
		log_set_level(levels[set]);
		assert_int_equal(log_get_level(), levels[set]);
		for (int used = 0; used < 4; used++) {
			log_write(levels[used], "line");
			assert_int_equal(logged()[0] != '\0', used <= set);
		}
	}
}

static void test_log_is_one_safe_line(void **state)
{
	char text[4000];
	const char *line;
	size_t n;

	log_error("a\nb\x1b[2J\tc\x7f"
		  "d");
	line = strchr(logged(), ':');
	assert_string_equal(line, ": a?b?[2J\tc?d\n");
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_error("%s", text);
	line = logged();
	n = strlen(line);
	assert_true(n <= 1024 && n > 1000);
	assert_int_equal(line[n - 1], '\n');
	assert_ptr_equal(strchr(line, '\n'), line + n - 1);
}

static void test_log_keeps_errno(void **state)
{
	log_set_fd(-1);
	errno = EXDEV;
	log_error("into the void");
	assert_int_equal(errno, EXDEV);
	log_set_fd(pipe_fds[1]);
	assert_int_equal(log_get_fd(), pipe_fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set_returns_code, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_prefix, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_own_text_as_argument, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_sentences_are_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_each_thread_has_its_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_log_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_log_levels, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_log_is_one_safe_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_log_keeps_errno, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
