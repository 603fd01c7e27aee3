/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the `leap` program: one table of commands. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "leap.h"
#include "libleap/log.h"
#include "tools/tool.h"

static const struct command commands[] = {
	{"run", "run a program with part of its memory on donors", run_main},
	{"stat", "show what running programs do", stat_main},
	{"ctl", "read and change options of a running program", ctl_main},
	{"probe", "show what this machine can do, and what is missing", probe_main},
	{"bench", "measure: leap bench micro", bench_main},
	{"sim", "run prefetch policies over a trace of page accesses", sim_main},
	{"trace", "record, show and convert traces of page faults", trace_main},
};

static void usage(FILE *out)
{
	fprintf(out, "Usage: leap COMMAND [ARGUMENT...]\n"
		     "Runs programs on memory that other machines lend.\n\n");
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
	fprintf(out, "\n'leap COMMAND --help' tells more. Lend memory with leap-donor(8).\n");
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	setlocale(LC_CTYPE, ""); /* numbers stay as they are written in C */
	log_set_name("leap");
	if (!strcmp(name, "--version") || !strcmp(name, "version")) {
		printf("leap %s\n", LEAP_VERSION_STRING);
		return 0;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		usage(stdout);
		return 0;
	}
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name))
			continue;
		tool_set_command(name);
		return commands[i].main(argc - 1, argv + 1);
	}
	if (!*name) {
		usage(stderr);
		return EXIT_USAGE;
	}
	return tool_fail(EXIT_USAGE, "there is no command '%s'; 'leap --help' lists them", name);
}
