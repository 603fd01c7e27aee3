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

/*
 * Pages to read, in the order in which they are expected: those of a stride, or of a pattern of steps that
 * repeats. Page k is start + (k / n) * delta + offset[k % n], where n is nsteps, or 1 when nsteps is 0; so
 * a plain stride needs start, delta and count only. offset[0] is 0, delta is not. The caller clips to the
 * region and skips what is local.
 */
#define PREFETCH_STEPS_MAX 16

struct prefetch_plan {
	uint64_t start;
	int64_t delta;
	uint32_t count;  /* 0: nothing */
	uint32_t tag;    /* the policy's own: comes back with the window's marker */
	uint32_t nsteps; /* 0: a stride */
	int32_t offset[PREFETCH_STEPS_MAX];
};

static inline uint64_t prefetch_nth(const struct prefetch_plan *plan, uint32_t k)
{
	if (plan->nsteps < 2)
		return plan->start + k * (uint64_t)plan->delta;
	return plan->start + k / plan->nsteps * (uint64_t)plan->delta +
	       (uint64_t)(int64_t)plan->offset[k % plan->nsteps];
}

/* At most count pages that come behind those of window. */
static inline void prefetch_continue(const struct prefetch_plan *window, uint32_t count,
				     struct prefetch_plan *ret_plan)
{
	struct prefetch_plan next = *window;

	next.start = prefetch_nth(window, window->count);
	next.count = count;
	for (uint32_t i = 1; i < window->nsteps; i++)
		next.offset[i] = (int32_t)(prefetch_nth(window, window->count + i) - next.start);
	*ret_plan = next;
}

struct prefetch_access {
	enum prefetch_kind kind;
	uint64_t page; /* virtual page number touched */
	uint32_t credit; /* MARKER: accesses it stands for (>= 1); the pages are page, page - delta, ... */
	int64_t delta;     /* MARKER: the window's stride */
	uint64_t frontier; /* MARKER: last page of the window */
	/* MARKER: the window as it was brought; NULL when it was a plain stride of which no more is known. A
	 * window may be one that another policy planned before this one was chosen: its tag is a hint. */
	const struct prefetch_plan *window;
	uint64_t age_ns; /* MARKER: since the window was planned, the caller says; 0: not known */
	bool late;       /* MARKER: the page was still on its way */
	uint32_t thread; /* faulting thread's id, 0 = unknown */
	bool write;
};

/* The window's marker was touched. The page is the caller's to set. */
static inline void prefetch_set_marker(struct prefetch_access *access,
				       const struct prefetch_plan *window)
{
	access->kind = PREFETCH_MARKER;
	access->credit = window->count;
	access->delta = window->delta;
	access->frontier = prefetch_nth(window, window->count - 1);
	access->window = window;
}

struct replay_future;

/* What an instance serves. */
struct prefetch_scope {
	uint32_t region;
	uint64_t first_page;                /* of the region; 0: several regions */
	const struct replay_future *future; /* to be replayed (replay.h); NULL: none */
};

struct prefetch_params {
	uint32_t history_size;  /* H_size, 2..4096; default 32 */
	uint32_t history_split; /* N_split, 1..history_size; default 8 */
	uint32_t window_max;    /* PW_max, 1..512; 8 in cache mode, 512 in marker mode by default */
	bool around_both; /* no trend now: false = forward along the last trend, true = both sides */
};

/* What the program says about its accesses (leap_advise()). One that says RANDOM is not prefetched for: its accesses are not
 * told at all. */
enum prefetch_hint {
	PREFETCH_HINT_NORMAL,
	PREFETCH_HINT_SEQUENTIAL, /* it will scan upwards: no need to wait for a trend */
};

struct prefetcher_ops {
	size_t size; /* of this struct: what lies behind it is not there */
	const char *name;
	size_t (*state_bytes)(const struct prefetch_params *params);
	/* state is zeroed. -EINVAL with the sentence set for parameters out of range. */
	int (*init)(void *state, const struct prefetch_params *params);
	/* After init(), if not NULL. */
	void (*scope)(void *state, const struct prefetch_scope *scope);
	/* Records the access and fills plan, which the caller has zeroed (count 0 = none). */
	void (*access)(void *state, const struct prefetch_access *access,
		       struct prefetch_plan *plan);
	/* count pages of earlier plans were dropped without having been touched. */
	void (*unused)(void *state, uint32_t count);
	/* What it believes now, for statistics: current trend (0 = none) and last window size. */
	void (*peek)(const void *state, int64_t *ret_trend, uint32_t *ret_window);
	/* One instance wants all accesses of its key, since it tells streams apart itself, or needs their order, or
	 * uses tags: history.h gives no instance a stream. */
	bool whole;
	/* Holds from now on, if not NULL. At the start it is NORMAL. */
	void (*hint)(void *state, enum prefetch_hint hint);
};

/* Tells the policy, if it listens. */
static inline void prefetch_tell_hint(const struct prefetcher_ops *ops, void *state,
				      enum prefetch_hint hint)
{
	if (ops->size > offsetof(struct prefetcher_ops, hint) && ops->hint)
		ops->hint(state, hint);
}

extern const struct prefetcher_ops prefetcher_none, prefetcher_nextn, prefetcher_stride,
	prefetcher_readahead, prefetcher_vma_readahead, prefetcher_majority, prefetcher_streams,
	prefetcher_adaptive, prefetcher_replay;

/* States that lie behind each other: room for one of so many bytes. */
static inline size_t prefetch_aligned(size_t bytes)
{
	return (bytes + 15) / 16 * 16;
}

/* NULL when there is none of that name. What stands behind a ':' is not looked at (replay:FILE, see policy.h). */
const struct prefetcher_ops *prefetcher_find(const char *name);
/* Names of all policies, separated by ", " (for messages). */
const char *prefetcher_names(void);

#endif
