/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - lines for people, written with one write(2) to a descriptor, without stdio or malloc.
 *
 * Safe in pager threads. A line is "leap[PID]: message\n".
 */
#ifndef LEAP_LOG_H
#define LEAP_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Name in front of the pid; "leap" until set. The string must live for ever. */
void log_set_name(const char *name);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* The descriptor that lines go to (2 until set). Duplicated by the caller if it may be closed. */
void log_set_fd(int fd);
int log_get_fd(void);
#define LOG_LINE_BYTES 1024 /* longest line, with its newline */
/* Takes over complete lines, or answers false; NULL until set: each thread writes its own. Set by log_writer.c. */
typedef bool log_sink(enum log_level level, const char *line, size_t bytes);
void log_set_sink(log_sink *sink);
/* Writes a complete line. */
void log_put(const char *line, size_t bytes);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Ends the process by SIGABRT, from any thread, one whose signals are blocked too. After log_error() with the reason. */
void abort_now(void) __attribute__((noreturn));

#endif
