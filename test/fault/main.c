/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - runs the script for N = 1, 2, 3 ... of every injection, on every way through the pager, until a run
 * passes in which nothing failed.
 *
 * usage: fault [--every | --some TURN] [--way TEXT] [--inject TEXT] [--from N] [--verbose]
 * Without --every N grows faster and faster, which takes an hour, not a day. With --some each injection is tried on
 * one way only, another one each TURN, with N growing faster still, which takes a minute.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/donor/harness.h"
#include "test/fault/fault.h"

#define HANG_MS 40000

/* A way through the pager. In the donor's URI %s is faulty's specification, $TCP the donor's address. */
struct way {
	const char *name;
	const char *options;
	const char *donor;
};

static const struct way ways[] = {
	{"sync move busy", "mover=move frontend=busy", "faultysync:%s:loop:"},
	{"sync move block", "mover=move frontend=block", "faultysync:%s:loop:"},
	{"sync move inline", "mover=move frontend=inline", "faultysync:%s:loop:"},
	{"sync wp busy", "mover=wp frontend=busy", "faultysync:%s:loop:"},
	{"sync wp block", "mover=wp frontend=block", "faultysync:%s:loop:"},
	{"sync plain", "mover=move frontend=block loop_compress=off", "faultysync:%s:loop:"},
	{"async move busy", "mover=move frontend=busy", "faulty:%s:loop:"},
	{"async move block", "mover=move frontend=block", "faulty:delay-us=20,%s:loop:"},
	{"async move inline", "mover=move frontend=inline", "faulty:%s:loop:"},
	{"async wp busy", "mover=wp frontend=busy", "faulty:%s:loop:"},
	{"async wp block", "mover=wp frontend=block", "faulty:delay-us=20,%s:loop:"},
	{"tcp move busy", "mover=move frontend=busy", "faulty:%s:tcp://$TCP"},
	{"tcp wp block", "mover=wp frontend=block io_uring=off", "faulty:%s:tcp://$TCP"},
	{"shm move block", "mover=move frontend=block", "faultysync:%s:shm:$SHM"},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

static bool every, some, verbose;
static unsigned runs, bad_runs, with_errors, with_losses, clean;
static struct test_donor *donor;
static struct outcome *out;

/* Puts the specification and the donor's address in; what is left is %u for N. */
static void address(const struct way *way, const struct injection *i, char *buf, size_t size)
{
	const char *spec = i->spec ? i->spec : "", *at;
	char text[256];

	snprintf(text, sizeof(text), way->donor, spec);
	if (!spec[0] && (at = strstr(text, ",:")))
		memmove((char *)(uintptr_t)at, at + 1, strlen(at));
	at = strchr(text, '$');
	if (!at)
		snprintf(buf, size, "%s", text);
	else if (!strcmp(at, "$TCP"))
		snprintf(buf, size, "%.*s127.0.0.1:%u", (int)(at - text), text, donor->port);
	else
		snprintf(buf, size, "%.*s%s", (int)(at - text), text, donor->shm);
}

/* Where each thread of a process that hangs waits, and those of its children. */
static void show_threads(pid_t pid)
{
	char command[256];

	snprintf(
		command, sizeof(command),
		"for p in %d $(cat /proc/%d/task/%d/children); do for t in /proc/$p/task/*; do "
		"echo \"hangs: $(cat $t/comm) $(cut -d' ' -f3 $t/stat) $(cat $t/wchan)\"; done; done",
		pid, pid, pid);
	fflush(NULL);
	if (system(command))
		printf("hangs: (nothing known)\n");
}

/* Waits for the end; what it says on stderr goes to said. */
static int wait_for(pid_t pid, int fd, char *said, size_t size, bool *ret_hung)
{
	uint64_t end = now_ns() + HANG_MS * 1000000ull;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t n = 0;
	int status;

	*ret_hung = false;
	for (;;) {
		bool over = waitpid(pid, &status, WNOHANG) == pid;
		ssize_t got;

		while (poll(&p, 1, over ? 0 : 5) > 0 && p.revents & POLLIN) {
			char scrap[4096];

			got = n < size - 1 ? read(fd, said + n, size - 1 - n)
					   : read(fd, scrap, sizeof(scrap));
			if (got <= 0)
				break;
			n += n < size - 1 ? (size_t)got : 0;
		}
		said[n] = '\0';
		if (over)
			return status;
		if (p.revents & POLLHUP)
			sleep_ms(1);
		if (now_ns() > end) {
			*ret_hung = true;
			show_threads(pid);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return status;
		}
	}
}

/* NULL, or what is wrong with this end. */
static const char *judge(int status, bool hung, const char *said)
{
	static char text[300];

	if (hung)
		snprintf(text, sizeof(text), "hangs in step \"%s\"", out->step ? out->step : "?");
	else if (strstr(said, "internal error") || strstr(said, "Sanitizer"))
		return "an internal check failed";
	else if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "died of signal %d in step \"%s\"", WTERMSIG(status),
			 out->step ? out->step : "?");
	else if (WEXITSTATUS(status))
		snprintf(text, sizeof(text), "ended with %d in step \"%s\"", WEXITSTATUS(status),
			 out->step ? out->step : "?");
	else if (out->wrong[0])
		return out->wrong;
	else if (out->lost && !strstr(said, " is lost"))
		return "SIGBUS without a sentence on stderr";
	else
		return NULL;
	return text;
}

