/* SPDX-License-Identifier: Apache-2.0 */
/* donors.c - leap-donor processes that stress starts, kills and starts anew; the disturber that it starts. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/stress/enemies.h"

#define PR_SET_MEMORY_MERGE_ 67 /* newer than the C library's headers */
#define DONORS_MAX           4

/* --- the disturber ---------------------------------------------------------------------------------------------- */

static pid_t disturber;

int disturb_start(unsigned seconds)
{
	char pid[16], time[16], byte;
	int fds[2];

	/* KSM may merge what is here and will be */
	prctl(PR_SET_MEMORY_MERGE_, 1, 0, 0, 0);
	snprintf(pid, sizeof(pid), "%d", getpid());
	snprintf(time, sizeof(time), "%u", seconds);
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	disturber = fork();
	if (!disturber) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(fds[1], 1);
		execl(DISTURB, DISTURB, "--ready", "--seconds", time, "--pid", pid, NULL);
		_exit(127);
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) != 1) {
		close(fds[0]);
		return -ENOEXEC;
	}
	close(fds[0]);
	return 0;
}

void disturb_stop(void)
{
	if (disturber <= 0)
		return;
	kill(disturber, SIGTERM);
	waitpid(disturber, NULL, 0);
	disturber = 0;
}

void disturb_advise(uint64_t random, void *addr, size_t bytes)
{
	static const int advices[] = {20 /* COLD */, 21 /* PAGEOUT */, 25 /* COLLAPSE */,
				      MADV_WILLNEED, MADV_HUGEPAGE,    MADV_NOHUGEPAGE,
				      MADV_MERGEABLE};

	madvise(addr, bytes, advices[random % (sizeof(advices) / sizeof(*advices))]);
}

/* --- donors ------------------------------------------------------------------------------------------------------ */

static struct donor {
	pid_t pid; /* 0: dead */
	uint16_t port;
	char shm[48], log[48];
} donors[DONORS_MAX];
static unsigned ndonors, nkilled;
static unsigned wait_turns; /* until the next kill or start */

static uint16_t free_port(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) ||
	    getsockname(fd, (struct sockaddr *)&sa, &len))
		sa.sin_port = 0;
	close(fd);
	return ntohs(sa.sin_port);
}

static const char *donor_path(void)
{
	static char path[4200];
	char self[4096];
	ssize_t n;

	if (getenv("LEAP_DONOR"))
		return getenv("LEAP_DONOR");
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(path, sizeof(path), "%s/../../bin/leap-donor", self);
	return path;
}

static void donor_spawn(struct donor *d)
{
	char tcp[64], shm[64];

	snprintf(tcp, sizeof(tcp), "tcp://127.0.0.1:%u", d->port);
	snprintf(shm, sizeof(shm), "shm:%s", d->shm);
	d->pid = fork();
	if (d->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(open(d->log, O_CREAT | O_WRONLY | O_TRUNC | O_NOFOLLOW, 0600), 2);
	execl(donor_path(), "leap-donor", "--listen", tcp, "--listen", shm, "--memory", "512M",
	      NULL);
	_exit(127);
}

static bool donor_ready(const struct donor *d)
{
	for (int i = 0; i < 200; i++) {
		char text[4096];
		int fd = open(d->log, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

		close(fd);
		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, "ready on"))
			return true;
		usleep(50000);
	}
	return false;
}

int donors_start(const char *transport, unsigned n, char *uris, size_t size)
{
	size_t at = 0;

	for (unsigned i = 0; i < n && i < DONORS_MAX; i++) {
		struct donor *d = &donors[ndonors++];

		d->port = free_port();
		snprintf(d->shm, sizeof(d->shm), "leap-stress-%d-%u", getpid(), i);
		snprintf(d->log, sizeof(d->log), "/tmp/leap-stress-%d-%u.log", getpid(), i);
		donor_spawn(d);
		if (d->pid < 0 || !donor_ready(d))
			return -ESRCH;
		if (!strcmp(transport, "tcp"))
			at += (size_t)snprintf(uris + at, size - at, "%stcp://127.0.0.1:%u",
					       i ? "," : "", d->port);
		else
			at += (size_t)snprintf(uris + at, size - at, "%sshm:%s", i ? "," : "",
					       d->shm);
	}
	return 0;
}

void donors_torment(uint64_t random)
{
	struct donor *d;

	if (ndonors < 2)
		return;
	d = &donors[1 + random % (ndonors - 1)];
	if (wait_turns) {
		wait_turns--;
		return;
	}
	for (unsigned i = 0; i < ndonors; i++)
		if (!donors[i].pid) {
			donor_spawn(&donors[i]);
			wait_turns = 10 + (unsigned)(random >> 32) % 10;
			return;
		}
	kill(d->pid, SIGKILL);
	waitpid(d->pid, NULL, 0);
	d->pid = 0;
	nkilled++;
	wait_turns = (unsigned)(random >> 40) % 8;
}

unsigned donors_killed(void)
{
	return nkilled;
}

long process_kib(int pid)
{
	char path[64], line[256];
	long kib, sum = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %ld", &kib) == 1 ||
		    sscanf(line, "VmSwap: %ld", &kib) == 1)
			sum += kib;
	if (f)
		fclose(f);
	return sum;
}

long donors_kib(void)
{
	long sum = 0;

	for (unsigned i = 0; i < ndonors; i++)
		sum += donors[i].pid > 0 ? process_kib(donors[i].pid) : 0;
	return sum;
}

void donors_stop(void)
{
	for (unsigned i = 0; i < ndonors; i++) {
		if (donors[i].pid > 0) {
			kill(donors[i].pid, SIGKILL);
			waitpid(donors[i].pid, NULL, 0);
		}
		unlink(donors[i].log);
	}
	ndonors = 0;
}
