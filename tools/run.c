/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - leap run: starts a program with the preload library.
 *
 * Options come from the LEAP_* variables and then from the flags; the flags are handed on as
 * variables. Whatever can be known to fail is checked first, by trying it, so that the program
 * either starts under Leap or not at all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libleap/error.h"
#include "tools/rundir.h"
#include "tools/check.h"
#include "tools/flags.h"
#include "tools/program.h"
#include "tools/tool.h"

#define LIBRARY "libleap_preload.so"

struct run {
	bool check_only;
};

static const struct flag run_flags[] = {
	{"check", FLAG_NONE, NULL, "check everything, but start nothing"},
};

static int set(void *context, const char *name, const char *value)
{
	struct run *run = context;

	if (!strcmp(name, "check"))
		run->check_only = true;
	return 0;
}

/* The first word of an LD_PRELOAD list; its separators are ':' and ' '. */
static size_t word_of(const char *list)
{
	return strcspn(list, ": ");
}

/* LD_PRELOAD: our library, then what was there before, but for ourselves. */
static int set_preload(void)
{
	const char *before = getenv("LD_PRELOAD");
	char path[4096], *value;
	int err = tool_find_preload(path, sizeof(path));

	if (err)
		return err;
	if (path[word_of(path)])
		return error_set(EINVAL,
				 "the path of %s must not contain a blank or a colon, since "
				 "LD_PRELOAD cannot hold it: %s",
				 LIBRARY, path);
	value = malloc(strlen(path) + (before ? strlen(before) : 0) + 2);
	if (!value)
		return error_set(ENOMEM, "no memory");
	strcpy(value, path);
	for (const char *at = before ? before : ""; *at; at += at[word_of(at)] ? 1 : 0) {
		size_t n = word_of(at), own = sizeof(LIBRARY) - 1;

		if (n && (n < own || strncmp(at + n - own, LIBRARY, own))) {
			strcat(value, ":");
			strncat(value, at, n);
		}
		at += n;
	}
	err = setenv("LD_PRELOAD", value, 1) ? error_set(errno, "no memory") : 0;
	free(value);
	return err;
}

static int set_variables(const char *const *given)
{
	for (unsigned i = 0; i < config_table_count; i++) {
		char name[64];

		if (!given[i])
			continue;
		config_env_name(&config_table[i], name, sizeof(name));
		if (setenv(name, given[i], 1))
			return error_set(errno, "no memory");
	}
	return set_preload();
}

static int parse(int argc, char **argv, struct run *run, struct config *config, const char **given,
		 int *ret_first)
{
	struct command_line line = {
		.usage = "run [OPTION...] [--] PROGRAM [ARGUMENT...]",
		.about =
			"Runs PROGRAM with a bounded amount of local memory; the rest of its memory "
			"is on donors.\nExit status: the program's; 125 when leap itself fails, 126 "
			"when PROGRAM cannot be run,\n127 when there is none.",
		.flags = run_flags,
		.nflags = sizeof(run_flags) / sizeof(run_flags[0]),
		.program = true,
		.set = set,
		.context = run,
		.config = config,
		.given = given,
	};

	return flags_parse_with_env(&line, argc, argv, ret_first);
}

static int check_all(const struct config *config)
{
	int err = check_options(config);

	if (!err)
		err = config_check_program(config);
	if (!err)
		err = check_userfaultfd(config);
	if (!err)
		err = check_limits(config);
	if (!err)
		err = check_donors(config);
	return err;
}

int run_main(int argc, char **argv)
{
	static struct config config;
	static const char *given[FLAGS_MAX];
	struct run run = {0};
	static struct program program;
	int first, err;

	err = parse(argc, argv, &run, &config, given, &first);
	if (err == FLAGS_HELP)
		return 0;
	if (err)
		return tool_fail_last(EXIT_LEAP);
	if (first == argc)
		return tool_fail(EXIT_LEAP, "no program is named; write 'leap run [OPTION...] -- "
					    "PROGRAM [ARGUMENT...]'");
	err = program_prepare(argv + first, config.follow_exec, &program);
	if (err)
		return tool_fail_last(err);
	if (check_all(&config) || set_variables(given))
		return tool_fail_last(EXIT_LEAP);
	if (program.warning[0])
		tool_warn("%s", program.warning);
	if (run.check_only)
		return 0;
	rundir_sweep();
	execvp(program.path, program.argv);
	err = errno;
	return tool_fail(err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, "cannot run %s: %s",
			 program.path, strerror(err));
}
