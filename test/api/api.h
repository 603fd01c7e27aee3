/* SPDX-License-Identifier: Apache-2.0 */
/* api.h - sessions and pages with known content, for the tests of leap.h. */
#ifndef TEST_API_H
#define TEST_API_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "leap.h"

#define PAGE ((size_t)4096)
#define MIB  ((size_t)1 << 20)

#define assert_ok(call)                                                           \
	do {                                                                      \
		int ok_err = (call);                                              \
		if (ok_err)                                                       \
			fail_msg("%s: %d, %s", #call, ok_err, leap_last_error()); \
	} while (0)

/* Opens a session with options "NAME=VALUE", ended by NULL. */
static inline struct leap *session(const char *option, ...)
{
	struct leap_options *options = leap_options_new();
	struct leap *leap = NULL;
	va_list ap;

	assert_non_null(options);
	va_start(ap, option);
	for (; option; option = va_arg(ap, const char *)) {
		char name[32];
		size_t n = 0;

		for (; option[n] != '='; n++)
			name[n] = option[n];
		name[n] = 0;
		assert_ok(leap_options_set(options, name, option + n + 1));
	}
	va_end(ap);
	assert_ok(leap_open(options, &leap));
	leap_options_free(options);
	return leap;
}

static inline void page_write(char *base, size_t page, uint64_t seed)
{
	volatile uint64_t *w = (volatile uint64_t *)(base + page * PAGE);

	for (size_t i = 0; i < PAGE / 8; i += 8)
		w[i] = (page + 1) * 0x9e3779b97f4a7c15ull + seed + i;
}

static inline bool page_right(const char *base, size_t page, uint64_t seed)
{
	const volatile uint64_t *w = (const volatile uint64_t *)(base + page * PAGE);

	for (size_t i = 0; i < PAGE / 8; i += 8)
		if (w[i] != (page + 1) * 0x9e3779b97f4a7c15ull + seed + i)
			return false;
	return true;
}

static inline void range_write(char *base, size_t npages, uint64_t seed)
{
	for (size_t p = 0; p < npages; p++)
		page_write(base, p, seed);
}

static inline void range_check(const char *base, size_t npages, uint64_t seed)
{
	for (size_t p = 0; p < npages; p++)
		if (!page_right(base, p, seed))
			fail_msg("page %zu of %p is wrong", p, (const void *)base);
}

static inline struct leap_stats stats(struct leap *leap)
{
	struct leap_stats st = {.size = sizeof(st)};

	assert_ok(leap_stats(leap, &st));
	return st;
}

#endif
