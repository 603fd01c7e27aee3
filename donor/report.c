/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - the donor's log.
 *
 * The journal is spoken to in its native protocol (one datagram of NAME=value lines), which needs
 * no library.
 */
#include "donor/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static atomic_int report_level = REPORT_INFO;
static int report_journal_fd = -1;

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
	return send(report_journal_fd, buf, (size_t)n, MSG_NOSIGNAL) == n;
}

void report(enum report_level level, const char *format, ...)
{
	static const char *const word[] = {"error: ", "warning: ", "", ""};
	char text[1024], line[1100];
	va_list ap;
	ssize_t r;
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
	do {
		r = write(STDERR_FILENO, line, (size_t)n);
	} while (r < 0 && errno == EINTR);
}
