/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c - leap trace: traces from one form into the other, and from generators into files. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/flags.h"
#include "tools/input.h"
#include "tools/tool.h"

struct arguments {
	uint64_t accesses, seed;
	bool text;
};

static const struct flag trace_flags[] = {
	{"text", FLAG_NONE, NULL, "write the text form"},
	{"accesses", FLAG_REQUIRED, "N", "of a generator (default 60000)"},
	{"seed", FLAG_REQUIRED, "N", "of a generator (default 1)"},
};

static int set(void *context, const char *name, const char *value)
{
	struct arguments *a = context;

	if (!strcmp(name, "text")) {
		a->text = true;
		return 0;
	}
	return input_number(name, value, !strcmp(name, "seed") ? &a->seed : &a->accesses);
}

static int convert(const struct arguments *a, const char *from, const char *to)
{
	struct trace trace;
	int err = input_load(from, a->accesses, a->seed, &trace);

	if (err)
		return tool_fail_last(EXIT_FAILED);
	if (strcmp(to, "-"))
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

int trace_main(int argc, char **argv)
{
	struct arguments a = {.accesses = INPUT_ACCESSES, .seed = INPUT_SEED};
	struct command_line line = {
		.usage = "trace convert [OPTION...] INPUT OUTPUT",
		.about =
			"Writes a trace (leap-trace(5)) in the binary or the text form. INPUT is a file of "
			"either form,\na list of page numbers, or a generator ('leap sim --list'); OUTPUT - is "
			"stdout.",
		.flags = trace_flags,
		.nflags = sizeof(trace_flags) / sizeof(trace_flags[0]),
		.set = set,
		.context = &a,
	};
	int first, err = flags_parse(&line, argc, argv, &first);

	if (err)
		return err == FLAGS_HELP ? 0 : tool_fail_last(EXIT_USAGE);
	if (argc - first != 3 || strcmp(argv[first], "convert"))
		return tool_fail(
			EXIT_USAGE,
			"say: leap trace convert INPUT OUTPUT; 'leap trace --help' tells more");
	return convert(&a, argv[first + 1], argv[first + 2]);
}
