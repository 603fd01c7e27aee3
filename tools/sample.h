/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.h - what `leap stat` knows of one process at one moment, and what changed since the last
 * one.
 */
#ifndef LEAP_TOOLS_SAMPLE_H
#define LEAP_TOOLS_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "libleap/stats.h"

struct sample {
	long pid;
	uint64_t at_ns;          /* CLOCK_MONOTONIC */
	double unix_time;        /* seconds since 1970 */
	uint64_t rss_anon_bytes; /* of the whole process, by the kernel; 0 = unknown */
	struct stats_page page;
};

/* Per second, between two samples of one process. The first sample is compared with the start of
 * the session. Shares are NAN when there is nothing to share. */
struct rates {
	double seconds;
	double faults, faults_remote, evicted, prefetched;
	double read_bytes, written_bytes;
	double hit_rate; /* of the pages that had to come from a donor: how many prefetch brought in time */
	double accuracy; /* of the pages that prefetch brought: how many were used */
};

/* 0, -ENOENT (gone, or never there), -EPROTO; sentence set. */
int sample_take(long pid, struct sample *ret_sample);
/* before is NULL for the first sample. */
void sample_rates(const struct sample *before, const struct sample *now, struct rates *ret_rates);

void sample_print_header(FILE *out);
void sample_print_line(FILE *out, const struct sample *s, const struct rates *r);
/* The lines below a process in the live view: how it is set, its donors. */
void sample_print_details(FILE *out, const struct sample *s);
void sample_print_json(FILE *out, const struct sample *s, const struct rates *r);
void sample_print_csv_header(FILE *out);
void sample_print_csv(FILE *out, const struct sample *s, const struct rates *r);

#endif
