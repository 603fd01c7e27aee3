/* SPDX-License-Identifier: Apache-2.0 */
/* Who is trusted: with a program's pages, with its environment, and with the files that it writes. Most of it needs two users. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leap.h"
#include "libleap/error.h"
#include "libleap/transport/shm_path.h"
#include "libleap/util/fd.h"
#include "test/donor/harness.h"

#define STRANGER 65534

static char dir[64];

static int group_setup(void **state)
{
	strcpy(dir, "/tmp/leap-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return setenv("LEAP_RUN_DIR", dir, 1);
}

static int group_teardown(void **state)
{
	return rmdir(dir);
}

static void only_root(void)
{
	if (geteuid())
		skip();
}

static int stream_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

/* Somebody else listens as shm:NAME. */
static void listen_as_stranger(const char *name)
{
	int fd = stream_socket(), status;
	struct sockaddr_un sa;
	socklen_t len = 0;
	pid_t pid;

	assert_int_equal(shm_path(name, false, &sa, &len), 0);
	pid = fork();
	if (!pid) /* who calls listen() is whom the client is told of */
		_exit(setuid(STRANGER) || bind(fd, (struct sockaddr *)&sa, len) || listen(fd, 8));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* it listens as long as the socket is open here */
}

static int open_shm(const char *name, const char **ret_error)
{
	struct transport_params params = {.deadline_ns = 500000000, .client_name = "test"};
	struct donor_uri uri = {.scheme = "shm"};
	const struct transport_ops *ops;
	struct port *port;
	int r;

	snprintf(uri.host, sizeof(uri.host), "%s", name);
	r = transport_open(&uri, &params, &ops, &port);
	*ret_error = error_last();
	if (!r)
		ops->close(port);
	return r;
}

/* A socket of another user's making gets no pages, wherever it is. */
static void test_strangers_socket(void **state)
{
	static const char *const names[] = {"pool", "@leap-test-trust"};
	char path[128];
	const char *why;

	only_root();
	assert_int_equal(chmod(dir, 0777), 0);
	for (int i = 0; i < 2; i++)
		listen_as_stranger(names[i]);
	assert_int_equal(open_shm("pool", &why), -EPERM);
	assert_non_null(strstr(why, "others can write into the directory"));
	/* by its path neither: anybody could have put it there */
	snprintf(path, sizeof(path), "%s/pool.sock", dir);
	assert_int_equal(open_shm(path, &why), -EPERM);
	assert_int_equal(chmod(dir, 0700), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(open_shm(names[i], &why), -EPERM);
		assert_non_null(strstr(why, "user 65534's"));
	}
	unlink(path);
}

/* The run directory is nobody else's to write into. */
static void test_run_dir(void **state)
{
	char path[128];

	assert_int_equal(rundir_path(path, sizeof(path), 1), 0);
	assert_int_equal(chmod(dir, 0770), 0);
	assert_int_equal(rundir_path(path, sizeof(path), 1), -EPERM);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(rundir_path(path, sizeof(path), 1), 0);
}

static mode_t mode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_mode & 07777;
}

static void test_private_files(void **state)
{
	char path[128], link[128];
	mode_t mask = umask(0);
	int fd;

	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(link, sizeof(link), "%s/link", dir);
	fd = fd_open_private(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(mode_of(fd), 0600);
	assert_int_equal(fchmod(fd, 0644), 0);
	close(fd);
	fd = fd_open_private(path, O_WRONLY);
	assert_int_equal(mode_of(fd), 0600);
	close(fd);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(fd_open_private(link, O_WRONLY), -ELOOP);
	unlink(link);
	if (!geteuid()) {
		assert_int_equal(chown(path, STRANGER, STRANGER), 0);
		assert_int_equal(fd_open_private(path, O_WRONLY), -EPERM);
	}
	unlink(path);
	umask(mask);
}

/* In a process whose user is not the one that started it. */
static int as_other(void)
{
	struct leap_options *options = leap_options_new();
	char path[128], *dir_given = getenv("LEAP_RUN_DIR");

	if (!getauxval(AT_SECURE) || !dir_given)
		return 2;
	setenv("LEAP_LOCAL", "nonsense", 1);
	if (leap_options_from_env(options))
		return 3;
	leap_options_free(options);
	return rundir_path(path, sizeof(path), 0) || !strcmp(path, dir_given) ? 4 : 0;
}

static void test_environment(void **state)
{
	int status;
	pid_t pid;

	only_root();
	pid = fork();
	if (!pid) {
		if (!setresuid(STRANGER, 0, 0))
			execl("/proc/self/exe", "test_trust", "--as-other", NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strangers_socket),
		cmocka_unit_test(test_run_dir),
		cmocka_unit_test(test_private_files),
		cmocka_unit_test(test_environment),
	};

	if (argc > 1 && !strcmp(argv[1], "--as-other"))
		return as_other();
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