/* One run. Returns whether the injection happened. */
static bool run(const struct way *way, const struct injection *i, unsigned nth)
{
	static char said[65536];
	struct script script = {.options = way->options, .injection = i, .nth = nth};
	const char *bad;
	char uri[300];
	bool hung;
	int fds[2], status;
	pid_t pid;

	address(way, i, uri, sizeof(uri));
	script.donor = uri;
	memset(out, 0, sizeof(*out));
	if (pipe(fds))
		abort();
	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		script_run(&script, out);
	}
	close(fds[1]);
	status = wait_for(pid, fds[0], said, sizeof(said), &hung);
	close(fds[0]);
	bad = judge(status, hung, said);
	runs++;
	bad_runs += bad != NULL;
	with_errors += out->errors > 0;
	with_losses += out->lost > 0;
	clean += !out->errors && !out->lost;
	if (bad || verbose)
		printf("%s%s, %s, N = %u: %s (%u errors, %u touches lost)\n%.4000s\n",
		       bad ? "FAILED " : "", way->name, i->name, nth, bad ? bad : "ok", out->errors,
		       out->lost, said);
	return out->fired || bad;
}

static void all_of(const struct way *way, const struct injection *i, unsigned from)
{
	unsigned nth = from, step = 1, bad_before = bad_runs;

	if (i->kind == INJECT_NOTHING) {
		run(way, i, 1);
		return;
	}
	while (run(way, i, nth) && bad_runs - bad_before < 3) {
		nth += step;
		if (!every)
			step += some ? (nth > 1) * 3 * step : (nth > 4) * (1 + step / 2);
	}
}

int main(int argc, char **argv)
{
	const char *only_way = "", *only_injection = "";
	unsigned from = 1, turn = 0;

	for (int k = 1; k < argc; k++) {
		if (!strcmp(argv[k], "--every"))
			every = true;
		else if (!strcmp(argv[k], "--verbose"))
			verbose = true;
		else if (!strcmp(argv[k], "--some") && k + 1 < argc)
			some = true, turn = (unsigned)strtoul(argv[++k], NULL, 10);
		else if (!strcmp(argv[k], "--way") && k + 1 < argc)
			only_way = argv[++k];
		else if (!strcmp(argv[k], "--inject") && k + 1 < argc)
			only_injection = argv[++k];
		else if (!strcmp(argv[k], "--from") && k + 1 < argc)
			from = (unsigned)strtoul(argv[++k], NULL, 10);
		else
			return fprintf(stderr, "fault: unknown argument %s\n", argv[k]), 2;
	}
	out = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	donor = donor_start("--memory", "512M", NULL);
	for (unsigned w = 0; w < WAYS; w++) {
		if (strncmp(ways[w].name, only_way, strlen(only_way)))
			continue;
		for (unsigned i = 0; i < injections_count; i++) {
			uint64_t start = now_ns();
			unsigned before = runs;

			if (!strstr(injections[i].name, only_injection) ||
			    (some && (i * 5 + turn) % WAYS != w))
				continue;
			all_of(&ways[w], &injections[i], from);
			printf("%s, %s: %u runs, %.1f s\n", ways[w].name, injections[i].name,
			       runs - before, (double)(now_ns() - start) / 1e9);
		}
	}
	donor_free(donor);
	printf("fault: %u runs: %u without any effect, %u with errors, %u with lost pages, %u BAD\n",
	       runs, clean, with_errors, with_losses, bad_runs);
	return bad_runs || !runs;
}
