/* SPDX-License-Identifier: Apache-2.0 */
/* signals.c - timers that fire while memory is read, by the program and by system calls for it. */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "test.h"

#define LEN (32 * MIB)

static char *data;
static volatile unsigned long ticks, sum;

static void on_tick(int sig)
{
	ticks++;
	sum += (unsigned char)data[mix(ticks) % LEN]; /* far away memory, in a handler */
}

static void timer(int usec)
{
	struct itimerval it = {{0, usec}, {0, usec}};

	setitimer(ITIMER_REAL, &it, NULL);
}

/* Reads into memory that is not local; a signal may cut a read short, as anywhere. */
static void read_all(int fd, char *to, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, to + got, len - got);

		CHECK(n > 0 || (n < 0 && errno == EINTR));
		got += n > 0 ? (size_t)n : 0;
	}
}

static void transfers(void)
{
	for (int round = 0; round < 4; round++) {
		int fd[2], status;
		pid_t pid;

		CHECK(!pipe(fd));
		timer(0);
		pid = fork();
		if (!pid) {
			char *text = malloc(4 * MIB);

			fill(text, 4 * MIB, (uint64_t)round);
			for (size_t at = 0; at < 4 * MIB;) {
				ssize_t n = write(fd[1], text + at, 4 * MIB - at);

				CHECK(n > 0 || (n < 0 && errno == EINTR));
				at += n > 0 ? (size_t)n : 0;
			}
			_exit(0);
		}
		timer(1000);
		pressure();
		read_all(fd[0], data + (size_t)round * 4 * MIB, 4 * MIB);
		CHECK_FILLED(data + (size_t)round * 4 * MIB, 4 * MIB, (uint64_t)round);
		while (waitpid(pid, &status, 0) < 0)
			CHECK(errno == EINTR);
		CHECK(status == 0);
		close(fd[0]);
		close(fd[1]);
	}
	puts("transfers");
}

static void touches(void)
{
	for (int round = 0; round < 4; round++) {
		for (size_t i = 0; i < LEN; i += PAGE) {
			CHECK((unsigned char)data[i + 8] == (unsigned char)(i >> 12) || round == 0);
			data[i + 8] = (char)(i >> 12);
		}
	}
	puts("touches");
}

/* The pager's threads take no signals: all come to this thread, also those for the process. */
static void who(void)
{
	sigset_t set;
	int sig;

	timer(0);
	signal(SIGUSR1, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 200; i++) {
		kill(getpid(), SIGUSR1);
		CHECK(!sigwait(&set, &sig) && sig == SIGUSR1);
	}
	puts("who");
}

static void on_alternate(int sig)
{
	char room[4000];

	fill(room, sizeof(room), 3);
	CHECK_FILLED(room, sizeof(room), 3);
	ticks++;
}

/* The kernel writes the frame of a handler into memory that is not local. */
static void alternate_stack(void)
{
	struct sigaction sa = {.sa_handler = on_alternate, .sa_flags = SA_ONSTACK};
	stack_t ss = {.ss_size = 256 * 1024};

	ss.ss_sp = malloc(ss.ss_size);
	CHECK(!sigaltstack(&ss, NULL));
	sigaction(SIGUSR2, &sa, NULL);
	for (int i = 0; i < 20; i++) {
		pressure();
		raise(SIGUSR2);
	}
	puts("alternate stack");
}

int main(void)
{
	struct sigaction sa = {.sa_handler = on_tick, .sa_flags = SA_RESTART};

	setvbuf(stdout, NULL, _IOLBF, 0);
	data = malloc(LEN);
	memset(data, 1, LEN);
	sigaction(SIGALRM, &sa, NULL);
	timer(1000);
	transfers();
	timer(1000);
	touches();
	who();
	alternate_stack();
	CHECK(ticks > 0);
	return 0;
}
