/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - command line (argp) and configuration file of the donor.
 *
 * The command line is kept as a list of name/value pairs, so that SIGHUP can build the options
 * anew: defaults, then the file, then the pairs.
 */
#include "donor/options.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "donor/report.h"
#include "leap.h"
#include "libleap/proto.h"

#define OPTIONS_PAIRS_MAX 64
#define OPTIONS_LINE_MAX  1024

enum option_type {
	OPTION_LISTEN,
	OPTION_SIZE,
	OPTION_TIME,
	OPTION_U32,
	OPTION_NODE,
	OPTION_SWITCH,
	OPTION_LEVEL,
	OPTION_LOG,
	OPTION_TEXT,
	OPTION_CONFIG
};

struct option_entry {
	const char *name, *metavar, *help;
	enum option_type type;
	size_t offset;
	uint64_t min, max;
};

#define AT(field) offsetof(struct options, field)

static const struct option_entry option_table[] = {
	{"listen", "ADDRESS",
	 "Listen on tcp://HOST:PORT, rdma://HOST:PORT or shm:NAME; may be repeated", OPTION_LISTEN,
	 0, 0, 0},
	{"memory", "SIZE", "Lend at most SIZE (default: half of the memory available at start)",
	 OPTION_SIZE, AT(memory_bytes), PROTO_SLAB_BYTES, UINT64_MAX},
	{"quota", "SIZE", "Lend one client at most SIZE (default: no bound but --memory)",
	 OPTION_SIZE, AT(quota_bytes), 0, UINT64_MAX},
	{"reserve", "SIZE",
	 "Grant nothing, and ask for memory back, when less than SIZE of this machine's "
	 "memory is available (default: 0, do not look)",
	 OPTION_SIZE, AT(reserve_bytes), 0, UINT64_MAX},
	{"numa", "NODE", "Place lent memory and worker threads on this node", OPTION_NODE,
	 AT(numa_node), 0, 1023},
	{"hugepages", NULL, "Lend huge pages", OPTION_SWITCH, AT(hugepages), 0, 0},
	{"lazy", NULL,
	 "Take a slab's memory when it is written, not when it is granted: lends more than there "
	 "is, at the risk of running out",
	 OPTION_SWITCH, AT(lazy), 0, 0},
	{"clients", "N", "At most N clients (default 1024)", OPTION_U32, AT(clients_max), 1, 65536},
	{"threads", "N", "Threads that move pages (default: one for each core, at most 4)",
	 OPTION_U32, AT(threads), 1, 64},
	{"spin", "TIME", "Workers poll for TIME before they sleep (default 0)", OPTION_TIME,
	 AT(spin_ns), 0, 1000000000ull},
	{"client-timeout", "TIME",
	 "A client whose machine is silent for TIME is dead (default 60s)", OPTION_TIME,
	 AT(client_timeout_ns), 3000000000ull, 86400000000000ull},
	{"deadline", "TIME", "Handshakes and clone tickets time out after TIME (default 5s)",
	 OPTION_TIME, AT(deadline_ns), 10000000ull, 600000000000ull},
	{"drain-timeout", "TIME", "After SIGTERM, wait so long for clients to leave (default 30s)",
	 OPTION_TIME, AT(drain_timeout_ns), 0, 86400000000000ull},
	{"config", "FILE", "Read options from FILE, lines of NAME = VALUE; again on SIGHUP",
	 OPTION_CONFIG, AT(config), 0, 256},
	{"log", "WHERE", "stderr (default) or journal", OPTION_LOG, AT(log_journal), 0, 0},
	{"log-level", "LEVEL", "error, warn, info (default) or debug", OPTION_LEVEL, AT(log_level),
	 0, 0},
	{"pidfile", "FILE", "Write the process id to FILE", OPTION_TEXT, AT(pidfile), 0, 256},
};

#define NOPTIONS (sizeof(option_table) / sizeof(option_table[0]))

struct option_pair {
	const char *name, *value;
};

static struct option_pair pairs[OPTIONS_PAIRS_MAX];
static unsigned npairs;
static const char *positional[2];
static unsigned npositional;

static int fail(char *error, size_t size, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(char *error, size_t size, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error, size, format, ap);
	va_end(ap);
	return -code;
}

