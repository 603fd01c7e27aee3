/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - the table of options, and all that is made from it: defaults, text to value and
 * back, the environment, the options of the public interface.
 *
 * Parsing runs in a preloaded process before its constructors, and in the thread that serves
 * `leap ctl`: no malloc, no stdio, no locale. Defaults go through config_set() like a user's
 * text, so that a default that is out of its own bounds cannot exist unseen (a test sets each).
 */
#include "libleap/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "leap.h"
#include "libleap/error.h"
#include "libleap/lock.h"
#include "libleap/util/fmt.h"
#include "libleap/util/mem.h"
#include "libleap/util/parse.h"

#define KIB             (1ull << 10)
#define MIB             (1ull << 20)
#define TIB             (1ull << 40)
#define MS              1000000ull
#define SEC             1000000000ull
#define OPTION_NAME_MAX 32 /* longest option name, with room */
#define VALUE_SHOW      64 /* so much of a bad value is repeated in a sentence */

#define AT(field) offsetof(struct config, field), sizeof(((struct config *)0)->field)

/* name, metavar, help, fallback, type, live, offset and size, min, max, choices */
/* clang-format off */
const struct config_option config_table[] = {
	{ "local", "LIMIT",
	  "local memory the program may use: a size (1G) or a share of what it holds (25%)",
	  "50%", CONFIG_LIMIT, true, AT(local), 8 * MIB, 64 * TIB, NULL },
	{ "donors", "URIS",
	  "where remote memory is, a list: loop:, shm:NAME, tcp://HOST:PORT, rdma://HOST:PORT",
	  "loop:", CONFIG_TEXT, false, AT(donors), 1, 0, NULL },
	{ "deadline", "TIME",
	  "a donor that is silent for so long is given up as dead",
	  "5s", CONFIG_TIME, true, AT(deadline_ns), MS, 3600 * SEC, NULL },
	{ "rejoin", "SWITCH",
	  "ask a donor that was lost for memory again when it answers; its old pages stay lost",
	  "on", CONFIG_BOOL, true, AT(rejoin), 0, 0, NULL },
	{ "ceiling", "PERCENT",
	  "how far the local limit may be exceeded when the donors are full",
	  "25", CONFIG_U32, true, AT(ceiling_percent), 0, 1000, NULL },
	{ "on_loss", "ACTION",
	  "touching a page that was lost with its donor: raise SIGBUS, or abort with a message",
	  "sigbus", CONFIG_ENUM, true, AT(on_loss), 0, 0, "sigbus|abort" },
	{ "prefetch", "POLICY",
	  "prefetch policy: none, nextn, stride, readahead, vma-readahead, majority, streams, adaptive, replay:FILE",
	  "adaptive", CONFIG_TEXT, true, AT(prefetch), 1, 0, NULL },
	{ "prefetching", "SWITCH",
	  "whether pages are fetched ahead of their use",
	  "on", CONFIG_BOOL, true, AT(prefetching), 0, 0, NULL },
	{ "hits", "MODE",
	  "how hits are noticed: by one marker page a window, or page by page in a cache (slower)",
	  "marker", CONFIG_ENUM, true, AT(hits), 0, 0, "marker|cache" },
	{ "history_size", "N",
	  "how many accesses the trend is looked for in",
	  "32", CONFIG_U32, true, AT(history_size), 2, 4096, NULL },
	{ "history_split", "N",
	  "the search for a trend begins with history_size / N accesses",
	  "8", CONFIG_U32, true, AT(history_split), 1, 4096, NULL },
	{ "window_max", "PAGES",
	  "most pages that one prefetch brings; 0: 512 with hits=marker, 8 with hits=cache",
	  "0", CONFIG_U32, true, AT(window_max), 0, 512, NULL },
	{ "prefetch_share", "PERCENT",
	  "share of the limit that prefetched pages may hold which nobody has touched yet",
	  "50", CONFIG_U32, true, AT(prefetch_share), 1, 100, NULL },
	{ "history_key", "SCOPE",
	  "whose accesses a history is of: a region, the process, each thread, or each stream of accesses near to each other",
	  "region", CONFIG_ENUM, true, AT(history_key), 0, 0, "region|process|thread|stream" },
	{ "exclude_threads", "NAME,...",
	  "threads by whose faults nothing is prefetched; NAME may end in '*'",
	  "", CONFIG_TEXT, false, AT(exclude_threads), 0, 0, NULL },
	{ "frontend", "KIND",
	  "how faults are heard: busy polls, block sleeps, inline uses SIGBUS (not for leap run); auto measures",
	  "auto", CONFIG_ENUM, false, AT(frontend), 0, 0, "auto|busy|block|inline" },
	{ "anchor", "WHEN",
	  "keep a thread that does little but fault on one CPU; auto: on under leap run",
	  "auto", CONFIG_ENUM, false, AT(anchor), 0, 0, "auto|on|off" },
	{ "mover", "KIND",
	  "how pages leave: move (Linux 6.14 or later) or wp (write-protect); auto takes the best",
	  "auto", CONFIG_ENUM, false, AT(mover), 0, 0, "auto|move|wp" },
	{ "fault_threads", "N",
	  "threads that serve faults; 0 chooses by the number of CPUs",
	  "0", CONFIG_U32, false, AT(fault_threads), 0, 16, NULL },
	{ "spin", "TIME",
	  "how long a thread polls for work before it sleeps",
	  "50us", CONFIG_TIME, true, AT(spin_ns), 0, SEC, NULL },
	{ "uffd_features", "MASK",
	  "userfaultfd features that may be used, for tests of older kernels",
	  "0xffffffffffffffff", CONFIG_U64_HEX, false, AT(uffd_features), 0, UINT64_MAX, NULL },
	{ "recycle", "SWITCH",
	  "reuse the frames of evicted pages; off if the program uses vmsplice or MSG_ZEROCOPY",
	  "on", CONFIG_BOOL, true, AT(recycle), 0, 0, NULL },
	{ "remote", "SWITCH",
	  "whether pages may be on donors; turned off while running, all come home first",
	  "on", CONFIG_BOOL, true, AT(remote), 0, 0, NULL },
	{ "limbo", "PERCENT",
	  "share of the limit for evicted pages that are kept a little longer, to notice reuse",
	  "3", CONFIG_U32, true, AT(limbo_percent), 0, 50, NULL },
	{ "loop_compress", "SWITCH",
	  "compress the pages of the loop: donor with lz4",
	  "on", CONFIG_BOOL, false, AT(loop_compress), 0, 0, NULL },
	{ "loop_bytes", "SIZE",
	  "most memory that the loop: donor may use; 0: no limit",
	  "0", CONFIG_SIZE, false, AT(loop_bytes_max), 0, 64 * TIB, NULL },
	{ "io_uring", "SWITCH",
	  "use io_uring for tcp: donors where the kernel allows it",
	  "on", CONFIG_BOOL, false, AT(io_uring), 0, 0, NULL },
	{ "rdma_device", "NAME[:PORT]",
	  "device, and its port, that rdma: donors are reached by; empty: what the route leads to",
	  "", CONFIG_TEXT, false, AT(rdma_device), 0, 0, NULL },
	{ "heap_reserve", "SIZE",
	  "leap run: address space set aside for managed memory",
	  "1T", CONFIG_SIZE, false, AT(heap_reserve), 64 * MIB, 64 * TIB, NULL },
	{ "map_min", "SIZE",
	  "leap run: an mmap() of at least this size is managed",
	  "64K", CONFIG_SIZE, false, AT(map_min), 4 * KIB, 64 * TIB, NULL },
	{ "follow_exec", "SWITCH",
	  "leap run: manage the programs that this one executes, too",
	  "off", CONFIG_BOOL, false, AT(follow_exec), 0, 0, NULL },
	{ "fork", "ACTION",
	  "leap run: serve the children that the program forks, or deny it to fork",
	  "serve", CONFIG_ENUM, false, AT(fork), 0, 0, "serve|deny" },
	{ "publish", "SWITCH",
	  "show figures to 'leap stat' and listen to 'leap ctl'",
	  "on", CONFIG_BOOL, false, AT(publish), 0, 0, NULL },
	{ "log_level", "LEVEL",
	  "which messages are written",
	  "warn", CONFIG_ENUM, true, AT(log_level), 0, 0, "error|warn|info|debug" },
	{ "log_file", "PATH",
	  "file that messages are appended to; empty: standard error",
	  "", CONFIG_TEXT, false, AT(log_file), 0, 0, NULL },
	{ "trace", "FILE",
	  "record faults and what is done about them into FILE (leap-trace(5)); %p: the process's id",
	  "", CONFIG_TEXT, false, AT(trace), 0, 0, NULL },
};
/* clang-format on */
const unsigned config_table_count = sizeof(config_table) / sizeof(config_table[0]);

