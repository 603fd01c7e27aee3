/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/util/parse.c libleap/util/fmt.c */
/*
 * Numbers and masks as people write them, and the bounds of all parsers. Sizes, times and switches in
 * general: test_config.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/util/parse.h"

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))
#define UNTOUCHED   4711

static void test_u32(void **state)
{
	static const struct {
		const char *text, *suffix;
		int err;
		uint32_t value;
	} cases[] = {
		{"0", "", 0, 0},
		{"007", "", 0, 7},
		{"4294967295", "", 0, UINT32_MAX},
		{"4294967296", "", -ERANGE, 0},
		{"18446744073709551616", "", -ERANGE, 0},
		{"99999999999999999999999999", "", -ERANGE, 0},
		{"25%", "%", 0, 25},
		{"4294967296%", "%", -ERANGE, 0},
		{"25", "%", -EINVAL, 0},
		{"25%", "", -EINVAL, 0},
		{"25%%", "%", -EINVAL, 0},
		{"", "", -EINVAL, 0},
		{"%", "%", -EINVAL, 0},
		{"-1", "", -EINVAL, 0},
		{"+1", "", -EINVAL, 0},
		{" 1", "", -EINVAL, 0},
		{"1 ", "", -EINVAL, 0},
		{"1.0", "", -EINVAL, 0},
		{"1.", "", -EINVAL, 0},
		{"0x1", "", -EINVAL, 0},
		{"1K", "", -EINVAL, 0},
	};

	for (unsigned i = 0; i < ELEMENTS(cases); i++) {
		uint32_t value = UNTOUCHED;

		if (parse_u32(cases[i].text, cases[i].suffix, &value) != cases[i].err)
			fail_msg("'%s' with '%s'", cases[i].text, cases[i].suffix);
		assert_int_equal(value, cases[i].err ? UNTOUCHED : cases[i].value);
	}
}

static void test_hex(void **state)
{
	static const struct {
		const char *text;
		int err;
		uint64_t value;
	} cases[] = {
		{"0x0", 0, 0},
		{"0x1ff", 0, 0x1ff},
		{"0XaBcDeF", 0, 0xabcdef},
		{"0xffffffffffffffff", 0, UINT64_MAX},
		{"0x0000000000000000000000012", 0, 0x12},
		{"0x10000000000000000", -ERANGE, 0},
		{"0xfffffffffffffffff", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"0", -EINVAL, 0},
		{"0x", -EINVAL, 0},
		{"1ff", -EINVAL, 0},
		{"x1", -EINVAL, 0},
		{"0x1g", -EINVAL, 0},
		{"0x1 ", -EINVAL, 0},
		{"0x-1", -EINVAL, 0},
		{"-0x1", -EINVAL, 0},
		{"0x@", -EINVAL, 0},
		{"0x`", -EINVAL, 0},
		{"0x\x11", -EINVAL, 0}, /* 0x31 with a bit missing */
	};

	for (unsigned i = 0; i < ELEMENTS(cases); i++) {
		uint64_t value = UNTOUCHED;

		if (parse_hex(cases[i].text, &value) != cases[i].err)
			fail_msg("'%s'", cases[i].text);
		assert_true(value == (cases[i].err ? UNTOUCHED : cases[i].value));
	}
}

/* The largest value of each unit that fits, and the first that does not. */
static void test_last_that_fits(void **state)
{
	static const struct {
		const char *unit;
		uint64_t factor;
		int (*parse)(const char *, uint64_t *);
	} units[] = {
		{"", 1, parse_size},
		{"K", 1ull << 10, parse_size},
		{"MiB", 1ull << 20, parse_size},
		{"g", 1ull << 30, parse_size},
		{"TB", 1ull << 40, parse_size},
		{"ns", 1, parse_time},
		{"us", 1000, parse_time},
		{"ms", 1000000, parse_time},
		{"s", 1000000000, parse_time},
		{"min", 60000000000, parse_time},
	};

	for (unsigned i = 0; i < ELEMENTS(units); i++) {
		uint64_t most = UINT64_MAX / units[i].factor, value;
		char text[64];

		snprintf(text, sizeof(text), "%lu%s", most, units[i].unit);
		assert_int_equal(units[i].parse(text, &value), 0);
		assert_true(value == most * units[i].factor);
		if (most == UINT64_MAX)
			continue;
		value = UNTOUCHED;
		snprintf(text, sizeof(text), "%lu%s", most + 1, units[i].unit);
		assert_int_equal(units[i].parse(text, &value), -ERANGE);
		assert_int_equal(value, UNTOUCHED);
	}
}

/* Fractions are exact as far as nine digits go, and cannot push a value over the edge unnoticed. */
static void test_fractions(void **state)
{
	uint64_t value;

	assert_int_equal(parse_size("0.000000001G", &value), 0);
	assert_int_equal(value, 1);
	assert_int_equal(parse_size("1.999999999T", &value), 0);
	assert_true(value == (1ull << 41) - 1100); /* 10^-9 T is 1099.5 bytes */
	assert_int_equal(parse_time("0.25us", &value), 0);
	assert_int_equal(value, 250);
	assert_int_equal(parse_time("18446744073.709551615s", &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(parse_time("18446744073.709551616s", &value), -ERANGE);
	assert_int_equal(parse_size("16777215.999999999T", &value), 0);
}

static void test_format_is_bounded(void **state)
{
	char buf[8];

	memset(buf, 'x', sizeof(buf));
	format_size((uint64_t)1234 << 20, buf, 4);
	assert_string_equal(buf, "123");
	assert_int_equal(buf[4], 'x');
	assert_int_equal(format_size(UINT64_MAX, buf, sizeof(buf)), sizeof(buf) - 1);
	assert_int_equal(strlen(buf), sizeof(buf) - 1);
	assert_int_equal(format_time(60000000000, buf, sizeof(buf)), 3);
	assert_string_equal(buf, "60s");
	assert_int_equal(format_time(0, buf, sizeof(buf)), 1);
	assert_string_equal(buf, "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_u32),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_last_that_fits),
		cmocka_unit_test(test_fractions),
		cmocka_unit_test(test_format_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
