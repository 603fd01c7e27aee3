/* SPDX-License-Identifier: Apache-2.0 */
/* ends.c - the ways a program can end: each child's status is printed. */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
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
	for (int how = 0; how < 10; how++) {
		int status;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (!pid) {
			if (how != 6 && how != 8)
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
