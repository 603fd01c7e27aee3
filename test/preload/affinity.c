/* SPDX-License-Identifier: Apache-2.0 */
/* affinity.c - a program that faults much sees, sets and passes on the affinity that it would have alone. */
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>

#include "test.h"

extern char **environ;

static unsigned char *data;
static const size_t pages = 40 * MIB / PAGE;
static cpu_set_t all;

/* Faults, one after the other. */
static void storm(void)
{
	static uint64_t state;

	for (int i = 0; i < 2000; i++) {
		size_t p = next_random(&state) % pages;

		CHECK(wrong_at(data + p * PAGE, 64, 7 + p) == -1);
	}
}

static const char *compared(const cpu_set_t *set)
{
	return CPU_EQUAL(set, &all) ? "all" : "other";
}

static void *say(void *what)
{
	cpu_set_t set;

	CHECK(!sched_getaffinity(0, sizeof(set), &set));
	printf("%s: %s\n", (char *)what, compared(&set));
	return NULL;
}

static int say_int(void *what)
{
	say(what);
	return 0;
}

static void threads(void)
{
	pthread_t thread;
	thrd_t other;

	storm();
	CHECK(!pthread_create(&thread, NULL, say, "thread"));
	CHECK(!pthread_join(thread, NULL));
	storm();
	CHECK(thrd_create(&other, say_int, "C11 thread") == thrd_success);
	CHECK(thrd_join(other, NULL) == thrd_success);
}

static void wait_for(pid_t pid, const char *what)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	printf("%s: status %d\n", what, status);
}

/* Their children print the mask of the kernel. */
static void processes(void)
{
	char *argv[] = {"grep", "Cpus_allowed_list", "/proc/self/status", NULL};
	FILE *out;
	char line[256] = "";
	pid_t pid;

	fflush(stdout);
	storm();
	pid = fork();
	if (!pid) {
		say("fork");
		fflush(stdout);
		_exit(0);
	}
	wait_for(pid, "fork");
	fflush(stdout);
	storm();
	pid = vfork();
	if (!pid) {
		execvp(argv[0], argv);
		_exit(127);
	}
	wait_for(pid, "vfork");
	storm();
	CHECK(!posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ));
	wait_for(pid, "spawn");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		storm();
		execlp(argv[0], argv[0], argv[1], argv[2], NULL);
		_exit(127);
	}
	wait_for(pid, "execlp");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		storm();
		execle("/bin/sh", "sh", "-c",
		       "echo $WHO; exec grep Cpus_allowed_list /proc/self/status", NULL,
		       (char *const[]){"WHO=me", "PATH=/usr/bin:/bin", NULL});
		_exit(127);
	}
	wait_for(pid, "execle");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		storm();
		syscall(SYS_execve, "/bin/grep", argv, environ);
		_exit(127);
	}
	wait_for(pid, "execve");
	fflush(stdout);
	storm();
	printf("system: %d\n", system("grep Cpus_allowed_list /proc/self/status"));
	storm();
	out = popen("grep Cpus_allowed_list /proc/self/status", "r");
	CHECK(out && fgets(line, sizeof(line), out));
	pclose(out);
	printf("popen: %s", line);
}

static void own(void)
{
	cpu_set_t set, one;
	int cpu = 0;

	storm();
	say("after many faults");
	storm();
	CHECK(!pthread_getaffinity_np(pthread_self(), sizeof(set), &set));
	printf("of this thread: %s\n", compared(&set));
	for (cpu = 0; !CPU_ISSET(cpu, &all); cpu++)
		;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	storm();
	CHECK(!sched_setaffinity(0, sizeof(one), &one));
	storm();
	CHECK(!sched_getaffinity(0, sizeof(set), &set));
	printf("set to one: %d\n", CPU_EQUAL(&set, &one));
	CHECK(!pthread_setaffinity_np(pthread_self(), sizeof(all), &all));
	storm();
	say("set to all");
}

/* Nothing of it stays when it does not fault. */
static void rest(void)
{
	struct timespec t = {.tv_nsec = 100000000};
	char line[256];
	FILE *f;

	storm();
	nanosleep(&t, NULL);
	f = fopen("/proc/thread-self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "Cpus_allowed_list", 17))
			printf("rested: %s", line);
	if (f)
		fclose(f);
}

int main(void)
{
	CHECK(!sched_getaffinity(0, sizeof(all), &all));
	data = malloc(pages * PAGE);
	for (size_t p = 0; p < pages; p++)
		fill(data + p * PAGE, PAGE, 7 + p);
	own();
	threads();
	processes();
	rest();
	return 0;
}
