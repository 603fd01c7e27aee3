/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unseen.c - a fork by an instruction of the program's own, which no library can see: its child reads what the parent
 * wrote, or is ended by a signal; it never reads zeroes.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test.h"

#define LEN (32 * MIB)

static long raw_fork(void)
{
#if defined(__x86_64__)
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_fork) : "rcx", "r11", "memory");
	return r;
#else
	return fork();
#endif
}

/* Nothing but memory and the end of the process. */
static void child(const char *data)
{
	long wrong = wrong_at(data, LEN, 1);

	syscall(SYS_exit_group, wrong < 0 ? 0 : 1);
}

int main(void)
{
	char *data = map_anon(LEN);
	int status = -1;
	long pid;

	for (int i = 0; i < 3; i++) {
		fill(data, LEN, 1);
		pressure();
		pid = raw_fork();
		if (!pid)
			child(data);
		CHECK(pid > 0);
		CHECK(waitpid((pid_t)pid, &status, 0) == pid);
		CHECK(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
		CHECK_FILLED(data, LEN, 1);
		/* one that is seen gets all of it */
		pid = fork();
		if (!pid)
			_exit(wrong_at(data, LEN, 1) < 0 ? 0 : 1);
		CHECK(waitpid((pid_t)pid, &status, 0) == pid);
		CHECK(status == 0);
	}
	puts("right, or a signal");
	return 0;
}
