/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/stats.c libleap/error.c libleap/util/fmt.c */
/*
 * The run directory and the published page: its life, reading it while it is written, and
 * hostile files.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "libleap/error.h"
#include "libleap/stats.h"
#include "libleap/util/sys.h"

static char base[64], run_dir[80];

static int set_up(void **state)
{
	snprintf(base, sizeof(base), "/tmp/leap-test-stats-XXXXXX");
	if (!mkdtemp(base))
		return -1;
	snprintf(run_dir, sizeof(run_dir), "%s/run", base);
	setenv("LEAP_RUN_DIR", run_dir, 1);
	return 0;
}

static int tear_down(void **state)
{
	rmdir(run_dir); /* fails, and so does the next, if a test left a file behind */
	if (rmdir(base))
		return -1;
	return 0;
}

static void file_of(long pid, char *path, size_t size)
{
	snprintf(path, size, "%s/%ld.stats", run_dir, pid);
}

static void test_rundir(void **state)
{
	char path[200], expected[200], tiny[8];
	struct stat st;

	assert_int_equal(rundir_path(path, sizeof(path), 0), 0);
	assert_string_equal(path, run_dir);
	assert_int_not_equal(stat(path, &st), 0);
	assert_int_equal(rundir_path(path, sizeof(path), 1), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(rundir_path(path, sizeof(path), 1), 0);
	assert_int_equal(rundir_path(tiny, sizeof(tiny), 0), -ENAMETOOLONG);
	unsetenv("LEAP_RUN_DIR");
	setenv("XDG_RUNTIME_DIR", base, 1);
	assert_int_equal(rundir_path(path, sizeof(path), 0), 0);
	if (geteuid() == 0 && !access("/run", W_OK))
		snprintf(expected, sizeof(expected), "/run/leap");
	else if (geteuid() != 0)
		snprintf(expected, sizeof(expected), "%s/leap", base);
	else
		snprintf(expected, sizeof(expected), "/tmp/leap-0");
	assert_string_equal(path, expected);
	unsetenv("XDG_RUNTIME_DIR");
}

static void test_rundir_of_others(void **state)
{
	char path[200], link[100];

	setenv("LEAP_RUN_DIR", "/proc/self/nothing/here", 1);
	assert_int_not_equal(rundir_path(path, sizeof(path), 1), 0);
	assert_non_null(strstr(error_last(), "LEAP_RUN_DIR"));
	snprintf(link, sizeof(link), "%s/link", base);
	setenv("LEAP_RUN_DIR", link, 1);
	assert_int_equal(symlink("nowhere", link), 0);
	assert_int_equal(rundir_path(path, sizeof(path), 1), -ENOENT);
	unlink(link);
	assert_int_equal(symlink(base, link), 0);
	assert_int_equal(rundir_path(path, sizeof(path), 1),
			 0); /* our own link to our own directory */
	unlink(link);
	assert_int_equal(close(open(link, O_CREAT | O_WRONLY, 0600)), 0);
	assert_int_equal(rundir_path(path, sizeof(path), 1), -ENOTDIR);
	unlink(link);
	if (geteuid() == 0) {
		assert_int_equal(mkdir(link, 0777), 0);
		assert_int_equal(chown(link, 12345, 12345), 0);
		assert_int_equal(rundir_path(path, sizeof(path), 1), -EPERM);
		rmdir(link);
		assert_int_equal(symlink(base, link), 0);
		assert_int_equal(lchown(link, 12345, 12345), 0);
		assert_int_equal(rundir_path(path, sizeof(path), 1), -EPERM);
		unlink(link);
	}
}

static void test_life_of_a_page(void **state)
{
	struct stats_page *page = stats_page_create(), copy;
	char path[120];
	struct stat st;

	assert_non_null(page);
	file_of(getpid(), path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, sizeof(*page));
	assert_true(st.st_blocks > 0);
	page->stats.faults = 77;
	page->ndonors = 1;
	strcpy(page->donor[0].text, "tcp://a:9400");
	strcpy(page->program, "redis-server");
	assert_int_equal(stats_page_read(getpid(), &copy), 0);
	assert_memory_equal(&copy, page, sizeof(copy));
	assert_int_equal(copy.pid, getpid());
	assert_null(stats_page_create()); /* one a process */
	assert_non_null(strstr(error_last(), "another session"));
	stats_page_remove(page);
	assert_int_not_equal(stat(path, &st), 0);
	assert_int_equal(stats_page_read(getpid(), &copy), -ENOENT);
	page = stats_page_create();
	assert_non_null(page);
	stats_page_remove(page);
	stats_page_remove(NULL);
}

/* The path is that of the time of creation, whatever the program does to its environment. */
static void test_environment_may_change(void **state)
{
	struct stats_page *page = stats_page_create();
	struct stat st;
	char path[120];

	assert_non_null(page);
	setenv("LEAP_RUN_DIR", "/nowhere", 1);
	stats_page_remove(page);
	file_of(getpid(), path, sizeof(path));
	assert_int_not_equal(stat(path, &st), 0);
}

static void test_create_fails_without_directory(void **state)
{
	setenv("LEAP_RUN_DIR", "/proc/leap", 1);
	errno = EXDEV;
	assert_null(stats_page_create());
	assert_int_equal(errno, EXDEV);
	assert_non_null(strstr(error_last(), "/proc/leap"));
	setenv("LEAP_RUN_DIR", run_dir, 1);
	stats_page_remove(stats_page_create()); /* and works again */
}

/* Writes a file as some process left it. */
static void write_file(long pid, const void *data, size_t n)
{
	char path[120];
	int fd;

	rundir_path(path, sizeof(path), 1);
	file_of(pid, path, sizeof(path));
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
}

static struct stats_page make_page(long pid)
{
	struct stats_page page;

	memset(&page, 0, sizeof(page));
	page.magic = STATS_MAGIC;
	page.size = sizeof(page);
	page.pid = (uint64_t)pid;
	page.start_ns = clock_ns();
	return page;
}

static void expect_read(const struct stats_page *page, size_t n, long pid, int err)
{
	struct stats_page copy;
	char path[120];

	memset(&copy, 0x5a, sizeof(copy));
	write_file(pid, page, n);
	assert_int_equal(stats_page_read(pid, &copy), err);
	if (err) { /* untouched */
		assert_true(error_last()[0]);
		assert_int_equal(copy.magic, 0x5a5a5a5a5a5a5a5a);
	}
	file_of(pid, path, sizeof(path));
	unlink(path);
}

static void test_files_that_are_no_pages(void **state)
{
	long pid = getpid();
	struct stats_page page = make_page(pid), bad;

	expect_read(&page, sizeof(page), pid, 0);
	expect_read(&page, 0, pid, -EPROTO);
	expect_read(&page, 4, pid, -EPROTO);
	expect_read(&page, sizeof(page) - 1, pid, -EPROTO);
	bad = page;
	bad.magic++;
	expect_read(&bad, sizeof(bad), pid, -EPROTO);
	bad = page;
	bad.size--;
	expect_read(&bad, sizeof(bad), pid, -EPROTO);
	bad = page;
	bad.pid++;
	expect_read(&bad, sizeof(bad), pid, -EPROTO);
	bad = page;
	bad.seq = 1; /* the writer died in a write */
	expect_read(&bad, sizeof(bad), pid, -EPROTO);
}

static void test_hostile_content_is_tamed(void **state)
{
	struct stats_page page, copy;
	char path[120];

	memset(&page, 'x', sizeof(page));
	page.magic = STATS_MAGIC;
	page.size = sizeof(page);
	page.seq = 2;
	page.pid = (uint64_t)getpid();
	page.ndonors = 0xffffffff;
	write_file(getpid(), &page, sizeof(page));
	assert_int_equal(stats_page_read(getpid(), &copy), 0);
	assert_int_equal(copy.ndonors, STATS_DONORS_MAX);
	assert_int_equal(strlen(copy.program), sizeof(copy.program) - 1);
	assert_int_equal(strlen(copy.frontend), sizeof(copy.frontend) - 1);
	assert_int_equal(strlen(copy.hits), sizeof(copy.hits) - 1);
	for (int i = 0; i < STATS_DONORS_MAX; i++)
		assert_int_equal(strlen(copy.donor[i].text), sizeof(copy.donor[i].text) - 1);
	file_of(getpid(), path, sizeof(path));
	unlink(path);
}

static void test_other_owner(void **state)
{
	struct stats_page page = make_page(getpid()), copy;
	char path[120];

	if (geteuid() != 0)
		skip();
	write_file(getpid(), &page, sizeof(page));
	file_of(getpid(), path, sizeof(path));
	assert_int_equal(chown(path, 12345, 12345), 0);
	assert_int_equal(stats_page_read(getpid(), &copy), -EPROTO);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0); /* must not hang */
	assert_int_equal(stats_page_read(getpid(), &copy), -EPROTO);
	unlink(path);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_int_not_equal(stats_page_read(getpid(), &copy), 0);
	unlink(path);
}

