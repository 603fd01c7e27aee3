/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - one line, one write(2).
 *
 * The line is made on the stack. Control bytes (texts of peers may hold them) become '?', so
 * that a line is one line and a terminal is safe. errno is kept: a line may be written between a
 * call and its check.
 */
#include "libleap/log.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>

#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

static const char *log_name = "leap";
static int log_level = LOG_LEVEL_WARN;
static int log_fd = 2;
static log_sink *log_taker;

void log_set_name(const char *name)
{
	__atomic_store_n(&log_name, name, __ATOMIC_RELEASE);
}

void log_set_level(enum log_level level)
{
	__atomic_store_n(&log_level, (int)level, __ATOMIC_RELAXED);
}

enum log_level log_get_level(void)
{
	return (enum log_level)__atomic_load_n(&log_level, __ATOMIC_RELAXED);
}

void log_set_fd(int fd)
{
	__atomic_store_n(&log_fd, fd, __ATOMIC_RELAXED);
}

int log_get_fd(void)
{
	return __atomic_load_n(&log_fd, __ATOMIC_RELAXED);
}

void log_set_sink(log_sink *sink)
{
	__atomic_store_n(&log_taker, sink, __ATOMIC_RELEASE);
}

void log_put(const char *line, size_t bytes)
{
	long r;

	do {
		r = syscall(SYS_write, log_get_fd(), line, bytes);
	} while (r == -1 && errno == EINTR);
}

void log_write(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	log_sink *taker = __atomic_load_n(&log_taker, __ATOMIC_ACQUIRE);
	char line[LOG_LINE_BYTES];
	size_t start, n;
	va_list ap;

	if (level > log_get_level())
		return;
	start = fmt_print(line, sizeof(line) - 1,
			  "%s[%ld]: ", __atomic_load_n(&log_name, __ATOMIC_ACQUIRE),
			  (long)syscall(SYS_getpid));
	va_start(ap, format);
	n = start + fmt_vprint(line + start, sizeof(line) - 1 - start, format, ap);
	va_end(ap);
	while (n > start && line[n - 1] == '\n')
		n--;
	for (size_t i = start; i < n; i++) {
		if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
			line[i] = '?';
	}
	line[n++] = '\n';
	if (!taker || !taker(level, line, n))
		log_put(line, n);
	errno = saved_errno;
}

void abort_now(void)
{
	sigset_t set;

	/* a pager thread blocks all signals, so abort() alone would wait */
	sigemptyset(&set);
	sigaddset(&set, SIGABRT);
	signal(SIGABRT, SIG_DFL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	syscall(SYS_tgkill, getpid(), sys_gettid(), SIGABRT);
	syscall(SYS_exit_group, 134);
	__builtin_unreachable();
}
