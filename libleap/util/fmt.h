/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fmt.h - a printf subset that neither allocates nor locks (glibc's vsnprintf may malloc for wide
 * or huge conversions, and takes locale locks).
 */
#ifndef LEAP_UTIL_FMT_H
#define LEAP_UTIL_FMT_H

#include <stdarg.h>
#include <stddef.h>

/* Writes at most size bytes with the NUL; returns the length written (without NUL, always <
 * size). Conversions: %s %c %% and d i u x X p with the modifiers hh h l ll z j t, field width
 * and precision (numbers or '*'), the flags - 0 + # and blank, and %f/%.Nf (N <= 6, halves away
 * from zero). The format is copied as it stands from the first other conversion on. */
size_t fmt_vprint(char *buf, size_t size, const char *format, va_list ap);
size_t fmt_print(char *buf, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
