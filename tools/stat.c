/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stat.c - leap stat: what running programs do, from the pages of figures that they publish.
 *
 * On a terminal the picture is drawn anew each time; elsewhere each sample is a line (or a line of
 * JSON or CSV) a process. Processes that are named on the command line are watched until they end;
 * without names, all that this user runs are, as they come and go.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/util/parse.h"
#include "libleap/util/sys.h"
#include "tools/rundir.h"
#include "tools/flags.h"
#include "tools/sample.h"
#include "tools/tool.h"

#define PIDS_MAX        512
#define HEADER_EVERY    24 /* lines, where nothing is redrawn */
#define INTERVAL_MIN_NS 10000000ull

struct watch {
	long pid;
	bool seen; /* `last` holds a sample */
	bool gone;
	struct sample last;
};

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV };

struct stat_view {
	enum format format;
	bool once, named;
	uint64_t interval_ns;
	uint32_t count; /* samples to take; 0: no end */
	struct watch *watch[PIDS_MAX];
	unsigned n;
	unsigned lines;
	bool redraw;
};

static const struct flag stat_flags[] = {
	{"once", FLAG_NONE, NULL,
	 "one sample, with donors (rates are averages since the session began)"},
	{"interval", FLAG_REQUIRED, "TIME", "time between samples (default 1s)"},
	{"count", FLAG_REQUIRED, "N", "end after N samples"},
	{"json", FLAG_NONE, NULL, "a line of JSON for each process and sample"},
	{"csv", FLAG_NONE, NULL, "a line of comma-separated values, with a time, for each"},
	{"plain", FLAG_NONE, NULL, "lines, also on a terminal"},
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

static int set(void *context, const char *name, const char *value)
{
	struct stat_view *view = context;

	if (!strcmp(name, "once")) {
		view->once = true;
	} else if (!strcmp(name, "json")) {
		view->format = FORMAT_JSON;
	} else if (!strcmp(name, "csv")) {
		view->format = FORMAT_CSV;
	} else if (!strcmp(name, "plain")) {
		view->redraw = false;
	} else if (!strcmp(name, "count")) {
		if (parse_u32(value, "", &view->count) || !view->count)
			return error_set(EINVAL, "--count: '%s' is not a number of samples", value);
	} else if (parse_time(value, &view->interval_ns) || view->interval_ns < INTERVAL_MIN_NS) {
		return error_set(EINVAL,
				 "--interval: '%s' is not a time of 10ms or more, such as 1s",
				 value);
	}
	return 0;
}

static struct watch *watch_find(struct stat_view *view, long pid)
{
	for (unsigned i = 0; i < view->n; i++)
		if (view->watch[i]->pid == pid)
			return view->watch[i];
	return NULL;
}

static int watch_add(struct stat_view *view, long pid)
{
	struct watch *w;

	if (watch_find(view, pid))
		return 0;
	if (view->n == PIDS_MAX)
		return error_set(E2BIG, "at most %d processes can be watched", PIDS_MAX);
	w = calloc(1, sizeof(*w));
	if (!w)
		return error_set(ENOMEM, "no memory");
	w->pid = pid;
	view->watch[view->n++] = w;
	return 0;
}

/* Takes in the processes that have come. */
static void scan(struct stat_view *view)
{
	char path[256];
	struct dirent *e;
	DIR *dir;

	rundir_sweep();
	if (rundir_path(path, sizeof(path), 0))
		return;
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		long pid = rundir_pid(e->d_name);

		if (pid && watch_add(view, pid))
			break;
	}
	if (dir)
		closedir(dir);
}

static void drop(struct stat_view *view, unsigned i)
{
	free(view->watch[i]);
	view->watch[i] = view->watch[--view->n];
}

static void print(struct stat_view *view, const struct sample *s, const struct rates *r)
{
	switch (view->format) {
	case FORMAT_JSON:
		sample_print_json(stdout, s, r);
		return;
	case FORMAT_CSV:
		sample_print_csv(stdout, s, r);
		return;
	case FORMAT_TEXT:
		break;
	}
	if (!view->redraw && view->lines++ % HEADER_EVERY == 0)
		sample_print_header(stdout);
	sample_print_line(stdout, s, r);
	if (view->redraw || view->once)
		sample_print_details(stdout, s);
}

