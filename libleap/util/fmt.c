/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fmt.c - the printf subset.
 *
 * One pass over the format; each conversion makes its digits in a small buffer on the stack and
 * is then padded into the output. Output beyond the buffer is counted out, never written. A
 * conversion that is not supported ends the formatting: the rest of the format is copied as it
 * stands, because the size of the argument is not known and all later arguments would be
 * misread.
 */
#include "libleap/util/fmt.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#define DIGITS_MAX          24
#define PRECISION_MAX_FLOAT 6

struct out {
	char *buf;
	size_t size; /* room including the NUL */
	size_t len;
};

/* One conversion specification, as parsed. */
struct spec {
	bool left, zero, plus, space, alt;
	int width;
	int precision; /* -1: not given */
	enum { ARG_INT, ARG_LONG, ARG_LLONG, ARG_CHAR, ARG_SHORT } length;
};

static void put(struct out *out, char c)
{
	if (out->len + 1 < out->size)
		out->buf[out->len++] = c;
}

static void put_repeat(struct out *out, char c, long n)
{
	for (; n > 0 && out->len + 1 < out->size; n--)
		put(out, c);
}

static void put_bytes(struct out *out, const char *s, size_t n)
{
	size_t room = out->size ? out->size - 1 - out->len : 0;

	if (n > room)
		n = room;
	if (n)
		memcpy(out->buf + out->len, s, n);
	out->len += n;
}

static void put_string(struct out *out, const struct spec *spec, const char *s)
{
	size_t n;
	long pad;

	if (!s)
		s = "(null)";
	n = spec->precision >= 0 ? strnlen(s, (size_t)spec->precision) : strlen(s);
	pad = (long)spec->width - (long)n;
	if (!spec->left)
		put_repeat(out, ' ', pad);
	put_bytes(out, s, n);
	if (spec->left)
		put_repeat(out, ' ', pad);
}

/* Writes the digits of value so that they end at end; returns where they begin. */
static char *make_digits(char *end, uint64_t value, unsigned base, bool upper)
{
	const char *digit = upper ? "0123456789ABCDEF" : "0123456789abcdef";

	do {
		*--end = digit[value % base];
		value /= base;
	} while (value);
	return end;
}

/* Sign or 0x, zeroes or blanks, then body: the common end of all numeric conversions. */
static void put_number(struct out *out, const struct spec *spec, const char *prefix,
		       const char *body, size_t n, long extra_zeroes)
{
	size_t nprefix = strlen(prefix);
	long pad = (long)spec->width - (long)nprefix - (long)n - extra_zeroes;
	bool zero = spec->zero && !spec->left;

	if (!spec->left && !zero)
		put_repeat(out, ' ', pad);
	put_bytes(out, prefix, nprefix);
	if (zero)
		put_repeat(out, '0', pad);
	put_repeat(out, '0', extra_zeroes);
	put_bytes(out, body, n);
	if (spec->left)
		put_repeat(out, ' ', pad);
}

static const char *sign_of(const struct spec *spec, bool negative)
{
	return negative ? "-" : spec->plus ? "+" : spec->space ? " " : "";
}

static void put_integer(struct out *out, const struct spec *spec, uint64_t value, unsigned base,
			bool upper, const char *prefix)
{
	struct spec s = *spec;
	char digits[DIGITS_MAX], *end = digits + sizeof(digits);
	char *begin = make_digits(end, value, base, upper);
	long n = end - begin, zeroes = 0;

	if (s.precision >= 0) {
		s.zero = false;
		if (s.precision == 0 && value == 0)
			n = 0;
		if (s.precision > n)
			zeroes = s.precision - n;
	}
	put_number(out, &s, prefix, begin, (size_t)n, zeroes);
}

/* Halves are rounded up; beyond 2^64 the digits past the 19th or so are zeroes. */
static void put_double(struct out *out, const struct spec *spec, double value)
{
	char text[320 + DIGITS_MAX + PRECISION_MAX_FLOAT];
	char digits[DIGITS_MAX], *end = digits + sizeof(digits), *p;
	unsigned precision = PRECISION_MAX_FLOAT;
	uint64_t whole, frac, scale = 1;
	struct spec s = *spec;
	bool negative = __builtin_signbit(value) && !(value != value);
	size_t n = 0, zeroes = 0;

	if (negative)
		value = -value;
	if (value != value || __builtin_isinf(value)) {
		s.zero = false;
		put_number(out, &s, sign_of(spec, negative), value != value ? "nan" : "inf", 3, 0);
		return;
	}
	if (spec->precision >= 0 && spec->precision < PRECISION_MAX_FLOAT)
		precision = (unsigned)spec->precision;
	for (unsigned i = 0; i < precision; i++)
		scale *= 10;
	for (; value >= 0x1p64; zeroes++)
		value /= 10;
	whole = (uint64_t)value;
	frac = (uint64_t)((value - (double)whole) * (double)scale + 0.5);
	if (zeroes)
		frac = 0;
	if (frac >= scale) {
		whole++;
		frac -= scale;
	}
	p = make_digits(end, whole, 10, false);
	memcpy(text, p, (size_t)(end - p));
	n = (size_t)(end - p);
	memset(text + n, '0', zeroes);
	n += zeroes;
	if (precision) {
		text[n++] = '.';
		for (unsigned i = precision; i > 0; i--, frac /= 10)
			text[n + i - 1] = (char)('0' + frac % 10);
		n += precision;
	}
	put_number(out, &s, sign_of(spec, negative), text, n, 0);
}