int parse_limit(const char *text, struct config_limit *ret_limit)
{
	struct config_limit limit = {0};
	size_t n = strlen(text);
	int err;

	if (n && text[n - 1] == '%') {
		err = parse_u32(text, "%", &limit.percent);
		if (!err && (limit.percent < 1 || limit.percent > 100))
			err = -ERANGE;
	} else {
		err = parse_size(text, &limit.bytes);
	}
	if (!err)
		*ret_limit = limit;
	return err;
}

/* Number of the word in "a|b|c", or -1. */
static int find_choice(const char *choices, const char *word)
{
	size_t n = strlen(word);

	if (!n)
		return -1;
	for (int i = 0;; i++) {
		size_t len = strcspn(choices, "|");

		if (len == n && !memcmp(choices, word, n))
			return i;
		choices += len;
		if (!*choices++)
			return -1;
	}
}

/* Same character but that '-' stands for '_' (flags are written so). */
static bool same_name(const char *name, const char *given)
{
	for (; *name && (*name == *given || (*name == '_' && *given == '-')); name++)
		given++;
	return !*name && !*given;
}

const struct config_option *config_find(const char *name)
{
	for (unsigned i = 0; i < config_table_count; i++) {
		if (same_name(config_table[i].name, name))
			return &config_table[i];
	}
	return NULL;
}