static void options_defaults(struct options *options)
{
	memset(options, 0, sizeof(*options));
	options->deadline_ns = 5000000000ull;
	options->client_timeout_ns = 60000000000ull;
	options->drain_timeout_ns = 30000000000ull;
	options->clients_max = 1024;
	options->numa_node = -1;
	options->log_level = REPORT_INFO;
}

/* NUMBER[UNIT]; units is "name=factor" pairs in a NULL-terminated list. */
struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {{"", 1},           {"K", 1ull << 10}, {"M", 1ull << 20},
					 {"G", 1ull << 30}, {"T", 1ull << 40}, {NULL, 0}};
static const struct unit time_units[] = {
	{"us", 1000ull}, {"ms", 1000000ull}, {"s", 1000000000ull}, {NULL, 0}};

static int number_parse(const char *text, const struct unit *units, uint64_t *ret)
{
	uint64_t value;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	if (units == time_units && value == 0 && !*end)
		goto out;
	for (; units->name; units++)
		if (!strcasecmp(end, units->name))
			break;
	if (!units->name)
		return -EINVAL;
	if (__builtin_mul_overflow(value, units->factor, &value))
		return -ERANGE;
out:
	*ret = value;
	return 0;
}

/* text follows "shm:" */
static int shm_parse(struct listen_address *a, const char *text, char *error, size_t size)
{
	if (!text[0] || strlen(text) >= 100)
		return fail(error, size, EINVAL,
			    "'shm:%s' is no address: shm: needs a name of 1 to 99 characters, as "
			    "in shm:pool",
			    text);
	a->shm = true;
	strcpy(a->host, text);
	return 0;
}

/* text begins with a scheme and "//" */
static int host_parse(struct listen_address *a, const char *text, char *error, size_t size)
{
	const char *host = strstr(text, "//") + 2, *colon, *end;
	size_t len;

	colon = strrchr(host, ':');
	if (host[0] == '[') {
		host++;
		end = strchr(host, ']');
		if (!end || (end[1] && end[1] != ':'))
			return fail(error, size, EINVAL,
				    "'%s' is no address: an IPv6 address is written "
				    "tcp://[::1]:9400",
				    text);
		colon = end[1] ? end + 1 : NULL;
	} else {
		end = colon ? colon : host + strlen(host);
		if (colon && memchr(host, ':', (size_t)(colon - host)))
			return fail(error, size, EINVAL,
				    "'%s' is no address: an IPv6 address is written "
				    "tcp://[::1]:9400",
				    text);
	}
	len = (size_t)(end - host);
	if (!len || len >= sizeof(a->host))
		return fail(error, size, EINVAL,
			    "'%s' is no address: the host is missing or too long "
			    "(0.0.0.0 means all)",
			    text);
	memcpy(a->host, host, len);
	if (!colon) {
		strcpy(a->port, "9400");
	} else {
		char *rest;
		unsigned long port = strtoul(colon + 1, &rest, 10);

		if (!isdigit((unsigned char)colon[1]) || *rest || port > 65535)
			return fail(error, size, EINVAL,
				    "'%s' is no address: '%s' is no port (0..65535, 0 "
				    "picks a free one)",
				    text, colon + 1);
		snprintf(a->port, sizeof(a->port), "%lu", port);
	}
	return 0;
}

static int listen_add(struct options *options, const char *text, char *error, size_t size)
{
	struct listen_address *a = &options->listen[options->nlisten];
	int r;

	if (options->nlisten == OPTIONS_LISTEN_MAX)
		return fail(error, size, E2BIG, "more than %d addresses to listen on",
			    OPTIONS_LISTEN_MAX);
	memset(a, 0, sizeof(*a));
	if (!strncmp(text, "shm:", 4))
		r = shm_parse(a, text + 4, error, size);
	else if (!strncmp(text, "tcp://", 6) || !strncmp(text, "rdma://", 7))
		r = host_parse(a, text, error, size);
	else
		r = fail(error, size, EINVAL,
			 "'%s' is no address: use tcp://HOST:PORT, rdma://HOST:PORT or shm:NAME",
			 text);
	a->rdma = !strncmp(text, "rdma:", 5);
	if (!r)
		options->nlisten++;
	return r;
}

