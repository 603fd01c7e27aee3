/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tool.h - what the commands of `leap` share: the table that main.c runs, exit codes, sentences.
 */
#ifndef LEAP_TOOLS_TOOL_H
#define LEAP_TOOLS_TOOL_H

#include <stdbool.h>
#include <stddef.h>

/* As env(1) and timeout(1): `leap run` must not be mistaken for the program that it runs. */
#define EXIT_LEAP       125 /* leap's own failure: nothing was started */
#define EXIT_CANNOT_RUN 126 /* the program is there and cannot be run */
#define EXIT_NOT_FOUND  127 /* there is no such program */
#define EXIT_FAILED     1   /* the other commands: it did not work, or what was found is wrong */
#define EXIT_USAGE      2   /* the other commands: they were called wrongly */

struct command {
	const char *name;
	const char *help; /* one line */
	/* argv[0] is the command's name; returns the exit code. */
	int (*main)(int argc, char **argv);
};

int run_main(int argc, char **argv);
int stat_main(int argc, char **argv);
int ctl_main(int argc, char **argv);
int probe_main(int argc, char **argv);
int bench_main(int argc, char **argv);
int sim_main(int argc, char **argv);
int trace_main(int argc, char **argv);

/* "leap COMMAND: sentence" on stderr; returns status. The command is the one that main.c runs. */
int tool_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with the library's last sentence (error.h). */
int tool_fail_last(int status);
void tool_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tool_set_command(const char *name);

/* Where a file that was built or installed with this program is: NAME beside the program itself.
 * 0, or -ENOENT with the sentence set (what was looked for, and where). */
int tool_find_donor(char *buf, size_t size);
int tool_find_preload(char *buf, size_t size);

#endif