/* Insertions, deletions and changes between two words; OPTION_NAME_MAX when b is too long to be
 * a typing error. */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[OPTION_NAME_MAX + 1], nb = (unsigned)strnlen(b, OPTION_NAME_MAX + 1), diagonal,
					   above;

	if (nb > OPTION_NAME_MAX)
		return OPTION_NAME_MAX;
	for (unsigned j = 0; j <= nb; j++)
		row[j] = j;
	for (unsigned i = 0; a[i]; i++) {
		diagonal = row[0];
		row[0] = i + 1;
		for (unsigned j = 0; j < nb; j++) {
			unsigned best = diagonal + (a[i] != (b[j] == '-' ? '_' : b[j]));

			above = row[j + 1];
			diagonal = above;
			if (above + 1 < best)
				best = above + 1;
			if (row[j] + 1 < best)
				best = row[j] + 1;
			row[j + 1] = best;
		}
	}
	return row[nb];
}

static int unknown_option(const char *name)
{
	const struct config_option *nearest = NULL;
	unsigned least = 3;

	for (unsigned i = 0; i < config_table_count; i++) {
		unsigned d = edit_distance(config_table[i].name, name);

		if (d < least) {
			least = d;
			nearest = &config_table[i];
		}
	}
	if (nearest)
		return error_set(ENOENT, "there is no option '%.*s'; did you mean '%s'?",
				 VALUE_SHOW, name, nearest->name);
	return error_set(ENOENT, "there is no option '%.*s'; 'leap run --help' lists all",
			 VALUE_SHOW, name);
}

/* What a value of this type looks like, for the sentence about a bad one. */
static const char *form_of(const struct config_option *option, char *buf, size_t size)
{
	switch (option->type) {
	case CONFIG_SIZE:
		return "a size such as 64K, 512M or 1G";
	case CONFIG_TIME:
		return "a time with its unit, such as 50us, 20ms or 5s";
	case CONFIG_U32:
		return "a whole number";
	case CONFIG_U64_HEX:
		return "a mask such as 0x1ff";
	case CONFIG_BOOL:
		return "on or off";
	case CONFIG_LIMIT:
		return "a size such as 512M or 1G, or a share such as 25%";
	case CONFIG_ENUM:
		fmt_print(buf, size, "one of %s", option->choices);
		return buf;
	case CONFIG_TEXT:
		break;
	}
	return "a text";
}

static size_t format_number(const struct config_option *option, uint64_t value, char *buf,
			    size_t size)
{
	if (option->type == CONFIG_SIZE || option->type == CONFIG_LIMIT)
		return format_size(value, buf, size);
	if (option->type == CONFIG_TIME)
		return format_time(value, buf, size);
	if (option->type == CONFIG_U64_HEX)
		return fmt_print(buf, size, "0x%lx", (unsigned long)value);
	return fmt_print(buf, size, "%lu", (unsigned long)value);
}

