/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - the sentence behind an error code.
 *
 * The place that knows the cause sets the sentence once and returns -errno; callers only pass the code
 * on. The sentence says what happened, why, and what to do. One buffer a thread (initial-exec TLS).
 */
#ifndef LEAP_ERROR_H
#define LEAP_ERROR_H

#include <stdarg.h>

/* Sets this thread's sentence and returns -code (code > 0: an errno value). printf-like, but only
 * %s %d %u %ld %lu %zu %x %lx %p %c %% are needed; does not call malloc or stdio. */
int error_set(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " in front of this thread's sentence; returns code unchanged. */
int error_prefix(int code, const char *prefix);
/* This thread's sentence, "" when none; valid until the thread's next failing call. */
const char *error_last(void);
void error_clear(void);

#endif
