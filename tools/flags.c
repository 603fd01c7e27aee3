/* SPDX-License-Identifier: Apache-2.0 */
/* flags.c - see flags.h. */
#include "tools/flags.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"

#define NAME_BYTES  40
#define HELP_COLUMN 26
#define HELP_WIDTH  96
#define VAL_HELP    1000
#define VAL_OWN     2000
#define VAL_CONFIG  3000

static void flag_name(const char *option, char *buf)
{
	size_t i = 0;

	for (; i < NAME_BYTES - 1 && option[i]; i++)
		buf[i] = option[i] == '_' ? '-' : option[i];
	buf[i] = '\0';
}

/* Words of text from column HELP_COLUMN on, broken before HELP_WIDTH. */
static void print_wrapped(const char *text, size_t column)
{
	bool blank = false;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column + n >= HELP_WIDTH && column > HELP_COLUMN) {
			printf("\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		} else if (blank) {
			putchar(' ');
			column++;
		}
		printf("%.*s", (int)n, text);
		column += n;
		text += n;
		blank = *text == ' ';
		text += blank;
	}
	putchar('\n');
}

static void print_flag(const char *name, const char *value, const char *help)
{
	int n = printf("  --%s%s", name, value);

	if (n + 2 > HELP_COLUMN)
		printf("\n%*s", HELP_COLUMN, "");
	else
		printf("%*s", HELP_COLUMN - n, "");
	print_wrapped(help, HELP_COLUMN);
}

static void print_own(const struct flag *flag)
{
	char value[64] = "";

	if (flag->value == FLAG_REQUIRED)
		snprintf(value, sizeof(value), " %s", flag->metavar);
	else if (flag->value == FLAG_OPTIONAL)
		snprintf(value, sizeof(value), "[=%s]", flag->metavar);
	print_flag(flag->name, value, flag->help);
}

static void print_option(const struct config_option *option)
{
	char name[NAME_BYTES], value[64], help[400];

	flag_name(option->name, name);
	snprintf(value, sizeof(value), option->type == CONFIG_BOOL ? "[=%s]" : " %s",
		 option->metavar);
	snprintf(help, sizeof(help), "%s (%s%s%s%s%s)", option->help,
		 option->choices ? option->choices : "", option->choices ? "; " : "",
		 option->fallback[0] ? "default " : "no default", option->fallback,
		 option->live ? "; live" : "");
	print_flag(name, value, help);
}

static void print_help(const struct command_line *line)
{
	printf("Usage: leap %s\n%s\n\n", line->usage, line->about);
	for (unsigned i = 0; i < line->nflags; i++)
		print_own(&line->flags[i]);
	print_flag("help", "", "show this");
	if (!line->config)
		return;
	printf("\nOptions of the session. Each is a variable LEAP_NAME, too; a flag comes first. Sizes "
	       "take\nK, M, G, T (powers of 1024), times ns, us, ms, s, min; a switch alone means on. "
	       "Those called\nlive can be changed while the program runs (leap ctl).\n\n");
	for (unsigned i = 0; i < config_table_count; i++)
		print_option(&config_table[i]);
}

/* Static: getopt_long() keeps pointers into it. */
static struct option *make_table(const struct command_line *line)
{
	static struct option table[FLAGS_MAX + 2];
	static char names[FLAGS_MAX][NAME_BYTES];
	unsigned at = 0;

	for (unsigned i = 0; i < line->nflags; i++)
		table[at++] = (struct option){line->flags[i].name, (int)line->flags[i].value, NULL,
					      VAL_OWN + (int)i};
	for (unsigned i = 0; line->config && i < config_table_count && at < FLAGS_MAX; i++) {
		flag_name(config_table[i].name, names[i]);
		table[at++] = (struct option){
			names[i],
			config_table[i].type == CONFIG_BOOL ? optional_argument : required_argument,
			NULL, VAL_CONFIG + (int)i};
	}
	table[at++] = (struct option){"help", no_argument, NULL, VAL_HELP};
	table[at] = (struct option){0};
	return table;
}

/* "--name" without "=value", for sentences. */
static const char *bare(const char *word, char *buf, size_t size)
{
	snprintf(buf, size, "%.*s", (int)strcspn(word, "="), word);
	return buf;
}

static int unknown(const struct command_line *line, const char *word)
{
	struct config *scratch;
	char text[64];

	bare(word, text, sizeof(text));
	if (line->config && !strncmp(text, "--", 2) && text[2]) {
		scratch = malloc(sizeof(*scratch));
		/* for its sentence, which knows similar names */
		if (scratch && !config_find(text + 2)) {
			config_set(scratch, text + 2, "");
			free(scratch);
			return -EINVAL;
		}
		free(scratch);
	}
	return error_set(EINVAL,
			 "there is no flag '%s', or it can mean several; see 'leap %.*s --help'",
			 text, (int)strcspn(line->usage, " "), line->usage);
}

/* The parse failed at word; value says which flag, if it is known. */
static int bad_flag(const struct command_line *line, const char *word, int value, bool missing)
{
	char text[64];

	if (missing)
		return error_set(EINVAL, "%s needs a value; see 'leap %.*s --help'",
				 bare(word, text, sizeof(text)), (int)strcspn(line->usage, " "),
				 line->usage);
	if (value >= VAL_HELP)
		return error_set(EINVAL, "%s takes no value", bare(word, text, sizeof(text)));
	return unknown(line, word);
}

static int set_option(const struct command_line *line, unsigned index, const char *value)
{
	int err = config_set(line->config, config_table[index].name, value);

	if (!err && line->given)
		line->given[index] = value;
	return err;
}

/* `--recycle off`: the word behind a switch belongs to it when it can be nothing else. */
static const char *switch_value(int argc, char **argv)
{
	if (optarg)
		return optarg;
	if (optind < argc && (!strcmp(argv[optind], "on") || !strcmp(argv[optind], "off")))
		return argv[optind++];
	return "on";
}

int flags_parse(const struct command_line *line, int argc, char **argv, int *ret_first)
{
	struct option *table = make_table(line);
	int c, err = 0;

	opterr = 0;
	optind = 0; /* glibc: begin anew */
	while (!err &&
	       (c = getopt_long(argc, argv, line->program ? "+:h" : ":h", table, NULL)) != -1) {
		if (c == VAL_HELP || c == 'h') {
			print_help(line);
			return FLAGS_HELP;
		}
		if (c == '?' || c == ':')
			err = bad_flag(line, argv[optind - 1], optopt, c == ':');
		else if (c >= VAL_CONFIG && config_table[c - VAL_CONFIG].type == CONFIG_BOOL)
			err = set_option(line, (unsigned)(c - VAL_CONFIG),
					 switch_value(argc, argv));
		else if (c >= VAL_CONFIG)
			err = set_option(line, (unsigned)(c - VAL_CONFIG), optarg);
		else
			err = line->set(line->context, line->flags[c - VAL_OWN].name, optarg);
	}
	*ret_first = optind;
	return err;
}

int flags_parse_with_env(const struct command_line *line, int argc, char **argv, int *ret_first)
{
	int err;

	config_defaults(line->config);
	err = flags_parse(line, argc, argv, ret_first);
	for (unsigned i = 0; i < config_table_count && !err; i++) {
		char name[64];
		const char *value;

		config_env_name(&config_table[i], name, sizeof(name));
		value = line->given[i] ? NULL : secure_getenv(name);
		if (value && config_set(line->config, config_table[i].name, value))
			err = error_prefix(-EINVAL, name);
	}
	return err;
}
