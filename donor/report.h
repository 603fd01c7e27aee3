/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - the donor's log: one line a message, to stderr or to the systemd journal.
 *
 * Thread-safe; a line is written with one call. Lines are "leap-donor: message". From report_start() to report_stop() nobody
 * waits for whoever reads them.
 */
#ifndef DONOR_REPORT_H
#define DONOR_REPORT_H

#include <stdbool.h>

enum report_level { REPORT_ERROR, REPORT_WARN, REPORT_INFO, REPORT_DEBUG };

/* The thread that writes to stderr. 0 or -errno. */
int report_start(void);
/* Ends it when all is written, or soon; the last that other threads do is over. */
void report_stop(void);
void report_set_level(enum report_level level);
/* Where lines go from now on; false when the journal's socket cannot be reached (stderr stays). */
bool report_use_journal(void);
void report(enum report_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define report_error(...) report(REPORT_ERROR, __VA_ARGS__)
#define report_warn(...)  report(REPORT_WARN, __VA_ARGS__)
#define report_info(...)  report(REPORT_INFO, __VA_ARGS__)
#define report_debug(...) report(REPORT_DEBUG, __VA_ARGS__)

#endif
