/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flags.h - command lines: a command's own flags, and the options of config.h as flags.
 *
 * getopt_long(3) does the parsing; the sentences are ours, one a mistake.
 */
#ifndef LEAP_TOOLS_FLAGS_H
#define LEAP_TOOLS_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

#include "libleap/config.h"

enum flag_value {
	FLAG_NONE,     /* --once */
	FLAG_REQUIRED, /* --interval TIME */
	FLAG_OPTIONAL, /* --json[=FILE] */
};

struct flag {
	const char *name;
	enum flag_value value;
	const char *metavar;
	const char *help;
};

struct command_line {
	const char *usage; /* "run [OPTION...] PROGRAM [ARGUMENT...]" */
	const char *about; /* what --help says in front of the flags */
	const struct flag *flags;
	unsigned nflags;
	bool program; /* all from the first word that is no flag on belongs to a program */
	/* Called for each own flag; value NULL when none was given. 0, or -errno with the sentence
	 * set. */
	int (*set)(void *context, const char *name, const char *value);
	void *context;
	struct config *config; /* takes the options of config_table as flags, too; or NULL */
	const char **given;    /* FLAGS_MAX entries: the text of those given; or NULL */
};

#define FLAGS_MAX  128 /* of one command: its own and all options */
#define FLAGS_HELP 1   /* --help was given and answered */

/* Index of the first word that is no flag in *ret_first (argv may be permuted). 0, FLAGS_HELP, or
 * -EINVAL and others with the sentence set. */
int flags_parse(const struct command_line *line, int argc, char **argv, int *ret_first);
/* The same, and fills line->config: defaults, then the LEAP_* variables, then the flags. A flag
 * mends a variable that is wrong. line->given must be there. */
int flags_parse_with_env(const struct command_line *line, int argc, char **argv, int *ret_first);

#endif
