/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/config.c libleap/util/parse.c libleap/util/mem.c libleap/util/fmt.c libleap/error.c libleap/lock.c libleap/log.c */
/*
 * The table of options, the parsers, the environment and the public option functions.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "leap.h"
#include "libleap/config.h"
#include "libleap/error.h"
#include "libleap/util/mem.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct number_case {
	const char *text;
	int err;
	uint64_t value;
};

static void test_parse_size(void **state)
{
	static const struct number_case cases[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"4096", 0, 4096},
		{"64K", 0, 65536},
		{"64k", 0, 65536},
		{"64KB", 0, 65536},
		{"64KiB", 0, 65536},
		{"64kib", 0, 65536},
		{"7B", 0, 7},
		{"512M", 0, 536870912},
		{"1G", 0, 1073741824},
		{"1.5G", 0, 1610612736},
		{"0.25K", 0, 256},
		{"1.1K", 0, 1126},
		{"2T", 0, 2199023255552},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"16777215T", 0, 0xffffff0000000000},
		{"16777216T", -ERANGE, 0},
		{"99999999999999999999999G", -ERANGE, 0},
		{"1.123456789123456789K", 0, 1150},
		{"", -EINVAL, 0},
		{" 1G", -EINVAL, 0},
		{"1G ", -EINVAL, 0},
		{"1 G", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"G", -EINVAL, 0},
		{"1.G", -EINVAL, 0},
		{".5G", -EINVAL, 0},
		{"1.5.5G", -EINVAL, 0},
		{"1GG", -EINVAL, 0},
		{"1Gi", -EINVAL, 0},
		{"1iB", -EINVAL, 0},
		{"1P", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1%", -EINVAL, 0},
		{"1@", -EINVAL, 0},
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		uint64_t value = 12345;

		if (parse_size(cases[i].text, &value) != cases[i].err)
			fail_msg("'%s'", cases[i].text);
		assert_true(value == (cases[i].err ? 12345 : cases[i].value));
	}
}

static void test_parse_time(void **state)
{
	static const struct number_case cases[] = {
		{"0", 0, 0},
		{"0s", 0, 0},
		{"1ns", 0, 1},
		{"50us", 0, 50000},
		{"20ms", 0, 20000000},
		{"5s", 0, 5000000000},
		{"1.5s", 0, 1500000000},
		{"2min", 0, 120000000000},
		{"18446744073s", 0, 18446744073000000000u},
		{"18446744074s", -ERANGE, 0},
		{"5", -EINVAL, 0},
		{"5S", -EINVAL, 0},
		{"5m", -EINVAL, 0},
		{"5 s", -EINVAL, 0},
		{"s", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"-5s", -EINVAL, 0},
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		uint64_t value = 12345;

		if (parse_time(cases[i].text, &value) != cases[i].err)
			fail_msg("'%s'", cases[i].text);
		assert_true(value == (cases[i].err ? 12345 : cases[i].value));
	}
}

static void test_parse_limit(void **state)
{
	static const struct {
		const char *text;
		int err;
		uint64_t bytes;
		uint32_t percent;
	} cases[] = {
		{"1G", 0, 1 << 30, 0},
		{"25%", 0, 0, 25},
		{"1%", 0, 0, 1},
		{"100%", 0, 0, 100},
		{"0%", -ERANGE, 0, 0},
		{"101%", -ERANGE, 0, 0},
		{"5000000000%", -ERANGE, 0, 0},
		{"2.5%", -EINVAL, 0, 0},
		{"%", -EINVAL, 0, 0},
		{"1G%", -EINVAL, 0, 0},
		{"", -EINVAL, 0, 0},
		{"25%%", -EINVAL, 0, 0},
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		struct config_limit limit = {7, 7};

		if (parse_limit(cases[i].text, &limit) != cases[i].err)
			fail_msg("'%s'", cases[i].text);
		assert_true(limit.bytes == (cases[i].err ? 7 : cases[i].bytes));
		assert_true(limit.percent == (cases[i].err ? 7 : cases[i].percent));
	}
}

static void test_parse_bool(void **state)
{
	static const char *const yes[] = {"on", "yes", "true", "1", "ON", "Yes"};
	static const char *const no[] = {"off", "no", "false", "0", "OFF", "No"};
	static const char *const bad[] = {"", "o", "onn", "2", "maybe", "on "};
	bool value;

	for (unsigned i = 0; i < COUNT(yes); i++) {
		value = false;
		assert_int_equal(parse_bool(yes[i], &value), 0);
		assert_true(value);
		assert_int_equal(parse_bool(no[i], &value), 0);
		assert_false(value);
		assert_int_equal(parse_bool(bad[i], &value), -EINVAL);
	}
}

/* Whatever is written parses back to the same number. */
static void test_format_round_trip(void **state)
{
	uint64_t value = 1, back;
	char text[32];

	for (int i = 0; i < 10000; i++) {
		value = value * 6364136223846793005u + 1442695040888963407u;
		value = value >> (value >> 59 & 31) << (value >> 53 & 15);
		format_size(value, text, sizeof(text));
		assert_int_equal(parse_size(text, &back), 0);
		assert_true(back == value);
		format_time(value, text, sizeof(text));
		assert_int_equal(parse_time(text, &back), 0);
		assert_true(back == value);
	}
	format_size(3 << 19, text, sizeof(text));
	assert_string_equal(text, "1536K");
	format_time(1500000, text, sizeof(text));
	assert_string_equal(text, "1500us");
	format_size(0, text, sizeof(text));
	assert_string_equal(text, "0");
}

