/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.c - leap ctl: reads and changes options of a running program, through the control socket
 * that its session listens on.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/stats.h"
#include "libleap/util/sys.h"
#include "tools/flags.h"
#include "tools/tool.h"

#define MESSAGE_MAX 4500 /* as the session's */

struct ctl {
	uint64_t timeout_ns;
	long pid;
};

static const struct flag ctl_flags[] = {
	{"timeout", FLAG_REQUIRED, "TIME",
	 "how long to wait for an answer (default 60s; bringing much memory home takes long)"},
};

static int set(void *context, const char *name, const char *value)
{
	struct ctl *ctl = context;

	if (parse_time(value, &ctl->timeout_ns) || !ctl->timeout_ns)
		return error_set(EINVAL, "--timeout: '%s' is not a time such as 10s", value);
	return 0;
}

static int no_socket(const struct ctl *ctl, const char *path)
{
	int code = errno;
	struct stats_page page;

	if (!stats_page_read(ctl->pid, &page))
		return error_set(code, "process %ld does not answer on %s (%s)", ctl->pid, path,
				 strerror(code));
	if (code == EACCES || code == EPERM)
		return error_set(code, "process %ld belongs to another user: be that user, or root",
				 ctl->pid);
	return error_set(
		code,
		"process %ld is not under Leap, or not of this user: there is no %s; 'leap "
		"stat' lists those that can be reached",
		ctl->pid, path);
}

static int reach(const struct ctl *ctl)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[80];
	int fd, err = rundir_path(dir, sizeof(dir), 0);

	if (err)
		return err;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%ld.ctl", dir, ctl->pid);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(errno, "cannot make a socket: %s", strerror(errno));
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	err = no_socket(ctl, addr.sun_path);
	close(fd);
	return err;
}

static int no_answer(const struct ctl *ctl)
{
	char text[32];

	format_time(ctl->timeout_ns, text, sizeof(text));
	return error_set(ETIMEDOUT,
			 "process %ld did not answer within %s: it is stopped, or still at work on "
			 "this (the change goes on); --timeout waits longer",
			 ctl->pid, text);
}

/* One request, one answer (NUL-terminated, without its "ok "). */
static int ask(const struct ctl *ctl, const char *request, char answer[MESSAGE_MAX])
{
	int fd = reach(ctl), err = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (fd < 0)
		return fd;
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
		err = error_set(errno, "cannot send to process %ld: %s", ctl->pid, strerror(errno));
		goto close;
	}
	if (poll(&p, 1, (int)(ctl->timeout_ns / 1000000)) != 1) {
		err = no_answer(ctl);
		goto close;
	}
	n = recv(fd, answer, MESSAGE_MAX - 1, 0);
	if (n <= 0) {
		err = error_set(EPIPE,
				"process %ld closed the connection: it ended, or is another "
				"user's",
				ctl->pid);
		goto close;
	}
	answer[n] = '\0';
	if (strncmp(answer, "ok ", 3))
		err = error_set(EINVAL, "%s", !strncmp(answer, "error ", 6) ? answer + 6 : answer);
	else
		memmove(answer, answer + 3, (size_t)n - 2);
close:
	close(fd);
	return err;
}

/* One word of the command line. */
static int do_word(const struct ctl *ctl, const char *word)
{
	char request[MESSAGE_MAX], answer[MESSAGE_MAX];
	const char *value = strchr(word, '=');
	int n, err;

	if (value && (!strncmp(word, "donor-add=", 10) || !strncmp(word, "donor-remove=", 13)))
		n = snprintf(request, sizeof(request), "%.*s %s", (int)(value - word), word,
			     value + 1);
	else
		n = snprintf(request, sizeof(request), "%s %s", value ? "set" : "get", word);
	if (n >= (int)sizeof(request))
		return error_set(E2BIG, "'%.40s...' is too long", word);
	err = ask(ctl, request, answer);
	if (!err && !value)
		printf("%s=%s\n", word, answer);
	return err;
}

static int show_all(const struct ctl *ctl)
{
	for (unsigned i = 0; i < config_table_count; i++) {
		int err = do_word(ctl, config_table[i].name);

		if (err)
			return err;
	}
	return 0;
}

int ctl_main(int argc, char **argv)
{
	struct ctl ctl = {.timeout_ns = 60000000000ull};
	struct command_line line = {
		.usage =
			"ctl [OPTION...] PID [KEY | KEY=VALUE | donor-add=URI | donor-remove=URI]...",
		.about =
			"Shows (KEY) and changes (KEY=VALUE) options of a running program; all options "
			"when only PID is\ngiven. 'leap run --help' tells the options and which are "
			"live. The words are done in order, up to\nthe first that fails.",
		.flags = ctl_flags,
		.nflags = sizeof(ctl_flags) / sizeof(ctl_flags[0]),
		.set = set,
		.context = &ctl,
	};
	int first, err = flags_parse(&line, argc, argv, &first);
	uint32_t pid;

	if (err)
		return err == FLAGS_HELP ? 0 : tool_fail_last(EXIT_USAGE);
	if (first == argc)
		return tool_fail(EXIT_USAGE, "no process is named; write 'leap ctl PID KEY=VALUE'");
	if (parse_u32(argv[first], "", &pid) || !pid || pid > INT32_MAX)
		return tool_fail(EXIT_USAGE, "'%s' is not a process id", argv[first]);
	ctl.pid = (long)pid;
	if (first + 1 == argc)
		err = show_all(&ctl);
	for (int i = first + 1; i < argc && !err; i++)
		err = do_word(&ctl, argv[i]);
	return err ? tool_fail_last(EXIT_FAILED) : 0;
}
