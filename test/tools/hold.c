/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c - a program for the tests to watch: takes MIB of memory, writes every page's number into
 * it, then reads all pages again and again, until SIGTERM. Exit status 3 if a page is wrong. SIGUSR1: forks a child that
 * reads a page, maps and unmaps memory, and says so.
 *
 * usage: hold MIB [SLEEP_US_BETWEEN_PASSES]
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAP_BYTES ((size_t)1 << 20)

static volatile sig_atomic_t stop, asked;

static void on_usr1(int sig)
{
	asked = sig;
}

static int fork_and_map(const uint32_t *words)
{
	char *p = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t pid;

	if (p == MAP_FAILED)
		return 4;
	*(volatile char *)p = 1;
	munmap(p, MAP_BYTES);
	pid = fork();
	if (!pid)
		_exit(((const volatile uint32_t *)words)[0] != 1);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return 4;
	printf("forked\n");
	fflush(stdout);
	return 0;
}

static void on_signal(int sig)
{
	stop = sig;
}

int main(int argc, char **argv)
{
	size_t pages = argc > 1 ? strtoul(argv[1], NULL, 10) * 256 : 0;
	useconds_t pause = argc > 2 ? (useconds_t)strtoul(argv[2], NULL, 10) : 0;
	uint32_t *words = pages ? malloc(pages << 12) : NULL;

	if (!words)
		return 2;
	signal(SIGTERM, on_signal);
	signal(SIGUSR1, on_usr1);
	alarm(240);
	for (size_t i = 0; i < pages; i++)
		words[i << 10] = (uint32_t)i + 1;
	printf("filled\n");
	fflush(stdout);
	while (!stop) {
		for (size_t i = 0; i < pages && !stop; i++) {
			if (((volatile uint32_t *)words)[i << 10] != (uint32_t)i + 1)
				return 3;
			if (asked && fork_and_map(words))
				return 4;
			asked = 0;
		}
		usleep(pause);
	}
	printf("right to the end\n");
	return 0;
}