static void test_table_is_sound(void **state)
{
	struct config config;
	char text[5000], env[64];

	config_defaults(&config);
	for (unsigned i = 0; i < config_table_count; i++) {
		const struct config_option *option = &config_table[i];
		size_t n = strlen(option->help);

		assert_true(config_find(option->name) == option);
		assert_true(n > 10 && n < 120);
		assert_true(option->help[n - 1] != '.' && !strchr(option->help, '\n'));
		assert_true(strlen(option->name) < 32 && option->metavar[0]);
		assert_true(option->offset + option->size <= sizeof(config));
		if (option->type == CONFIG_SIZE || option->type == CONFIG_TIME ||
		    option->type == CONFIG_U64_HEX)
			assert_int_equal(option->size, sizeof(uint64_t));
		if (option->type == CONFIG_U32)
			assert_int_equal(option->size, sizeof(uint32_t));
		if (option->type == CONFIG_ENUM)
			assert_int_equal(option->size, sizeof(int));
		if (option->type == CONFIG_BOOL)
			assert_int_equal(option->size, sizeof(bool));
		if (option->type == CONFIG_LIMIT)
			assert_int_equal(option->size, sizeof(struct config_limit));
		assert_int_equal(option->type == CONFIG_ENUM, option->choices != NULL);
		/* each default is a legal value, and what is read back is the default */
		assert_int_equal(config_set(&config, option->name, option->fallback), 0);
		assert_int_equal(config_get(&config, option->name, text, sizeof(text)), 0);
		assert_string_equal(text, option->fallback);
		config_env_name(option, env, sizeof(env));
		assert_memory_equal(env, "LEAP_", 5);
		for (unsigned k = 0; k < i; k++)
			assert_true(config_table[k].offset != option->offset);
	}
	assert_int_equal(config_check(&config), 0);
}

static void test_defaults(void **state)
{
	struct config c;

	memset(&c, 0x5a, sizeof(c));
	config_defaults(&c);
	assert_int_equal(c.local.percent, 50);
	assert_int_equal(c.local.bytes, 0);
	assert_string_equal(c.donors, "loop:");
	assert_true(c.deadline_ns == 5000000000);
	assert_int_equal(c.ceiling_percent, 25);
	assert_int_equal(c.on_loss, ON_LOSS_SIGBUS);
	assert_string_equal(c.prefetch, "adaptive");
	assert_true(c.prefetching && c.recycle && c.remote && c.loop_compress && c.io_uring &&
		    c.publish);
	assert_false(c.follow_exec);
	assert_int_equal(c.hits, HITS_MARKER);
	assert_int_equal(c.history_size, 32);
	assert_int_equal(c.history_split, 8);
	assert_int_equal(c.window_max, 0);
	assert_int_equal(c.prefetch_share, 50);
	assert_int_equal(c.history_key, HISTORY_REGION);
	assert_int_equal(c.frontend, FRONTEND_AUTO);
	assert_int_equal(c.mover, MOVER_AUTO);
	assert_int_equal(c.fault_threads, 0);
	assert_int_equal(c.spin_ns, 50000);
	assert_true(c.uffd_features == UINT64_MAX);
	assert_int_equal(c.limbo_percent, 3);
	assert_int_equal(c.loop_bytes_max, 0);
	assert_true(c.heap_reserve == 1ull << 40);
	assert_int_equal(c.map_min, 65536);
	assert_int_equal(c.fork, FORK_SERVE);
	assert_int_equal(c.log_level, 1);
	assert_string_equal(c.log_file, "");
	assert_true(c.rejoin);
	assert_string_equal(c.rdma_device, "");
}

