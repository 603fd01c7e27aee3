/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words.c - a program whose donor dies while its stderr is not what it was.
 *
 * usage: words reopen FD DONOR	closes everything from FD on and opens a file of its own, which becomes FD; says how large
 *				that is after the donor has died
 *        words locked DONOR	writes memory whose pages are lost into the pipe or file that is its stderr, too; the
 *				result goes to the file "result"
 *        words gone MS		gives its stderr up and lives on for so long; its number goes to the file "pid"
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEN ((size_t)24 << 20)

static char *fill(void)
{
	char *p = malloc(LEN);

	for (size_t i = 0; i < LEN; i += 8)
		*(uint64_t *)(p + i) = i * 2654435761u;
	return p;
}

static int reopen(int fd, pid_t donor)
{
	struct stat st;
	char *p;
	int own;

	close_range((unsigned)fd, ~0u, 0);
	own = open("own.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
	p = fill();
	kill(donor, SIGKILL);
	for (int i = 0; i < 20; i++) { /* heartbeats tell the pager; it says so */
		usleep(50000);
		((volatile char *)p)[LEN - 1]++;
	}
	if (own != fd || fstat(own, &st))
		return 1;
	printf("own file: %ld bytes\n", (long)st.st_size);
	return 0;
}

static int locked(pid_t donor)
{
	int result = open("result", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	char *p = fill(), *more = fill();
	ssize_t n;

	memset(more, 'x', LEN);
	kill(donor, SIGKILL);
	n = write(1, p, LEN);
	dprintf(result, "write ended: %zd %s\n", n, n < 0 ? strerror(errno) : "");
	return 0;
}

int main(int argc, char **argv)
{
	alarm(60);
	if (argc == 4 && !strcmp(argv[1], "reopen"))
		return reopen(atoi(argv[2]), atoi(argv[3]));
	if (argc == 3 && !strcmp(argv[1], "locked"))
		return locked(atoi(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "gone")) {
		int null = open("/dev/null", O_RDWR);
		int own = open("pid", O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dprintf(own, "%d\n", (int)getpid());
		dup2(null, 2);
		usleep((useconds_t)atoi(argv[2]) * 1000);
		return 0;
	}
	return 2;
}