static int out_of_bounds(const struct config_option *option, const char *text)
{
	char min[32], max[32];
	uint64_t bytes;

	format_number(option, option->min, min, sizeof(min));
	format_number(option, option->max, max, sizeof(max));
	if (option->type != CONFIG_LIMIT)
		return error_set(ERANGE,
				 "option %s: %.*s is out of bounds; give a value from %s to %s",
				 option->name, VALUE_SHOW, text, min, max);
	if (strchr(text, '%'))
		return error_set(ERANGE,
				 "option %s: a share of %.*s is out of bounds; give 1%% to 100%%",
				 option->name, VALUE_SHOW, text);
	if (parse_size(text, &bytes) || bytes > option->max)
		return error_set(ERANGE,
				 "option %s: a limit of %.*s is above the maximum; give at most %s",
				 option->name, VALUE_SHOW, text, max);
	return error_set(ERANGE,
			 "option %s: a limit of %.*s is below the minimum; give at least %s, or a "
			 "share such as 25%%",
			 option->name, VALUE_SHOW, text, min);
}

static int check_bounds(const struct config_option *option, uint64_t value)
{
	return value < option->min || value > option->max ? -ERANGE : 0;
}

static int set_text(const struct config_option *option, char *field, const char *text)
{
	size_t n = strlen(text);

	if (n < option->min)
		return error_set(EINVAL, "option %s must not be empty", option->name);
	if (n >= option->size)
		return error_set(ERANGE,
				 "option %s: the text has %zu characters, at most %zu are possible",
				 option->name, n, option->size - 1);
	memset(field, 0, option->size);
	memcpy(field, text, n);
	return 0;
}

/* Parses text into the field; on failure the field is as before. No sentence but for texts. */
static int set_field(const struct config_option *option, void *field, const char *text)
{
	struct config_limit limit;
	uint64_t u64 = 0;
	uint32_t u32 = 0;
	int err, choice;
	size_t n;

	switch (option->type) {
	case CONFIG_SIZE:
	case CONFIG_TIME:
	case CONFIG_U64_HEX:
		err = option->type == CONFIG_SIZE   ? parse_size(text, &u64)
		      : option->type == CONFIG_TIME ? parse_time(text, &u64)
						    : parse_hex(text, &u64);
		if (!err)
			err = check_bounds(option, u64);
		if (!err)
			*(uint64_t *)field = u64;
		return err;
	case CONFIG_U32:
		n = strlen(text);
		err = parse_u32(text,
				!strcmp(option->metavar, "PERCENT") && n && text[n - 1] == '%' ? "%"
											       : "",
				&u32);
		if (!err)
			err = check_bounds(option, u32);
		if (!err)
			*(uint32_t *)field = u32;
		return err;
	case CONFIG_BOOL:
		return parse_bool(text, field);
	case CONFIG_ENUM:
		choice = find_choice(option->choices, text);
		if (choice >= 0)
			*(int *)field = choice;
		return choice < 0 ? -EINVAL : 0;
	case CONFIG_LIMIT:
		err = parse_limit(text, &limit);
		if (!err && !limit.percent)
			err = check_bounds(option, limit.bytes);
		if (!err)
			*(struct config_limit *)field = limit;
		return err;
	case CONFIG_TEXT:
		return set_text(option, field, text);
	}
	return -EINVAL;
}

int config_set(struct config *config, const char *name, const char *value)
{
	const struct config_option *option = config_find(name);
	char form[128];
	int err;

	if (!option)
		return unknown_option(name);
	err = set_field(option, (char *)config + option->offset, value);
	if (!err || option->type == CONFIG_TEXT)
		return err;
	if (err == -ERANGE)
		return out_of_bounds(option, value);
	return error_set(EINVAL, "option %s: '%.*s' cannot be understood; write %s", option->name,
			 VALUE_SHOW, value, form_of(option, form, sizeof(form)));
}

static size_t format_choice(const char *choices, int choice, char *buf, size_t size)
{
	for (; choice > 0; choice--)
		choices += strcspn(choices, "|") + 1;
	return fmt_print(buf, size, "%.*s", (int)strcspn(choices, "|"), choices);
}