static const struct option_entry *option_find(const char *name)
{
	for (unsigned i = 0; i < NOPTIONS; i++)
		if (!strcmp(option_table[i].name, name))
			return &option_table[i];
	return NULL;
}

static int option_set_number(const struct option_entry *e, void *field, const char *value,
			     char *error, size_t size)
{
	static const struct unit plain[] = {{"", 1}, {NULL, 0}};
	const struct unit *units = e->type == OPTION_SIZE   ? size_units
				   : e->type == OPTION_TIME ? time_units
							    : plain;
	const char *like = e->type == OPTION_SIZE   ? "a size such as 512M or 8G"
			   : e->type == OPTION_TIME ? "a time such as 500ms or 5s"
						    : "a number";
	uint64_t n;

	if (number_parse(value, units, &n))
		return fail(error, size, EINVAL, "%s: '%s' is not %s", e->name, value, like);
	if (n < e->min || n > e->max)
		return fail(error, size, ERANGE, "%s: %s is out of bounds (%llu to %llu)", e->name,
			    value, (unsigned long long)e->min, (unsigned long long)e->max);
	if (e->type == OPTION_U32 || e->type == OPTION_NODE)
		*(uint32_t *)field = (uint32_t)n;
	else
		*(uint64_t *)field = n;
	return 0;
}

static int word_index(const char *value, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcasecmp(value, words[i]))
			return i;
	return -1;
}

int options_set(struct options *options, const char *name, const char *value, char *error,
		size_t size)
{
	static const char *const switches[] = {"off",  "on", "no", "yes", "false",
					       "true", "0",  "1",  NULL};
	static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
	static const char *const logs[] = {"stderr", "journal", NULL};
	const struct option_entry *e = option_find(name);
	void *field;
	int i;

	if (!e)
		return fail(error, size, ENOENT,
			    "there is no option '%s'; leap-donor --help lists them", name);
	if (!value)
		return fail(error, size, EINVAL, "%s: a value is missing", name);
	field = (char *)options + e->offset;
	switch (e->type) {
	case OPTION_LISTEN:
		return listen_add(options, value, error, size);
	case OPTION_SIZE:
	case OPTION_TIME:
	case OPTION_U32:
	case OPTION_NODE:
		return option_set_number(e, field, value, error, size);
	case OPTION_SWITCH:
		i = word_index(value, switches);
		if (i < 0)
			return fail(error, size, EINVAL, "%s: '%s' is neither on nor off", name,
				    value);
		*(bool *)field = i & 1;
		return 0;
	case OPTION_LEVEL:
		i = word_index(value, levels);
		if (i < 0)
			return fail(error, size, EINVAL,
				    "%s: '%s' is none of error, warn, info, debug", name, value);
		*(uint32_t *)field = (uint32_t)i;
		return 0;
	case OPTION_LOG:
		i = word_index(value, logs);
		if (i < 0)
			return fail(error, size, EINVAL, "%s: '%s' is neither stderr nor journal",
				    name, value);
		*(bool *)field = i == 1;
		return 0;
	case OPTION_TEXT:
	case OPTION_CONFIG:
		if (strlen(value) >= e->max)
			return fail(error, size, ENAMETOOLONG, "%s: the path is too long", name);
		strcpy(field, value);
		return 0;
	}
	return -EINVAL;
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return s;
}

static int file_line(struct options *options, char *line, char *error, size_t size)
{
	const struct option_entry *e;
	char *name, *value, *hash = strchr(line, '#');

	if (hash)
		*hash = '\0';
	name = trim(line);
	if (!*name)
		return 0;
	value = strchr(name, '=');
	if (value) {
		*value++ = '\0';
		value = trim(value);
		name = trim(name);
	}
	e = option_find(name);
	if (e && e->type == OPTION_CONFIG)
		return fail(error, size, EINVAL, "config cannot stand in the file itself");
	if (!value) {
		if (!e || e->type != OPTION_SWITCH)
			return fail(error, size, EINVAL, "'%s' is not NAME = VALUE", name);
		value = "on";
	}
	return options_set(options, name, value, error, size);
}