static int by_pid(const void *a, const void *b)
{
	const struct watch *x = *(struct watch *const *)a, *y = *(struct watch *const *)b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

/* One round over all; returns how many could be read. */
static unsigned round_of(struct stat_view *view)
{
	unsigned read = 0;

	if (!view->named)
		scan(view);
	qsort(view->watch, view->n, sizeof(view->watch[0]), by_pid);
	for (unsigned i = 0; i < view->n; i++) {
		struct watch *w = view->watch[i];
		struct sample now;
		struct rates rates;

		w->gone = sample_take(w->pid, &now) != 0;
		if (w->gone)
			continue;
		sample_rates(w->seen ? &w->last : NULL, &now, &rates);
		w->last = now;
		w->seen = true;
		print(view, &now, &rates);
		read++;
	}
	for (unsigned i = view->n; i-- > 0;)
		if (view->watch[i]->gone)
			drop(view, i);
	return read;
}

static void draw_top(struct stat_view *view)
{
	time_t now = time(NULL);
	char text[32], every[32];

	strftime(text, sizeof(text), "%H:%M:%S", localtime(&now));
	format_time(view->interval_ns, every, sizeof(every));
	/* home, and clear what follows: no flicker */
	printf("\033[H\033[Jleap stat  %s  every %s, Ctrl-C ends\n\n", text, every);
	sample_print_header(stdout);
}

static void wait_for(uint64_t end_ns)
{
	struct timespec t = {(time_t)(end_ns / 1000000000), (long)(end_ns % 1000000000)};

	while (!interrupted && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static int watch_all(struct stat_view *view)
{
	uint64_t next = clock_ns();
	uint32_t rounds = 0;
	unsigned read;

	if (view->redraw)
		printf("\033[2J");
	while (!interrupted) {
		if (view->redraw)
			draw_top(view);
		read = round_of(view);
		if (!read && view->redraw && !view->named)
			printf("  no process of this user publishes figures now\n");
		if (fflush(stdout))
			return tool_fail(EXIT_FAILED, "cannot write: %s", strerror(errno));
		if (++rounds == view->count || (view->named && !view->n))
			break;
		next += view->interval_ns;
		if (next < clock_ns())
			next = clock_ns();
		wait_for(next);
	}
	return 0;
}

static int add_named(struct stat_view *view, char **words, int n)
{
	struct stats_page page;

	for (int i = 0; i < n; i++) {
		uint32_t pid;

		if (parse_u32(words[i], "", &pid) || !pid || pid > INT32_MAX)
			return tool_fail(EXIT_USAGE, "'%s' is not a process id", words[i]);
		if (watch_add(view, pid) || stats_page_read(pid, &page))
			return tool_fail_last(EXIT_FAILED);
		view->named = true;
	}
	return 0;
}

static int nothing_there(void)
{
	char path[256];

	if (rundir_path(path, sizeof(path), 0))
		return tool_fail_last(EXIT_FAILED);
	return tool_fail(
		EXIT_FAILED,
		"no process of this user publishes figures in %s; start one with 'leap run', "
		"or set LEAP_RUN_DIR to where it does",
		path);
}

int stat_main(int argc, char **argv)
{
	struct stat_view view = {.interval_ns = 1000000000, .redraw = isatty(STDOUT_FILENO)};
	struct command_line line = {
		.usage = "stat [OPTION...] [PID...]",
		.about = "Shows what programs under Leap do: all of this user, or those named.",
		.flags = stat_flags,
		.nflags = sizeof(stat_flags) / sizeof(stat_flags[0]),
		.set = set,
		.context = &view,
	};
	int first, err = flags_parse(&line, argc, argv, &first);

	if (err)
		return err == FLAGS_HELP ? 0 : tool_fail_last(EXIT_USAGE);
	if (view.once)
		view.count = 1;
	if (view.once || view.format != FORMAT_TEXT)
		view.redraw = false;
	err = add_named(&view, argv + first, argc - first);
	if (err)
		return err;
	if (!view.named && view.once) {
		struct stats_page page;
		bool any = false;

		scan(&view);
		for (unsigned i = 0; i < view.n; i++)
			any = any || !stats_page_read(view.watch[i]->pid, &page);
		if (!any)
			return nothing_there();
	}
	if (view.format == FORMAT_CSV)
		sample_print_csv_header(stdout);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	err = watch_all(&view);
	while (view.n)
		drop(&view, view.n - 1);
	return err;
}
