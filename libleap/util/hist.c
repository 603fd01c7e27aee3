/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hist.c - the log-linear histogram.
 *
 * Values below 32 have a bucket each. A larger value v with its top bit at position e falls into
 * one of 16 steps of width 2^(e-4): index = (e-3)*16 + the four bits below the top bit.
 *
 * Fields are read and written with relaxed atomics, so that a reader beside the one writer sees
 * whole words; its picture may be of two moments (a percentile never needs `count` to match the
 * buckets).
 */
#include "libleap/util/hist.h"

#define SUB_COUNT (1u << HIST_SUB_BITS)

static uint64_t load64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static uint32_t load32(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void add64(uint64_t *p, uint64_t n)
{
	__atomic_store_n(p, load64(p) + n, __ATOMIC_RELAXED);
}

/* Adds without going round: a bucket that is full stays full. */
static void add32(uint32_t *p, uint32_t n)
{
	uint32_t sum;

	if (__builtin_add_overflow(load32(p), n, &sum))
		sum = UINT32_MAX;
	__atomic_store_n(p, sum, __ATOMIC_RELAXED);
}

unsigned hist_bucket(uint64_t value)
{
	unsigned top, i;

	if (value < SUB_COUNT)
		return (unsigned)value;
	top = 63u - (unsigned)__builtin_clzll(value);
	i = ((top - HIST_SUB_BITS + 1) << HIST_SUB_BITS) +
	    (unsigned)((value >> (top - HIST_SUB_BITS)) & (SUB_COUNT - 1));
	return i < HIST_BUCKETS ? i : HIST_BUCKETS - 1;
}

uint64_t hist_bucket_top(unsigned i)
{
	unsigned shift;

	if (i >= HIST_BUCKETS - 1)
		return UINT64_MAX;
	if (i < SUB_COUNT)
		return i;
	shift = (i >> HIST_SUB_BITS) - 1;
	return (((uint64_t)SUB_COUNT + (i & (SUB_COUNT - 1)) + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t value)
{
	add32(&h->bucket[hist_bucket(value)], 1);
	add64(&h->sum, value);
	if (value > load64(&h->max))
		__atomic_store_n(&h->max, value, __ATOMIC_RELAXED);
	add64(&h->count, 1);
}

void hist_merge(struct hist *into, const struct hist *from)
{
	uint64_t max = load64(&from->max);

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		add32(&into->bucket[i], load32(&from->bucket[i]));
	add64(&into->sum, load64(&from->sum));
	add64(&into->count, load64(&from->count));
	if (max > load64(&into->max))
		__atomic_store_n(&into->max, max, __ATOMIC_RELAXED);
}

uint64_t hist_percentile(const struct hist *h, double share)
{
	uint64_t total = 0, wanted, seen = 0, max = load64(&h->max), top = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		total += load32(&h->bucket[i]);
	if (!total)
		return 0;
	if (!(share > 0))
		share = 0;
	if (share > 1)
		share = 1;
	/* The smallest number of samples that is at least the share. */
	wanted = (uint64_t)(share * (double)total);
	if ((double)wanted < share * (double)total || !wanted)
		wanted++;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint32_t n = load32(&h->bucket[i]);

		if (!n)
			continue;
		top = hist_bucket_top(i);
		seen += n;
		if (seen >= wanted)
			break;
	}
	return top < max ? top : max;
}