static int options_file(struct options *options, const char *path, char *error, size_t size)
{
	char line[OPTIONS_LINE_MAX], why[512];
	FILE *f = fopen(path, "re");
	int r = 0;

	if (!f)
		return fail(error, size, errno, "cannot read the configuration file %s: %s", path,
			    strerror(errno));
	for (unsigned n = 1; !r && fgets(line, sizeof(line), f); n++) {
		if (!strchr(line, '\n') && !feof(f))
			r = fail(error, size, EINVAL, "%s:%u: the line is too long", path, n);
		else if ((r = file_line(options, line, why, sizeof(why))))
			fail(error, size, EINVAL, "%s:%u: %s", path, n, why);
	}
	fclose(f);
	return r;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	if (key == ARGP_KEY_ARG) {
		if (npositional == 2)
			argp_error(state,
				   "too many arguments: the short form is leap-donor IP PORT");
		positional[npositional++] = arg;
		return 0;
	}
	if (key < 256 || key >= 256 + (int)NOPTIONS)
		return ARGP_ERR_UNKNOWN;
	if (npairs == OPTIONS_PAIRS_MAX)
		argp_error(state, "too many options");
	pairs[npairs++] = (struct option_pair){option_table[key - 256].name, arg ? arg : "on"};
	return 0;
}

static int options_positional(struct options *options, char *error, size_t size)
{
	char text[320];
	int r;

	if (!npositional)
		return 0;
	if (npositional != 2)
		return fail(error, size, EINVAL, "the short form is leap-donor IP PORT");
	snprintf(text, sizeof(text), strchr(positional[0], ':') ? "tcp://[%s]:%s" : "tcp://%s:%s",
		 positional[0], positional[1]);
	r = listen_add(options, text, error, size);
	if (!r)
		options->listen[options->nlisten - 1].either = true;
	return r;
}

int options_reload(struct options *options, char *error, size_t size)
{
	const char *file = NULL;
	unsigned listens = 0;
	int r;

	options_defaults(options);
	for (unsigned i = 0; i < npairs; i++) {
		if (!strcmp(pairs[i].name, "config"))
			file = pairs[i].value;
		if (!strcmp(pairs[i].name, "listen"))
			listens++;
	}
	if (file && (r = options_file(options, file, error, size)))
		return r;
	if (listens || npositional)
		options->nlisten = 0;
	for (unsigned i = 0; i < npairs; i++)
		if ((r = options_set(options, pairs[i].name, pairs[i].value, error, size)))
			return r;
	if ((r = options_positional(options, error, size)))
		return r;
	if (!options->nlisten)
		return fail(error, size, EINVAL,
			    "nothing to listen on: give --listen tcp://0.0.0.0:9400, "
			    "--listen rdma://ADDRESS:9400, "
			    "--listen shm:NAME, or IP PORT");
	if (options->quota_bytes && options->quota_bytes < PROTO_SLAB_BYTES)
		return fail(error, size, ERANGE,
			    "quota: less than one slab (%lluM) would lend nothing",
			    (unsigned long long)(PROTO_SLAB_BYTES >> 20));
	return 0;
}

int options_parse(int argc, char **argv, struct options *options, char *error, size_t size)
{
	static struct argp_option list[NOPTIONS + 1];
	static const struct argp argp = {
		.options = list,
		.parser = parse_option,
		.args_doc = "[IP PORT]",
		.doc = "Lends this machine's memory to Leap clients.\v"
		       "Sizes take K, M, G, T (powers of 1024), times us, ms, s. SIGTERM drains "
		       "and exits, "
		       "SIGHUP rereads the configuration (memory, quota, reserve, log-level), "
		       "SIGUSR1 logs figures.",
	};

	for (unsigned i = 0; i < NOPTIONS; i++)
		list[i] = (struct argp_option){.name = option_table[i].name,
					       .key = 256 + (int)i,
					       .arg = option_table[i].metavar,
					       .doc = option_table[i].help};
	argp_program_version = "leap-donor " LEAP_VERSION_STRING;
	argp_err_exit_status = 2;
	if (argp_parse(&argp, argc, argv, 0, NULL, NULL))
		return fail(error, size, EINVAL, "bad arguments; try leap-donor --help");
	return options_reload(options, error, size);
}
