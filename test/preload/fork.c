/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork.c - children read what the parent had at the fork and write their own, while the parent goes on; grandchildren; a
 * parent that ends first; forks in a program with threads and open streams; the other ways to a new process.
 */
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test.h"

#define LEN (32 * MIB)

extern char **environ;
static char *data;

static void wait_for(pid_t pid)
{
	int status = -1;

	CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		fprintf(stderr, "child %d ended with %x\n", (int)pid, status);
	CHECK(status == 0);
}

/* depth generations, each checks its parent's data and writes its own. */
static void family(int depth, uint64_t seed)
{
	pid_t child[2];

	if (!depth)
		return;
	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		CHECK(child[i] >= 0);
		if (!child[i]) {
			CHECK_FILLED(data, LEN, seed);
			fill(data, LEN, seed + 10 + (uint64_t)i);
			family(depth - 1, seed + 10 + (uint64_t)i);
			CHECK_FILLED(data, LEN, seed + 10 + (uint64_t)i);
			_exit(0);
		}
	}
	fill(data, LEN / 2, seed + 100); /* meanwhile */
	pressure();
	CHECK_FILLED(data, LEN / 2, seed + 100);
	for (int i = 0; i < 2; i++)
		wait_for(child[i]);
	CHECK_FILLED(data, LEN / 2, seed + 100);
	fill(data, LEN, seed);
}

static void generations(void)
{
	fill(data, LEN, 1);
	family(2, 1);
	puts("generations");
}

/* Many children one after the other: copies are let go of. */
static void series(void)
{
	for (uint64_t i = 0; i < 40; i++) {
		pid_t pid;

		fill(data + i * MIB / 2, MIB, i);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			CHECK_FILLED(data + i * MIB / 2, MIB, i);
			if (i % 10 == 0)
				pressure();
			CHECK_FILLED(data + i * MIB / 2, MIB, i);
			_exit(0);
		}
		wait_for(pid);
	}
	puts("series");
}

static void parent_first(void)
{
	int fd[2];
	char byte = 0;
	pid_t pid;

	fill(data, LEN, 5);
	pressure();
	CHECK(!pipe(fd));
	pid = fork();
	if (!pid) {
		pid = fork();
		if (pid) /* the grandchild lives on alone */
			_exit(0);
		usleep(100000);
		CHECK_FILLED(data, LEN, 5);
		fill(data, LEN, 6);
		pressure();
		CHECK_FILLED(data, LEN, 6);
		CHECK(write(fd[1], "y", 1) == 1);
		_exit(0);
	}
	wait_for(pid);
	close(fd[1]);
	CHECK(read(fd[0], &byte, 1) == 1 && byte == 'y');
	close(fd[0]);
	CHECK_FILLED(data, LEN, 5);
	puts("parent first");
}

static int stop;

static void *noise(void *arg)
{
	uint64_t i = (uint64_t)(uintptr_t)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		char *p = malloc(50000 + i % 100000);
		FILE *f = fopen("/dev/null", "w");

		fill(p, 50000, i);
		fprintf(f, "%s", "text");
		fclose(f);
		CHECK_FILLED(p, 50000, i++);
		free(p);
	}
	return NULL;
}

static void with_threads(void)
{
	pthread_t thread[3];
	FILE *file[50];

	CHECK(getpwuid(0));
	for (int i = 0; i < 50; i++) { /* streams whose memory is pushed out */
		file[i] = fopen("/dev/null", "w");
		fputs("before", file[i]);
	}
	for (size_t i = 0; i < 3; i++)
		CHECK(!pthread_create(&thread[i], NULL, noise, (void *)(i * 1000000)));
	for (uint64_t i = 0; i < 15; i++) {
		pid_t pid;

		fill(data, LEN / 4, i);
		pressure();
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			CHECK_FILLED(data, LEN / 4, i);
			for (int k = 0; k < 50; k++)
				fprintf(file[k], "in the child %d", k);
			CHECK(getpwuid(0) && getgrgid(0));
			free(malloc(1000));
			exit(0);
		}
		wait_for(pid);
	}
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < 50; i++)
		fclose(file[i]);
	puts("with threads");
}

static int in_clone(void *arg)
{
	CHECK_FILLED(data, LEN, 8);
	fill(data, LEN, 9);
	pressure();
	CHECK_FILLED(data, LEN, 9);
	return (int)(size_t)arg;
}

static void other_ways(void)
{
	char *argv[] = {"true", NULL}, *stack = malloc(MIB);
	pid_t pid;
	int status;
	FILE *f;
	char text[100] = "";

	fill(data, LEN, 8);
	pressure();
	pid = vfork(); /* what is tested. NOLINT(clang-analyzer-security.insecureAPI.vfork) */
	if (!pid) {
		execv("/bin/true", argv);
		_exit(1);
	}
	wait_for(pid);
	CHECK(!posix_spawnp(&pid, "true", NULL, NULL, argv, environ));
	wait_for(pid);
	CHECK(system("exit 7") == 7 << 8);
	f = popen("echo from a pipe", "r");
	CHECK(f && fgets(text, sizeof(text), f));
	fputs(text, stdout);
	CHECK(pclose(f) == 0);
	pid = clone(in_clone, stack + MIB, SIGCHLD, (void *)3);
	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	printf("clone %x\n", status);
	CHECK_FILLED(data, LEN, 8);
	pid = _Fork();
	if (!pid)
		_exit(in_clone((void *)4));
	CHECK(waitpid(pid, &status, 0) == pid);
	printf("_Fork %x\n", status);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
	if (!pid)
		_exit(in_clone((void *)5));
	CHECK(waitpid(pid, &status, 0) == pid);
	printf("SYS_clone %x\n", status);
	pid = (pid_t)syscall(SYS_fork);
	if (!pid)
		_exit(in_clone((void *)6));
	CHECK(waitpid(pid, &status, 0) == pid);
	printf("SYS_fork %x\n", status);
	CHECK_FILLED(data, LEN, 8);
	free(stack);
}

static void daemonise(void)
{
	int fd[2];
	char byte;
	pid_t pid;

	CHECK(!pipe(fd));
	fill(data, LEN, 11);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		CHECK(!daemon(1, 1));
		CHECK_FILLED(data, LEN, 11);
		CHECK(write(fd[1], "d", 1) == 1);
		_exit(0);
	}
	close(fd[1]);
	wait_for(pid);
	CHECK(read(fd[0], &byte, 1) == 1);
	close(fd[0]);
	puts("daemon");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	data = malloc(LEN);
	generations();
	series();
	parent_first();
	with_threads();
	other_ways();
	daemonise();
	return 0;
}
