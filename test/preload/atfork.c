/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atfork.c - fork handlers: of a library that the program is linked with, of the program, of a library that is opened
 * and closed again. They wait for threads that use memory, and their order is the C library's. And forks that fail leave
 * nothing behind.
 *
 * usage: atfork LIBRARY, another copy of the one that the program is linked with
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "atfork_lib.h"
#include "test.h"

#define LEN (24 * MIB)

static char *data, order[64];

static void note(char c)
{
	size_t n = strlen(order);

	if (n + 1 < sizeof(order))
		order[n] = c;
}

static void prepare1(void)
{
	note('1');
}

static void prepare2(void)
{
	note('2');
}

static void after1(void)
{
	note('a');
}

static void after2(void)
{
	note('b');
}

static int expect(pid_t pid)
{
	int status = -1;

	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static void rounds(const char *what)
{
	for (int i = 0; i < 4; i++) {
		pid_t pid;

		memset(order, 0, sizeof(order));
		pressure();
		pid = fork();
		CHECK(!strcmp(order, "21ab"));
		if (!pid) {
			CHECK_FILLED(data, LEN, 1);
			CHECK(atfork_stop() == 0);
			_exit(0);
		}
		CHECK(expect(pid) == 0);
	}
	puts(what);
}

static void *forks(void *arg)
{
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();

		if (!pid) {
			CHECK_FILLED(data, LEN, 1);
			_exit(0);
		}
		CHECK(expect(pid) == 0);
	}
	return NULL;
}

static void at_once(void)
{
	pthread_t thread[2];

	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&thread[i], NULL, forks, NULL));
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	puts("at once");
}

static void opened(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	CHECK(library);
	rounds("opened");
	CHECK(!dlclose(library));
	rounds("closed");
}

/* No descriptor is to be had in the child: it is there and works, or there is none. */
static void limited(void)
{
	struct rlimit few, limit;
	pid_t pid;

	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	few = limit;
	few.rlim_cur = 3;
	for (int i = 0; i < 3; i++) {
		pressure();
		CHECK(!setrlimit(RLIMIT_NOFILE, &few));
		pid = fork();
		if (!pid) {
			CHECK_FILLED(data, LEN, 1);
			_exit(0);
		}
		if (pid > 0)
			CHECK(expect(pid) == 0);
		else
			CHECK(errno == EAGAIN);
		CHECK(wait(NULL) == -1 && errno == ECHILD);
		CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
		CHECK_FILLED(data, LEN, 1);
		pid = fork();
		if (!pid) {
			CHECK_FILLED(data, LEN, 1);
			_exit(0);
		}
		CHECK(expect(pid) == 0);
	}
	puts("limited");
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	setvbuf(stdout, NULL, _IOLBF, 0);
	data = malloc(LEN);
	fill(data, LEN, 1);
	CHECK(!pthread_atfork(prepare1, after1, after1));
	CHECK(!pthread_atfork(prepare2, after2, after2));
	rounds("linked");
	at_once();
	opened(argv[1]);
	limited();
	return atfork_stop();
}
