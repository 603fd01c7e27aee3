/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.c - values as people write them, in integers only: "1.5G" is exact.
 */
#include "libleap/util/parse.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "libleap/util/fmt.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* Larger units first: values are written in the largest one that divides them. */
static const struct unit size_units[] = {
	{"T", 1ull << 40}, {"G", 1ull << 30}, {"M", 1ull << 20},
	{"K", 1ull << 10}, {"", 1},           {NULL, 0},
};
static const struct unit time_units[] = {
	{"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}, {NULL, 0},
};

/*
 * Parses "12", "1.5"; returns what follows, NULL when there is no number. The value is
 * whole + frac / scale. At most 9 digits of a fraction count. *ret_overflow: whole is too large.
 */
static const char *parse_number(const char *s, uint64_t *whole, uint64_t *frac, uint64_t *scale,
				bool *ret_overflow)
{
	*whole = *frac = 0;
	*scale = 1;
	*ret_overflow = false;
	if (*s < '0' || *s > '9')
		return NULL;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (__builtin_mul_overflow(*whole, 10, whole) ||
		    __builtin_add_overflow(*whole, (uint64_t)(*s - '0'), whole))
			*ret_overflow = true;
	}
	if (*s != '.')
		return s;
	if (s[1] < '0' || s[1] > '9')
		return NULL;
	for (s++; *s >= '0' && *s <= '9'; s++) {
		if (*scale < 1000000000) {
			*frac = *frac * 10 + (uint64_t)(*s - '0');
			*scale *= 10;
		}
	}
	return s;
}

static int parse_scaled(const char *text, uint64_t factor_of_rest(const char *), uint64_t *ret)
{
	uint64_t whole, frac, scale, factor, value;
	bool overflow;
	const char *rest = parse_number(text, &whole, &frac, &scale, &overflow);

	if (!rest)
		return -EINVAL;
	if (!overflow && whole == 0 && frac == 0 && !*rest) { /* 0 needs no unit */
		*ret = 0;
		return 0;
	}
	factor = factor_of_rest(rest);
	if (!factor)
		return -EINVAL;
	if (overflow || __builtin_mul_overflow(whole, factor, &value) ||
	    __builtin_add_overflow(value, (uint64_t)((__uint128_t)frac * factor / scale), &value))
		return -ERANGE;
	*ret = value;
	return 0;
}

/* "", B, K, KB, KiB, ... in either case. */
static uint64_t size_factor(const char *s)
{
	static const char letters[] = "kmgt";
	const char *at;
	uint64_t factor = 1;

	if (*s && (at = strchr(letters, *s | 0x20)) && *at) {
		factor = 1ull << (10 * (at - letters + 1));
		s++;
		if ((*s == 'i' || *s == 'I') && (s[1] | 0x20) == 'b')
			s++;
	}
	if (*s == 'b' || *s == 'B')
		s++;
	return *s ? 0 : factor;
}

static uint64_t time_factor(const char *s)
{
	for (const struct unit *unit = time_units; unit->name; unit++) {
		if (!strcmp(s, unit->name))
			return unit->factor;
	}
	return !strcmp(s, "min") ? 60000000000ull : 0;
}

int parse_size(const char *text, uint64_t *ret_bytes)
{
	return parse_scaled(text, size_factor, ret_bytes);
}

int parse_time(const char *text, uint64_t *ret_ns)
{
	return parse_scaled(text, time_factor, ret_ns);
}

int parse_u32(const char *text, const char *suffix, uint32_t *ret)
{
	uint64_t whole, frac, scale;
	bool overflow;
	const char *rest = parse_number(text, &whole, &frac, &scale, &overflow);

	if (!rest || scale != 1 || strcmp(rest, suffix))
		return -EINVAL;
	if (overflow || whole > UINT32_MAX)
		return -ERANGE;
	*ret = (uint32_t)whole;
	return 0;
}

int parse_bool(const char *text, bool *ret)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcasecmp(text, words[i])) {
			*ret = i & 1;
			return 0;
		}
	}
	return -EINVAL;
}

int parse_hex(const char *text, uint64_t *ret)
{
	uint64_t value = 0;

	if (text[0] != '0' || (text[1] | 0x20) != 'x' || !text[2])
		return -EINVAL;
	for (text += 2; *text; text++) {
		char c = (char)(*text | 0x20);
		unsigned digit = *text >= '0' && *text <= '9' ? (unsigned)(*text - '0')
				 : c >= 'a' && c <= 'f'       ? (unsigned)(c - 'a' + 10)
							      : 16;

		if (digit > 15)
			return -EINVAL;
		if (value >> 60)
			return -ERANGE;
		value = value << 4 | digit;
	}
	*ret = value;
	return 0;
}

static size_t format_scaled(uint64_t value, const struct unit *units, char *buf, size_t size)
{
	const struct unit *unit = units;

	while (unit->factor > 1 && (value == 0 || value % unit->factor))
		unit++;
	return fmt_print(buf, size, "%lu%s", (unsigned long)(value / unit->factor),
			 value ? unit->name : "");
}

size_t format_size(uint64_t bytes, char *buf, size_t size)
{
	return format_scaled(bytes, size_units, buf, size);
}

size_t format_time(uint64_t ns, char *buf, size_t size)
{
	return format_scaled(ns, time_units, buf, size);
}
