/* SPDX-License-Identifier: Apache-2.0 */
/* bench_donor.c - see bench.h: a donor of our own, for as long as one run lasts. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/transport/transport.h"
#include "libleap/util/sys.h"
#include "tools/bench.h"
#include "tools/tool.h"

#define READY_MS 10000
#define END_MS   5000

/* In the child. Its last words go to the parent through stderr. */
static void become_donor(const char *path, const char *listen, uint64_t bytes, int log_fd,
			 pid_t parent)
{
	char memory[32];

	snprintf(memory, sizeof(memory), "%lluM", (unsigned long long)(bytes >> 20));
	dup2(log_fd, STDERR_FILENO);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	execl(path, path, "--listen", listen, "--memory", memory, "--log-level", "error", NULL);
	fprintf(stderr, "%s", strerror(errno));
	_exit(1);
}

/* Reads what the donor says until it is ready; the address it listens on is the line's end. */
static int wait_ready(struct bench_donor *donor)
{
	static const char ready[] = "ready on ";
	uint64_t end = clock_ns() + READY_MS * 1000000ull;
	char log[2048] = "", *at;
	size_t n = 0;

	for (;;) {
		struct pollfd p = {.fd = donor->log_fd, .events = POLLIN};
		uint64_t now = clock_ns();
		ssize_t got;

		if (now >= end || poll(&p, 1, (int)((end - now) / 1000000) + 1) != 1)
			return error_set(ETIMEDOUT, "leap-donor was not ready after %d s",
					 READY_MS / 1000);
		got = read(donor->log_fd, log + n, sizeof(log) - 1 - n);
		if (got <= 0) {
			log[strcspn(log, "\n")] = '\0';
			return error_set(ECHILD, "leap-donor did not start: %s", log);
		}
		n += (size_t)got;
		log[n] = '\0';
		at = strstr(log, ready);
		if (!at || !strchr(at, '\n'))
			continue;
		at += sizeof(ready) - 1;
		snprintf(donor->uri, sizeof(donor->uri), "%.*s", (int)strcspn(at, " \n"), at);
		return 0;
	}
}

int bench_donor_start(const char *transport, uint64_t bytes, struct bench_donor *ret_donor)
{
	struct bench_donor donor = {.log_fd = -1};
	char path[4096], listen[64];
	pid_t parent = getpid();
	int fds[2], err;

	err = tool_find_donor(path, sizeof(path));
	if (err)
		return err;
	if (!strcmp(transport, "tcp"))
		strcpy(listen, "tcp://127.0.0.1:0");
	else
		snprintf(listen, sizeof(listen), "shm:@bench-%d", (int)parent);
	/* whole slabs, and some beside those in use */
	bytes = (bytes + bytes / 8 + 8 * LEAP_SLAB_BYTES - 1) / LEAP_SLAB_BYTES * LEAP_SLAB_BYTES;
	if (pipe2(fds, O_CLOEXEC))
		return error_set(errno, "cannot make a pipe: %s", strerror(errno));
	donor.pid = fork();
	if (!donor.pid)
		become_donor(path, listen, bytes, fds[1], parent);
	close(fds[1]);
	donor.log_fd = fds[0];
	if (donor.pid < 0) {
		close(fds[0]);
		return error_set(errno, "cannot fork: %s", strerror(errno));
	}
	err = wait_ready(&donor);
	if (err) {
		bench_donor_stop(&donor);
		return err;
	}
	*ret_donor = donor;
	return 0;
}

void bench_donor_stop(struct bench_donor *donor)
{
	if (donor->pid <= 0)
		return;
	kill(donor->pid, SIGTERM);
	for (int ms = 0; waitpid(donor->pid, NULL, WNOHANG) == 0; ms++) {
		if (ms == END_MS)
			kill(donor->pid, SIGKILL);
		usleep(1000);
	}
	close(donor->log_fd);
	donor->pid = 0;
}
