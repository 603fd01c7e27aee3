/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h - the program that `leap run` is to start: is it there, and can it be preloaded?
 */
#ifndef LEAP_TOOLS_PROGRAM_H
#define LEAP_TOOLS_PROGRAM_H

#include <limits.h>
#include <stdbool.h>

struct program {
	char path[PATH_MAX]; /* what to execute */
	char **argv;         /* its words; malloc()ed, the words are not to be freed */
	char warning[400];   /* what the user should know if all else is well; "" */
};

/* Finds argv[0] as execvp(3) would, and looks through scripts at what will really run. A script
 * that begins with "#!/usr/bin/env NAME" is replaced by NAME and the script's path, since env(1)
 * would run NAME without Leap. Static, foreign and privileged programs are refused: LD_PRELOAD has
 * no effect on them. Shells' scripts get a warning unless follow_exec is on.
 *
 * 0, or an exit code (EXIT_CANNOT_RUN, EXIT_NOT_FOUND) with the sentence set. */
int program_prepare(char **argv, bool follow_exec, struct program *ret_program);

#endif