static int parse_count(const char **f, va_list *ap)
{
	int n = 0;

	if (**f == '*') {
		(*f)++;
		return va_arg(*ap, int);
	}
	for (; **f >= '0' && **f <= '9'; (*f)++)
		n = n > 100000 ? n : n * 10 + (**f - '0');
	return n;
}

/* Parses flags, width, precision and length modifier; returns where the conversion letter
 * stands. */
static const char *parse_spec(const char *f, struct spec *s, va_list *ap)
{
	memset(s, 0, sizeof(*s));
	s->precision = -1;
	for (;; f++) {
		if (*f == '-')
			s->left = true;
		else if (*f == '0')
			s->zero = true;
		else if (*f == '+')
			s->plus = true;
		else if (*f == ' ')
			s->space = true;
		else if (*f == '#')
			s->alt = true;
		else
			break;
	}
	s->width = parse_count(&f, ap);
	if (s->width < 0) {
		s->left = true;
		s->width = s->width == -__INT_MAX__ - 1 ? 0 : -s->width;
	}
	if (*f == '.') {
		f++;
		s->precision = parse_count(&f, ap);
		if (s->precision < 0)
			s->precision = -1;
	}
	for (;; f++) {
		if (*f == 'h')
			s->length = s->length == ARG_SHORT ? ARG_CHAR : ARG_SHORT;
		else if (*f == 'l')
			s->length = s->length == ARG_LONG ? ARG_LLONG : ARG_LONG;
		else if (*f == 'z' || *f == 'j' || *f == 't')
			s->length = ARG_LONG;
		else
			return f;
	}
}

static int64_t arg_signed(const struct spec *s, va_list *ap)
{
	if (s->length == ARG_LLONG)
		return va_arg(*ap, long long);
	if (s->length == ARG_LONG)
		return va_arg(*ap, long);
	if (s->length == ARG_CHAR)
		return (signed char)va_arg(*ap, int);
	if (s->length == ARG_SHORT)
		return (short)va_arg(*ap, int);
	return va_arg(*ap, int);
}

static uint64_t arg_unsigned(const struct spec *s, va_list *ap)
{
	if (s->length == ARG_LLONG)
		return va_arg(*ap, unsigned long long);
	if (s->length == ARG_LONG)
		return va_arg(*ap, unsigned long);
	if (s->length == ARG_CHAR)
		return (unsigned char)va_arg(*ap, unsigned int);
	if (s->length == ARG_SHORT)
		return (unsigned short)va_arg(*ap, unsigned int);
	return va_arg(*ap, unsigned int);
}

/* Does one conversion; false when the letter is unknown. */
static bool convert(struct out *out, char letter, const struct spec *s, va_list *ap)
{
	int64_t i;
	uint64_t u;
	char c;

	switch (letter) {
	case '%':
		put(out, '%');
		return true;
	case 'c':
		c = (char)va_arg(*ap, int);
		put_repeat(out, ' ', s->left ? 0 : s->width - 1);
		put(out, c);
		put_repeat(out, ' ', s->left ? s->width - 1 : 0);
		return true;
	case 's':
		put_string(out, s, va_arg(*ap, const char *));
		return true;
	case 'd':
	case 'i':
		i = arg_signed(s, ap);
		put_integer(out, s, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, 10, false,
			    sign_of(s, i < 0));
		return true;
	case 'u':
		put_integer(out, s, arg_unsigned(s, ap), 10, false, "");
		return true;
	case 'x':
	case 'X':
		u = arg_unsigned(s, ap);
		put_integer(out, s, u, 16, letter == 'X',
			    !s->alt || !u   ? ""
			    : letter == 'X' ? "0X"
					    : "0x");
		return true;
	case 'p':
		put_integer(out, s, (uintptr_t)va_arg(*ap, void *), 16, false, "0x");
		return true;
	case 'f':
		put_double(out, s, va_arg(*ap, double));
		return true;
	}
	return false;
}

size_t fmt_vprint(char *buf, size_t size, const char *format, va_list ap)
{
	struct out out = {buf, size, 0};
	const char *f = format;
	struct spec spec;
	va_list args;

	va_copy(args, ap);
	while (*f) {
		const char *start = f;

		if (*f != '%') {
			put(&out, *f++);
			continue;
		}
		f = parse_spec(f + 1, &spec, &args);
		if (!*f || !convert(&out, *f, &spec, &args)) {
			put_bytes(&out, start, strlen(start));
			break;
		}
		f++;
	}
	va_end(args);
	if (size)
		buf[out.len] = '\0';
	return out.len;
}

size_t fmt_print(char *buf, size_t size, const char *format, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, format);
	n = fmt_vprint(buf, size, format, ap);
	va_end(ap);
	return n;
}