static void test_stale_files(void **state)
{
	struct stats_page page, copy;
	char path[120];
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	page = make_page(pid);
	expect_read(&page, sizeof(page), pid, -ENOENT); /* the process is gone */
	/* the process lives, but began after the page was made: another one of the same number */
	page = make_page(getpid());
	page.start_ns = 1;
	expect_read(&page, sizeof(page), getpid(), -ENOENT);
	/* a stale file of our own number gives way */
	write_file(getpid(), &page, sizeof(page));
	struct stats_page *mine = stats_page_create();

	assert_non_null(mine);
	assert_int_equal(stats_page_read(getpid(), &copy), 0);
	assert_true(copy.start_ns > 1);
	stats_page_remove(mine);
	file_of(getpid(), path, sizeof(path));
	assert_int_not_equal(access(path, F_OK), 0);
}

/* A forked child may publish its own page; the parent's stays. */
static void test_fork(void **state)
{
	struct stats_page *page = stats_page_create(), copy;
	int status;
	pid_t pid;

	assert_non_null(page);
	pid = fork();
	if (pid == 0) {
		struct stats_page *mine;

		munmap(page, sizeof(*page));
		mine = stats_page_create();
		if (!mine || stats_page_read(getpid(), &copy) || stats_page_read(getppid(), &copy))
			_exit(1);
		stats_page_remove(mine);
		_exit(stats_page_read(getppid(), &copy) ? 2 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(stats_page_read(getpid(), &copy), 0);
	stats_page_remove(page);
}

static bool stop_writing;

static void *write_page(void *arg)
{
	struct stats_page *page = arg;
	uint64_t n = 0;

	while (!__atomic_load_n(&stop_writing, __ATOMIC_RELAXED)) {
		n++;
		__atomic_fetch_add(&page->seq, 1, __ATOMIC_ACQ_REL);
		page->stats.faults = n;
		page->stats.io_errors = n;
		page->donor[STATS_DONORS_MAX - 1].bytes_read = n;
		page->update_ns = n;
		__atomic_fetch_add(&page->seq, 1, __ATOMIC_ACQ_REL);
		if (n % 16 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
	}
	return NULL;
}

/* Every copy is of one moment. */
static void test_consistent_while_written(void **state)
{
	struct stats_page *page = stats_page_create(), copy;
	uint64_t last = 0, changes = 0;
	pthread_t thread;

	assert_non_null(page);
	assert_int_equal(pthread_create(&thread, NULL, write_page, page), 0);
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(stats_page_read(getpid(), &copy), 0);
		assert_int_equal(copy.stats.faults, copy.update_ns);
		assert_int_equal(copy.stats.io_errors, copy.update_ns);
		assert_int_equal(copy.donor[STATS_DONORS_MAX - 1].bytes_read, copy.update_ns);
		assert_true(copy.update_ns >= last);
		changes += copy.update_ns > last;
		last = copy.update_ns;
	}
	__atomic_store_n(&stop_writing, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_true(changes > 10);
	stats_page_remove(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rundir, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rundir_of_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_life_of_a_page, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_environment_may_change, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_create_fails_without_directory, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_files_that_are_no_pages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_hostile_content_is_tamed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_owner, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stale_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fork, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_consistent_while_written, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
