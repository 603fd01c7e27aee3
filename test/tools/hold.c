/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c - a program for the tests to watch: takes MIB of memory, writes every page's number into
 * it, then reads all pages again and again, until SIGTERM. Exit status 3 if a page is wrong.
 *
 * usage: hold MIB [SLEEP_US_BETWEEN_PASSES]
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

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
	alarm(240);
	for (size_t i = 0; i < pages; i++)
		words[i << 10] = (uint32_t)i + 1;
	printf("filled\n");
	fflush(stdout);
	while (!stop) {
		for (size_t i = 0; i < pages && !stop; i++)
			if (((volatile uint32_t *)words)[i << 10] != (uint32_t)i + 1)
				return 3;
		usleep(pause);
	}
	printf("right to the end\n");
	return 0;
}
