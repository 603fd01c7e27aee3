/* SPDX-License-Identifier: Apache-2.0 */
/* fds.c - programs that close all descriptors, their own and others'. */
#include <fcntl.h>
#include <pthread.h>
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

static void *press(void *arg)
{
	char *p = malloc(LEN);

	for (uint64_t k = 1; !__atomic_load_n((int *)arg, __ATOMIC_RELAXED); k++)
		for (size_t i = 0; i < LEN; i += PAGE)
			*(volatile uint64_t *)(p + i) = i * k;
	free(p);
	return NULL;
}

/* While pages come and go, no number appears below the pager's own, not for a moment: open() gives the lowest one, and there is
 * nothing to close at the next. */
static void while_evicting(void)
{
	int first = open("/dev/null", O_RDONLY), stop = 0, others = 0, found = 0;
	pthread_t thread;

	close(first);
	CHECK(!pthread_create(&thread, NULL, press, &stop));
	for (int i = 0; i < 150000; i++) {
		int fd = open("/dev/null", O_RDONLY);

		others += fd != first;
		close(fd);
		for (int n = first; n < first + 3; n++)
			found += close(n) == 0;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	CHECK(!pthread_join(thread, NULL));
	show("others", others);
	show("found", found);
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
	while_evicting();
	small_limit();
	return 0;
}
