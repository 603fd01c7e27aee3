/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/util/fmt.c */
/*
 * The printf subset, against the C library's as the oracle and against golden texts where it
 * differs.
 */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/util/fmt.h"

#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wformat-truncation"
#endif

/* Both must write the same text and length, into a large and into a small buffer. */
#define SAME(...)                                                                  \
	do {                                                                       \
		char a[512], b[512], c[8], d[8];                                   \
		int n = snprintf(a, sizeof(a), __VA_ARGS__);                       \
		assert_int_equal(fmt_print(b, sizeof(b), __VA_ARGS__), n);         \
		assert_string_equal(b, a);                                         \
		snprintf(c, sizeof(c), __VA_ARGS__);                               \
		assert_int_equal(fmt_print(d, sizeof(d), __VA_ARGS__), strlen(c)); \
		assert_string_equal(d, c);                                         \
	} while (0)

static void test_strings(void **state)
{
	SAME("plain");
	SAME("%s", "");
	SAME("%s|%s", "a", "");
	SAME("%5s|%-5s|%2s", "ab", "cd", "long");
	SAME("%.2s|%.0s|%.*s", "abc", "abc", 1, "abc");
	SAME("%*s|%-*s|%*s", 6, "x", 6, "y", -6, "z");
	SAME("%8.3s|%-8.3s|", "abcdef", "abcdef");
	SAME("%c%c|%3c|%-3c|", 'a', 'b', 'c', 'd');
	SAME("100%%");
	SAME("%%%s%%", "x");
}

static void test_not_terminated_with_precision(void **state)
{
	char raw[3] = {'a', 'b', 'c'}, buf[8];

	fmt_print(buf, sizeof(buf), "%.3s", raw);
	assert_string_equal(buf, "abc");
}

static void test_null_string(void **state)
{
	char buf[32];
	const char *volatile none = NULL;

	fmt_print(buf, sizeof(buf), "%s", none);
	assert_string_equal(buf, "(null)");
}

static void test_integers(void **state)
{
	static const long long values[] = {0,       1,       -1,       9,        10,       99,
					   127,     128,     255,      256,      32767,    -32768,
					   INT_MAX, INT_MIN, UINT_MAX, LONG_MAX, LONG_MIN, 1234567};

	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		long long v = values[i];

		SAME("%d %i %u %x %X", (int)v, (int)v, (unsigned)v, (unsigned)v, (unsigned)v);
		SAME("%ld %lu %lx", (long)v, (unsigned long)v, (unsigned long)v);
		SAME("%lld %llu %llX", v, (unsigned long long)v, (unsigned long long)v);
		SAME("%zd %zu %zx %jd %td", (ssize_t)v, (size_t)v, (size_t)v, (intmax_t)v,
		     (ptrdiff_t)v);
		SAME("%hd %hu %hx %hhd %hhu", (int)v, (int)v, (int)v, (int)v, (int)v);
		SAME("%12d|%-12d|%012d|%+d|% d", (int)v, (int)v, (int)v, (int)v, (int)v);
		SAME("%25lx|%-25lx|%025lx", v, v, v);
		SAME("%.5d|%8.5d|%-8.5d|%08.5d", (int)v, (int)v, (int)v, (int)v);
		SAME("%#x|%#10x|%#010x|%#X", (int)v, (int)v, (int)v, (int)v);
	}
	SAME("%.0d|%.0u|%5.0d|", 0, 0, 0);
	SAME("%p", (void *)(uintptr_t)0xdeadbeefcafe);
	SAME("%20p|%-20p|", (void *)(uintptr_t)0x1000, (void *)(uintptr_t)0x1000);
}

static void test_random_integers(void **state)
{
	char format[32];

	srand(42);
	for (int i = 0; i < 20000; i++) {
		static const char *const flags[] = {"", "0", "-", "+", " ", "-0", "+0"};
		static const char *const letters[] = {"d", "u", "x", "X"};
		unsigned long long r = (unsigned long long)rand() << 33 ^ (unsigned long long)rand()
										  << 11;
		long long v = (long long)(r ^ (unsigned)rand()) >> (rand() % 63);

		snprintf(format, sizeof(format), "<%%%s%dll%s>", flags[rand() % 7], rand() % 24 + 1,
			 letters[rand() % 4]);
		if (strchr(format, 'd'))
			SAME(format, v);
		else if (!strchr(format, '+') && !strchr(format, ' '))
			SAME(format, v);
	}
}

static void test_floats(void **state)
{
	static const double values[] = {0,
					0.25,
					1,
					1.5,
					-1.5,
					3.14159,
					99.999,
					0.999999,
					0.1,
					1e-7,
					1e6,
					123456.789,
					-0.001,
					1e15,
					4503599627370497.5,
					18446744073709549568.0,
					-0.0,
					0.00049,
					12345678.125};

	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		double v = values[i];

		SAME("%f", v);
		SAME("%.3f|%.6f", v, v);
		SAME("%12.2f|%-12.2f|%012.2f|%+.1f", v + 0.001, v + 0.001, v + 0.001, v + 0.01);
	}
	SAME("%f %f %8f %-8f| %08f", INFINITY, -INFINITY, INFINITY, NAN, INFINITY);
	SAME("%.1f", 0.96);
	SAME("%.0f", 9.7);
	SAME("%.2f", 0.999);
}

/* Beyond 2^64 only the leading digits count; the number of digits is right. */
static void test_huge_floats(void **state)
{
	char ours[400], libc[400];
	static const double values[] = {1e20, 1.5e25, 3.7e100, DBL_MAX};

	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		assert_int_equal(fmt_print(ours, sizeof(ours), "%.2f", values[i]),
				 snprintf(libc, sizeof(libc), "%.2f", values[i]));
		assert_memory_equal(ours, libc, 8);
	}
}

static void test_halves_round_up(void **state)
{
	char buf[32];

	fmt_print(buf, sizeof(buf), "%.1f %.0f %.2f", 0.25, 0.5, 0.125);
	assert_string_equal(buf, "0.3 1 0.13");
}

static void test_small_buffers(void **state)
{
	char buf[16];

	for (size_t size = 0; size < sizeof(buf); size++) {
		size_t n;

		memset(buf, '#', sizeof(buf));
		n = fmt_print(buf, size, "%s-%05d-%-4s", "abc", 42, "x");
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], '#');
		assert_int_equal(n, size ? (size - 1 < 14 ? size - 1 : 14) : 0);
		if (size) {
			assert_int_equal(buf[n], '\0');
			assert_memory_equal(buf, "abc-00042-x   ", n);
		}
	}
}

static void test_unknown_conversion_ends(void **state)
{
	char buf[64];

	fmt_print(buf, sizeof(buf), "a=%d %q %s", 1, "never read");
	assert_string_equal(buf, "a=1 %q %s");
	fmt_print(buf, sizeof(buf), "end%");
	assert_string_equal(buf, "end%");
	fmt_print(buf, sizeof(buf), "%-08.3l");
	assert_string_equal(buf, "%-08.3l");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_not_terminated_with_precision),
		cmocka_unit_test(test_null_string),
		cmocka_unit_test(test_integers),
		cmocka_unit_test(test_random_integers),
		cmocka_unit_test(test_floats),
		cmocka_unit_test(test_huge_floats),
		cmocka_unit_test(test_halves_round_up),
		cmocka_unit_test(test_small_buffers),
		cmocka_unit_test(test_unknown_conversion_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