static void test_set_and_get(void **state)
{
	static const struct {
		const char *name, *value, *shown;
	} cases[] = {
		{"local", "1G", "1G"},
		{"local", "25%", "25%"},
		{"local", "8M", "8M"},
		{"local", "1.5G", "1536M"},
		{"donors", "tcp://a:1,b:2", "tcp://a:1,b:2"},
		{"deadline", "1500ms", "1500ms"},
		{"ceiling", "0", "0"},
		{"ceiling", "40%", "40"},
		{"on_loss", "abort", "abort"},
		{"on-loss", "sigbus", "sigbus"},
		{"hits", "cache", "cache"},
		{"history_size", "4096", "4096"},
		{"history-size", "2", "2"},
		{"window_max", "512", "512"},
		{"history_key", "thread", "thread"},
		{"history_key", "stream", "stream"},
		{"exclude_threads", "gc-*,worker", "gc-*,worker"},
		{"frontend", "inline", "inline"},
		{"frontend", "block", "block"},
		{"mover", "wp", "wp"},
		{"fault_threads", "16", "16"},
		{"spin", "0", "0"},
		{"spin", "1s", "1s"},
		{"uffd_features", "0x1FF", "0x1ff"},
		{"uffd_features", "0x0", "0x0"},
		{"recycle", "no", "off"},
		{"loop_bytes", "3G", "3G"},
		{"limbo", "10%", "10"},
		{"fork", "deny", "deny"},
		{"log_level", "debug", "debug"},
		{"rdma_device", "mlx5_0:1", "mlx5_0:1"},
		{"log_file", "/var/log/x", "/var/log/x"},
	};
	struct config config;
	char text[5000];

	config_defaults(&config);
	for (unsigned i = 0; i < COUNT(cases); i++) {
		if (config_set(&config, cases[i].name, cases[i].value))
			fail_msg("%s=%s: %s", cases[i].name, cases[i].value, error_last());
		assert_int_equal(config_get(&config, cases[i].name, text, sizeof(text)), 0);
		assert_string_equal(text, cases[i].shown);
	}
}

/* Every kind of mistake: its code and its sentence. */
#define X16 "xxxxxxxxxxxxxxxx"
#define X64 X16 X16 X16 X16

