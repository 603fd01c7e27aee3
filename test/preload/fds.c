/* SPDX-License-Identifier: Apache-2.0 */
/* fds.c - programs that close all descriptors, their own and others'. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test.h"

#define LEN (24 * MIB)

static char *data;

static void still_there(const char *what)
{
	pressure();
	CHECK_FILLED(data, LEN, 1);
	fill(data, LEN, 1);
	puts(what);
}

static void close_all(void)
{
	for (int fd = 3; fd < 5000; fd++)
		close(fd);
	still_there("close");
	closefrom(3);
	still_there("closefrom");
	CHECK(!close_range(3, ~0u, 0));
	still_there("close_range");
	CHECK(!close_range(3, 3000, 4)); /* CLOSE_RANGE_CLOEXEC */
	for (int fd = 3; fd < 5000; fd++)
		syscall(SYS_close, fd);
	syscall(SYS_close_range, 3, ~0u, 0);
	still_there("syscall");
	show("twice", close(3));
	show("backwards", close_range(10, 5, 0));
}

static void numbers(void)
{
	int fd[20], n;

	for (int i = 0; i < 20; i++) {
		fd[i] = open("/dev/null", O_RDONLY);
		printf("%d ", fd[i]); /* low numbers are the program's */
	}
	puts("");
	n = fcntl(0, F_DUPFD, 100);
	printf("%d %d\n", n, dup2(0, 200));
	close(n);
	close(200);
	for (int i = 0; i < 20; i++)
		close(fd[i]);
}

static void small_limit(void)
{
	struct rlimit limit;
	pid_t pid;
	int status;

	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = 64;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	still_there("few descriptors");
	pid = fork();
	if (!pid) {
		pressure();
		CHECK_FILLED(data, LEN, 1);
		close_all();
		fflush(stdout);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	data = malloc(LEN);
	fill(data, LEN, 1);
	close_all();
	numbers();
	small_limit();
	return 0;
}
