/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - leap trace: records traces, shows them, and converts them from one form into another. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/flags.h"
#include "tools/input.h"
#include "tools/tool.h"
#include "tools/trace_import.h"
#include "tools/trace_view.h"

#define TOP 8

struct arguments {
	const char *command;
	uint64_t accesses, seed, top;
	bool text;
	const struct trace_format *from, *to;
	const char *png;
};

static const struct flag trace_flags[] = {
	{"text", FLAG_NONE, NULL, "convert: write the text form"},
	{"from", FLAG_REQUIRED, "FORM",
	 "convert, view: read pages, fltrace, lackey or champsim; see leap-trace(5)"},
	{"to", FLAG_REQUIRED, "FORM", "convert: write one of these"},
	{"accesses", FLAG_REQUIRED, "N", "of a generator (default 60000)"},
	{"seed", FLAG_REQUIRED, "N", "of a generator (default 1)"},
	{"png", FLAG_REQUIRED, "FILE",
	 "view: draw page numbers over time, with misses, hits and prefetches in colours"},
	{"top", FLAG_REQUIRED, "N", "view: so many steps, regions and threads (default 8)"},
};

/* Which commands take the flag. */
static bool taken(const char *command, const char *name)
{
	bool view = !strcmp(command, "view");

	if (*command == '-') /* the command comes behind the flags */
		return true;
	if (!strcmp(name, "png") || !strcmp(name, "top"))
		return view;
	return !view || (strcmp(name, "text") && strcmp(name, "to"));
}

static int set(void *context, const char *name, const char *value)
{
	struct arguments *a = context;

	if (!taken(a->command, name))
		return error_set(EINVAL, "leap trace %s has no --%s", a->command, name);
	if (!strcmp(name, "text")) {
		a->text = true;
	} else if (!strcmp(name, "from")) {
		a->from = trace_format_find(value);
		return a->from ? 0 : -EINVAL;
	} else if (!strcmp(name, "to")) {
		a->to = trace_format_find(value);
		return a->to ? 0 : -EINVAL;
	} else if (!strcmp(name, "png")) {
		a->png = value;
	} else {
		return input_number(name, value,
				    !strcmp(name, "seed")  ? &a->seed
				    : !strcmp(name, "top") ? &a->top
							   : &a->accesses);
	}
	return 0;
}

static int load(const struct arguments *a, const char *name, struct trace *ret_trace)
{
	return a->from ? trace_import(a->from, name, ret_trace)
		       : input_load(name, a->accesses, a->seed, ret_trace);
}

static int convert(const struct arguments *a, const char *from, const char *to)
{
	struct trace trace;
	int err = load(a, from, &trace);

	if (err)
		return tool_fail_last(EXIT_FAILED);
	if (a->to)
		err = trace_export(a->to, to, &trace);
	else if (strcmp(to, "-"))
		err = trace_save(to, &trace, a->text);
	else if (a->text)
		trace_write_text(stdout, &trace);
	else
		err = error_set(EINVAL,
				"the binary form is not written to stdout; name a file, or use "
				"--text");
	trace_free(&trace);
	return err ? tool_fail_last(EXIT_FAILED) : 0;
}

static int view(const struct arguments *a, const char *name)
{
	struct trace trace;
	int err = load(a, name, &trace);

	if (err)
		return tool_fail_last(EXIT_FAILED);
	err = trace_view(stdout, name, &trace, (unsigned)a->top);
	if (!err && a->png) {
		fflush(stdout);
		err = trace_plot(name, &trace, a->png);
	}
	trace_free(&trace);
	return err ? tool_fail_last(EXIT_FAILED) : 0;
}

/* leap trace record -o FILE ... is leap run --trace FILE ... */
static int record(int argc, char **argv)
{
	char **words;
	int status;

	if (argc < 4 || strcmp(argv[2], "-o"))
		return tool_fail(EXIT_LEAP,
				 "say: leap trace record -o FILE [OPTION...] [--] PROGRAM; the "
				 "options are those of leap run");
	words = calloc((size_t)argc + 1, sizeof(*words));
	if (!words)
		return tool_fail(EXIT_LEAP, "no memory");
	words[0] = "run";
	words[1] = "--trace";
	memcpy(&words[2], &argv[3], ((size_t)argc - 3) * sizeof(*words));
	tool_set_command("trace record");
	status = run_main(argc - 1, words);
	free(words);
	return status;
}

int trace_main(int argc, char **argv)
{
	struct arguments a = {.command = argc > 1 ? argv[1] : "",
			      .accesses = INPUT_ACCESSES,
			      .seed = INPUT_SEED,
			      .top = TOP};
	struct command_line line = {
		.usage = "trace record -o FILE [OPTION of leap run...] [--] PROGRAM [ARGUMENT...]\n"
			 "       leap trace view [OPTION...] INPUT\n"
			 "       leap trace convert [OPTION...] INPUT OUTPUT",
		.about =
			"Records the page faults of a program, shows what is in a trace (leap-trace(5)), or writes it "
			"in\nanother form. INPUT is a trace, a list of page numbers, or a generator "
			"('leap sim --list');\nOUTPUT - is stdout.",
		.flags = trace_flags,
		.nflags = sizeof(trace_flags) / sizeof(trace_flags[0]),
		.set = set,
		.context = &a,
	};
	int first, err;

	if (!strcmp(a.command, "record"))
		return record(argc, argv);
	err = flags_parse(&line, argc, argv, &first);
	if (err)
		return err == FLAGS_HELP ? 0 : tool_fail_last(EXIT_USAGE);
	if (argc - first == 3 && !strcmp(argv[first], "convert"))
		return convert(&a, argv[first + 1], argv[first + 2]);
	if (argc - first == 2 && !strcmp(argv[first], "view"))
		return view(&a, argv[first + 1]);
	return tool_fail(EXIT_USAGE,
			 "say: leap trace view INPUT, leap trace convert INPUT OUTPUT, or "
			 "leap trace record -o FILE PROGRAM; 'leap trace --help' tells "
			 "more");
}