static const struct {
	const char *name, *value;
	int err;
	const char *sentence;
} mistakes[] = {
	{"local", "4M", -ERANGE,
	 "option local: a limit of 4M is below the minimum; give at least 8M, or a share "
	 "such as 25%"},
	{"local", "8388607", -ERANGE, NULL},
	{"local", "65T", -ERANGE, NULL},
	{"local", "0%", -ERANGE, "option local: a share of 0% is out of bounds; give 1% to 100%"},
	{"local", "lots", -EINVAL,
	 "option local: 'lots' cannot be understood; write a size such as 512M or 1G, or a "
	 "share such as 25%"},
	{"local", "", -EINVAL, NULL},
	{"deadline", "5", -EINVAL,
	 "option deadline: '5' cannot be understood; write a time with its unit, such as "
	 "50us, 20ms or 5s"},
	{"deadline", "0", -ERANGE,
	 "option deadline: 0 is out of bounds; give a value from 1ms to 3600s"},
	{"ceiling", "-1", -EINVAL,
	 "option ceiling: '-1' cannot be understood; write a whole number"},
	{"ceiling", "1001", -ERANGE, NULL},
	{"history_size", "1", -ERANGE,
	 "option history_size: 1 is out of bounds; give a value from 2 to 4096"},
	{"history_size", "32%", -EINVAL, NULL},
	{"history_split", "0", -ERANGE, NULL},
	{"history_size", "4294967298", -ERANGE, NULL},
	{"window_max", "513", -ERANGE, NULL},
	{"mover", "mv", -EINVAL,
	 "option mover: 'mv' cannot be understood; write one of auto|move|wp"},
	{"mover", "", -EINVAL, NULL},
	{"mover", "auto|move", -EINVAL, NULL},
	{"mover", "AUTO", -EINVAL, NULL},
	{"recycle", "maybe", -EINVAL,
	 "option recycle: 'maybe' cannot be understood; write on or off"},
	{"uffd_features", "ff", -EINVAL,
	 "option uffd_features: 'ff' cannot be understood; write a mask such as 0x1ff"},
	{"uffd_features", "0x", -EINVAL, NULL},
	{"uffd_features", "0xg", -EINVAL, NULL},
	{"uffd_features", "0x10000000000000000", -ERANGE, NULL},
	{"map_min", "4095", -ERANGE,
	 "option map_min: 4095 is out of bounds; give a value from 4K to 64T"},
	{"donors", "", -EINVAL, "option donors must not be empty"},
	{"prefetch", X64 X64 X64 X64, -ERANGE,
	 "option prefetch: the text has 256 characters, at most 255 are possible"},
	{"locl", "1G", -ENOENT, "there is no option 'locl'; did you mean 'local'?"},
	{"donor", "x", -ENOENT, "there is no option 'donor'; did you mean 'donors'?"},
	{"prefetcing", "on", -ENOENT,
	 "there is no option 'prefetcing'; did you mean 'prefetching'?"},
	{"on-los", "x", -ENOENT, "there is no option 'on-los'; did you mean 'on_loss'?"},
	{"Local", "1G", -ENOENT, "there is no option 'Local'; did you mean 'local'?"},
	{"memory", "1G", -ENOENT, "there is no option 'memory'; 'leap run --help' lists all"},
	{"", "1G", -ENOENT, "there is no option ''; 'leap run --help' lists all"},
};

/* ... and nothing changed. */
static void test_bad_values(void **state)
{
	static struct config config, before;

	config_defaults(&config);
	before = config;
	for (unsigned i = 0; i < COUNT(mistakes); i++) {
		error_clear();
		if (config_set(&config, mistakes[i].name, mistakes[i].value) != mistakes[i].err)
			fail_msg("%s=%s: %s", mistakes[i].name, mistakes[i].value, error_last());
		if (mistakes[i].sentence)
			assert_string_equal(error_last(), mistakes[i].sentence);
		assert_true(error_last()[0]);
		assert_memory_equal(&config, &before, sizeof(config));
	}
}

static void test_long_names_and_values(void **state)
{
	static struct config config;
	static char text[6000];

	config_defaults(&config);
	memset(text, 'x', sizeof(text) - 1);
	assert_int_equal(config_set(&config, text, "1"), -ENOENT);
	assert_true(strlen(error_last()) < 200);
	assert_int_equal(config_set(&config, "local", text), -EINVAL);
	assert_true(strlen(error_last()) < 250);
	assert_int_equal(config_set(&config, "donors", text), -ERANGE);
	text[4095] = '\0';
	assert_int_equal(config_set(&config, "donors", text), 0);
	assert_string_equal(config.donors, text);
}

static void test_get_errors(void **state)
{
	struct config config;
	char text[8];

	config_defaults(&config);
	assert_int_equal(config_get(&config, "nothing", text, sizeof(text)), -ENOENT);
	assert_int_equal(config_get(&config, "donors", text, 5), -ENOSPC);
	assert_int_equal(config_get(&config, "donors", text, 0), -ENOSPC);
	assert_int_equal(config_get(&config, "donors", text, 6), 0);
	assert_string_equal(text, "loop:");
}

/* A limit that the memory cgroup cannot hold is refused with both numbers. */
static void test_check_memory(void **state)
{
	struct cgroup_memory m = {.limit = 512ull << 20, .group = "/box"};
	struct config config;

	config_defaults(&config);
	assert_int_equal(config_check_memory(&config, &m), 0); /* a share is cut instead */
	assert_int_equal(config_set(&config, "local", "448M"), 0);
	assert_int_equal(config_check_memory(&config, &m), 0);
	assert_int_equal(config_set(&config, "local", "449M"), 0);
	assert_int_equal(config_check_memory(&config, &m), -ERANGE);
	assert_non_null(strstr(error_last(), "449M"));
	assert_non_null(strstr(error_last(), "/box"));
	assert_non_null(strstr(error_last(), "512M"));
	m.limit = UINT64_MAX;
	assert_int_equal(config_check_memory(&config, &m), 0);
}

