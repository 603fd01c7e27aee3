/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hist.h - a log-linear latency histogram: 16 linear steps to each power of two, so that a percentile
 * is at most 6.25 % too high. Fixed size, no allocation, mergeable; one writer, racy readers see a
 * slightly old picture.
 */
#ifndef LEAP_UTIL_HIST_H
#define LEAP_UTIL_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 4
#define HIST_BUCKETS  (40 << HIST_SUB_BITS) /* up to 2^43 ns, about 2.4 hours */

struct hist {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint32_t bucket[HIST_BUCKETS];
};

/* Index of the bucket that holds value; the last bucket holds all that is larger. */
unsigned hist_bucket(uint64_t value);
/* Largest value that bucket i holds. */
uint64_t hist_bucket_top(unsigned i);
void hist_add(struct hist *h, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);
/* Value at or below which share (0..1) of the samples lie; 0 when empty; never above h->max. */
uint64_t hist_percentile(const struct hist *h, double share);

#endif
