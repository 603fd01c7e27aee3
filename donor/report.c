/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - the donor's log.
 *
 * The journal is spoken to in its native protocol (one datagram of NAME=value lines), which needs
 * no library. A journal that takes nothing now is not waited for: the line goes to stderr.
 *
 * Stderr may be a pipe that nobody reads. So lines go into a pipe of our own, which a thread empties into stderr; when it
 * is full they are counted and lost.
 */
#define _GNU_SOURCE
#include "donor/report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define REPORT_LINE_BYTES 1100
#define STOP_SECONDS      1 /* for those who do not read */

static atomic_int report_level = REPORT_INFO;
static int report_journal_fd = -1;
static int report_pipe[2] = {-1, -1};
static pthread_t report_thread;
static atomic_uint report_lost;

_Static_assert(REPORT_LINE_BYTES <= PIPE_BUF, "a line is not split");

void report_set_level(enum report_level level)
{
	atomic_store(&report_level, (int)level);
}

bool report_use_journal(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	strcpy(sa.sun_path, "/run/systemd/journal/socket");
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		close(fd);
		return false;
	}
	report_journal_fd = fd;
	return true;
}

static bool report_to_journal(enum report_level level, const char *text)
{
	static const int priority[] = {3, 4, 6, 7};
	char buf[1400];
	int n;

	n = snprintf(buf, sizeof(buf), "PRIORITY=%d\nSYSLOG_IDENTIFIER=leap-donor\nMESSAGE=%s\n",
		     priority[level], text);
	if (n >= (int)sizeof(buf))
		n = sizeof(buf) - 1;
	return send(report_journal_fd, buf, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n;
}

static void write_out(const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t r = write(STDERR_FILENO, text, bytes);

		if (r < 0 && errno != EINTR)
			return;
		text += r > 0 ? r : 0;
		bytes -= r > 0 ? (size_t)r : 0;
	}
}

static void line_put(const char *line, size_t bytes)
{
	if (report_pipe[1] < 0)
		write_out(line, bytes);
	else if (write(report_pipe[1], line, bytes) < 0)
		atomic_fetch_add(&report_lost, 1);
}

static void *report_main(void *arg)
{
	char buf[PIPE_BUF];
	unsigned lost;
	ssize_t n;

	while ((n = read(report_pipe[0], buf, sizeof(buf))) > 0) {
		write_out(buf, (size_t)n);
		lost = buf[n - 1] == '\n' ? atomic_exchange(&report_lost, 0) : 0;
		if (lost)
			dprintf(STDERR_FILENO,
				"leap-donor: %u lines are missing here: they came faster than they "
				"could be written\n",
				lost);
	}
	return NULL;
}

int report_start(void)
{
	sigset_t all, saved;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) || fcntl(ends[1], F_SETFL, O_NONBLOCK))
		return -errno;
	report_pipe[0] = ends[0];
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &saved);
	r = pthread_create(&report_thread, NULL, report_main, NULL);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (!r) {
		pthread_setname_np(report_thread, "log");
		report_pipe[1] = ends[1];
	}
	return -r;
}

void report_stop(void)
{
	int fd = report_pipe[1];
	struct timespec end;

	if (fd < 0)
		return;
	report_pipe[1] = -1;
	close(fd);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += STOP_SECONDS;
	pthread_timedjoin_np(report_thread, NULL, &end);
}

void report(enum report_level level, const char *format, ...)
{
	static const char *const word[] = {"error: ", "warning: ", "", ""};
	char text[REPORT_LINE_BYTES - 32], line[REPORT_LINE_BYTES];
	va_list ap;
	int n;

	if ((int)level > atomic_load_explicit(&report_level, memory_order_relaxed))
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = ' ';
	if (report_journal_fd >= 0 && report_to_journal(level, text))
		return;
	n = snprintf(line, sizeof(line), "leap-donor: %s%s\n", word[level], text);
	line_put(line, (size_t)n);
}