int config_get(const struct config *config, const char *name, char *buf, size_t size)
{
	const struct config_option *option = config_find(name);
	const struct config_limit *limit;
	const char *text;
	const void *field;
	char value[64] = "";
	size_t n;

	if (!option)
		return unknown_option(name);
	field = (const char *)config + option->offset;
	text = value;
	switch (option->type) {
	case CONFIG_SIZE:
	case CONFIG_TIME:
	case CONFIG_U64_HEX:
		format_number(option, *(const uint64_t *)field, value, sizeof(value));
		break;
	case CONFIG_U32:
		format_number(option, *(const uint32_t *)field, value, sizeof(value));
		break;
	case CONFIG_BOOL:
		text = *(const bool *)field ? "on" : "off";
		break;
	case CONFIG_ENUM:
		format_choice(option->choices, *(const int *)field, value, sizeof(value));
		break;
	case CONFIG_LIMIT:
		limit = field;
		if (limit->percent)
			fmt_print(value, sizeof(value), "%u%%", limit->percent);
		else
			format_number(option, limit->bytes, value, sizeof(value));
		break;
	case CONFIG_TEXT:
		text = field;
		break;
	}
	n = strlen(text) + 1;
	if (n > size)
		return error_set(ENOSPC,
				 "the value of option %s needs %zu bytes, the buffer has %zu",
				 option->name, n, size);
	memcpy(buf, text, n);
	return 0;
}

void config_defaults(struct config *config)
{
	memset(config, 0, sizeof(*config));
	for (unsigned i = 0; i < config_table_count; i++)
		config_set(config, config_table[i].name, config_table[i].fallback);
}

void config_env_name(const struct config_option *option, char *buf, size_t size)
{
	size_t n = fmt_print(buf, size, "LEAP_%s", option->name);

	for (size_t i = 0; i < n; i++) {
		if (buf[i] >= 'a' && buf[i] <= 'z')
			buf[i] = (char)(buf[i] - 'a' + 'A');
	}
}

int config_from_env(struct config *config)
{
	for (unsigned i = 0; i < config_table_count; i++) {
		char name[OPTION_NAME_MAX + 8];
		const char *value;
		int err;

		config_env_name(&config_table[i], name, sizeof(name));
		value = secure_getenv(
			name); /* a set-user-ID program does not listen to its caller */
		if (!value)
			continue;
		err = config_set(config, config_table[i].name, value);
		if (err)
			return error_prefix(err, name);
	}
	return 0;
}

int config_check_program(const struct config *config)
{
	if (config->frontend != FRONTEND_INLINE)
		return 0;
	return error_set(EINVAL,
			 "front end inline is for programs that use the library: a system call on "
			 "memory that is not local would fail with EFAULT here; use frontend=auto, "
			 "block or busy");
}

int config_check(const struct config *config)
{
	if (config->history_split > config->history_size)
		return error_set(EINVAL,
				 "history_split (%u) is larger than history_size (%u); make it at "
				 "most as large",
				 config->history_split, config->history_size);
	if (config->map_min > config->heap_reserve)
		return error_set(EINVAL, "map_min is larger than heap_reserve: nothing could be "
					 "managed; make it smaller");
	return 0;
}

int config_check_memory(const struct config *config, const struct cgroup_memory *memory)
{
	uint64_t most = cgroup_managed(memory);
	char want[32], allowed[32], fits[32];

	if (config->local.percent || config->local.bytes <= most)
		return 0;
	format_size(config->local.bytes, want, sizeof(want));
	format_size(memory->limit, allowed, sizeof(allowed));
	format_size(most >> 20 << 20, fits, sizeof(fits));
	return error_set(
		ERANGE,
		"option local: a limit of %s cannot hold: the memory cgroup %s allows this "
		"process %s in all; give at most %s, or raise the cgroup's limit",
		want, memory->group, allowed, fits);
}

struct leap_options *leap_options_new(void)
{
	struct leap_options *options;
	struct lock_app saved;

	lock_app_enter(&saved);
	options = mem_alloc(sizeof(*options));
	lock_app_leave(&saved);
	if (options)
		config_defaults(&options->config);
	else
		error_set(ENOMEM, "leap_options_new: no memory");
	return options;
}

void leap_options_free(struct leap_options *options)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	mem_free(options);
	lock_app_leave(&saved);
}

int leap_options_set(struct leap_options *options, const char *name, const char *value)
{
	if (!options || !name || !value)
		return error_set(EINVAL,
				 "leap_options_set: options, name and value must not be NULL");
	return config_set(&options->config, name, value);
}

int leap_options_from_env(struct leap_options *options)
{
	if (!options)
		return error_set(EINVAL, "leap_options_from_env: options must not be NULL");
	return config_from_env(&options->config);
}

const char *leap_option_name(unsigned index)
{
	return index < config_table_count ? config_table[index].name : NULL;
}

const char *leap_option_help(unsigned index)
{
	return index < config_table_count ? config_table[index].help : NULL;
}