static void test_check(void **state)
{
	struct config config;

	config_defaults(&config);
	config_set(&config, "history_size", "4");
	assert_int_equal(config_check(&config), -EINVAL);
	assert_non_null(strstr(error_last(), "history_split (8)"));
	config_set(&config, "history_split", "4");
	assert_int_equal(config_check(&config), 0);
	config_set(&config, "map_min", "2T");
	assert_int_equal(config_check(&config), -EINVAL);
}

static void test_environment(void **state)
{
	struct leap_options *options = leap_options_new();

	assert_non_null(options);
	setenv("LEAP_LOCAL", "2G", 1);
	setenv("LEAP_ON_LOSS", "abort", 1);
	setenv("LEAP_HISTORY_SIZE", "64", 1);
	setenv("LEAP_NOT_AN_OPTION", "1", 1);
	assert_int_equal(leap_options_from_env(options), 0);
	assert_true(options->config.local.bytes == 2ull << 30 &&
		    options->config.local.percent == 0);
	assert_int_equal(options->config.on_loss, ON_LOSS_ABORT);
	assert_int_equal(options->config.history_size, 64);
	setenv("LEAP_ON_LOSS", "shrug", 1);
	assert_int_equal(leap_options_from_env(options), -EINVAL);
	assert_string_equal(error_last(), "LEAP_ON_LOSS: option on_loss: 'shrug' cannot be "
					  "understood; write one of sigbus|abort");
	assert_int_equal(options->config.on_loss, ON_LOSS_ABORT);
	unsetenv("LEAP_LOCAL");
	unsetenv("LEAP_ON_LOSS");
	unsetenv("LEAP_HISTORY_SIZE");
	unsetenv("LEAP_NOT_AN_OPTION");
	leap_options_free(options);
}

static void test_options_api(void **state)
{
	struct leap_options *options;
	unsigned n = 0;

	mem_fail_nth(1, false);
	assert_null(leap_options_new());
	assert_string_equal(error_last(), "leap_options_new: no memory");
	mem_fail_nth(0, false);
	options = leap_options_new();
	assert_non_null(options);
	assert_int_equal(options->config.history_size, 32);
	assert_int_equal(leap_options_set(options, "history_size", "16"), 0);
	assert_int_equal(options->config.history_size, 16);
	assert_int_equal(leap_options_set(options, "history_size", "x"), -EINVAL);
	assert_int_equal(leap_options_set(options, "nothing", "x"), -ENOENT);
	assert_int_equal(leap_options_set(NULL, "local", "1G"), -EINVAL);
	assert_int_equal(leap_options_set(options, NULL, "1G"), -EINVAL);
	assert_int_equal(leap_options_set(options, "local", NULL), -EINVAL);
	assert_int_equal(leap_options_from_env(NULL), -EINVAL);
	leap_options_free(options);
	leap_options_free(NULL);
	while (leap_option_name(n)) {
		assert_non_null(leap_option_help(n));
		n++;
	}
	assert_int_equal(n, config_table_count);
	assert_null(leap_option_help(n));
	assert_null(leap_option_name(~0u));
}

static void test_live_options(void **state)
{
	static const char *const live[] = {"local",        "prefetch",      "prefetching", "hits",
					   "history_size", "history_split", "window_max",  "remote",
					   "deadline",     "ceiling",       "on_loss",     "spin",
					   "limbo",        "recycle",       "log_level",   "rejoin",
					   "history_key",  "prefetch_share"};
	unsigned n = 0;

	for (unsigned i = 0; i < COUNT(live); i++)
		assert_true(config_find(live[i])->live);
	for (unsigned i = 0; i < config_table_count; i++)
		n += config_table[i].live;
	assert_int_equal(n, COUNT(live));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_size),
		cmocka_unit_test(test_parse_time),
		cmocka_unit_test(test_parse_limit),
		cmocka_unit_test(test_parse_bool),
		cmocka_unit_test(test_format_round_trip),
		cmocka_unit_test(test_table_is_sound),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_set_and_get),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_long_names_and_values),
		cmocka_unit_test(test_get_errors),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_check_memory),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_options_api),
		cmocka_unit_test(test_live_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
