/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefetch.h - the seam to prefetch policies: which pages next.
 *
 * A policy is pure: no I/O, no clock, no allocation, no locks. It lives in memory that the caller gives
 * (state_bytes()), one instance per history key; the caller serialises calls to one instance. Linked
 * unchanged into the runtime and the simulator. Pages are virtual page numbers (never slot numbers).
 *
 * Hit modes (the caller's, see window.h):
 *   cache   every prefetched page stays unmapped until touched; the policy hears of every hit
 *   marker  prefetched pages are mapped at once but for one, the marker; touching it stands for hits on
 *           all pages of its window
 */
#ifndef LEAP_PREFETCH_H
#define LEAP_PREFETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum prefetch_kind {
	PREFETCH_MISS, /* the page was not there: a plan is wanted */
	PREFETCH_HIT,  /* first touch of a prefetched page (cache mode), in time or late: no plan */
	PREFETCH_MARKER, /* the marker of a window was touched: credits `credit` hits, a plan is wanted that
			    continues behind `frontier` */
};

struct prefetch_access {
	enum prefetch_kind kind;
	uint64_t page; /* virtual page number touched */
	uint32_t credit; /* MARKER: accesses it stands for (>= 1); the pages are page, page - delta, ... */
	int64_t delta;     /* MARKER: the window's stride */
	uint64_t frontier; /* MARKER: last page of the window */
	uint32_t thread;   /* faulting thread's id, 0 = unknown */
	bool write;
};

/* Read start + k * delta for k = 0 .. count-1. The caller clips to the region and skips what is local. */
struct prefetch_plan {
	uint64_t start;
	int64_t delta;
	uint32_t count; /* 0: nothing */
};

struct prefetch_params {
	uint32_t history_size;  /* H_size, 2..4096; default 32 */
	uint32_t history_split; /* N_split, 1..history_size; default 8 */
	uint32_t window_max;    /* PW_max, 1..512; 8 in cache mode, 512 in marker mode by default */
	bool around_both; /* no trend now: false = forward along the last trend, true = both sides */
};

struct prefetcher_ops {
	size_t size;
	const char *name;
	size_t (*state_bytes)(const struct prefetch_params *params);
	/* state is zeroed. -EINVAL with the sentence set for parameters out of range. */
	int (*init)(void *state, const struct prefetch_params *params);
	/* Records the access and fills plan (count 0 = none). */
	void (*access)(void *state, const struct prefetch_access *access,
		       struct prefetch_plan *plan);
	/* count pages of earlier plans were dropped without having been touched. */
	void (*unused)(void *state, uint32_t count);
	/* What it believes now, for statistics: current trend (0 = none) and last window size. */
	void (*peek)(const void *state, int64_t *ret_trend, uint32_t *ret_window);
};

extern const struct prefetcher_ops prefetcher_none, prefetcher_readahead, prefetcher_majority;

/* NULL when there is none of that name. */
const struct prefetcher_ops *prefetcher_find(const char *name);
/* Names of all policies, separated by ", " (for messages). */
const char *prefetcher_names(void);

#endif
