/* SPDX-License-Identifier: Apache-2.0 */
/* ends.c - the ways a program can end: each child's status is printed. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test.h"

static char *data;
static volatile uintptr_t nowhere = 8;

static void at_exit(void)
{
	CHECK_FILLED(data, 20 * MIB, 1); /* memory is there to the end */
	printf("handler\n");
}

static void *exits(void *arg)
{
	exit(9);
}

/* As a language's runtime that goes around the C library would. */
static void raw_exit(long status)
{
#if defined(__x86_64__)
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_exit), "D"(status) : "rcx", "r11", "memory");
#else
	syscall(SYS_exit, status);
#endif
}

static void *exits_raw(void *arg)
{
	usleep(300000);
	CHECK_FILLED(data, 20 * MIB, 1);
	raw_exit(15);
	return NULL;
}

static void *exits_later(void *arg)
{
	usleep(300000);
	CHECK_FILLED(data, 20 * MIB, 1);
	return NULL;
}

/* getppid() ends in the way that is told. */
static void forbid(unsigned how)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, how),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, filter};

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void *spins(void *arg)
{
	for (;;)
		pressure();
	return NULL;
}

static void end(int how)
{
	pthread_t thread;

	switch (how) {
	case 0:
		exit(3);
	case 1:
		_exit(4);
	case 2:
		abort();
	case 3:
		raise(SIGKILL);
		break;
	case 4:
		*(volatile char *)nowhere = 1;
		break;
	case 5:
		pthread_create(&thread, NULL, exits, NULL);
		pthread_join(thread, NULL);
		break;
	case 6: /* in the middle of everything */
		pthread_create(&thread, NULL, spins, NULL);
		usleep(30000);
		exit(10);
	case 7:
		quick_exit(11);
	case 8:
		pthread_create(&thread, NULL, spins, NULL);
		usleep(30000);
		raise(SIGTERM);
		break;
	case 10: /* the only thread ends, and nobody but the kernel hears of it */
		raw_exit(13);
		break;
	case 11:
		forbid(SECCOMP_RET_KILL_THREAD);
		syscall(SYS_getppid);
		break;
	case 12: /* main() ends first; which status counts depends on the kernel */
		pthread_create(&thread, NULL, exits_raw, NULL);
		raw_exit(15);
		break;
	case 13:
		pthread_create(&thread, NULL, exits_later, NULL);
		pthread_exit(NULL);
		break;
	case 14:
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		syscall(SYS_getppid);
		break;
	case 9: /* main() returns */
		return;
	}
}

int main(void)
{
	struct rlimit none = {0, 0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_CORE, &none);
	data = malloc(20 * MIB);
	fill(data, 20 * MIB, 1);
	for (int how = 0; how < 15; how++) {
		int status;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (!pid) {
			if (how != 6 && how != 8 && how != 13)
				atexit(at_exit);
			pressure();
			end(how);
			return 12;
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		printf("%d: status %x\n", how, status);
	}
	return 0;
}
