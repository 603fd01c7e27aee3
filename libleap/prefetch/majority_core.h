/* SPDX-License-Identifier: Apache-2.0 */
/*
 * majority_core.h - majority-trend prefetching: Algorithms 1 and 2 of the Leap paper (USENIX ATC'20).
 *
 * This one file is the whole policy. It needs fixed-width types and nothing else, so that it builds
 * freestanding, and in a kernel.
 *
 * Algorithm 1 (majority_trend): the history is a ring of the differences between consecutive page accesses.
 * The newest H/split of them vote (Boyer-Moore, then counted: more than half must agree); without a
 * majority the window doubles, up to H. Noise and interleaving thus hide a trend for a while, not for good.
 *
 * Algorithm 2 (window_size): the hits on what the last plan brought, plus one, rounded up to a power of
 * two; without hits one page if the access follows the trend, else none; never more than window_max, never
 * less than half of the last window.
 *
 * Where the paper leaves a choice:
 *   - the trend is looked for at every miss, also while prefetching is suspended (else it would never resume);
 *     "follows the trend" means: its own step equals the trend found now. Where there is none nothing follows it,
 *     and a window that had no hits ends there;
 *   - only differences that were recorded vote; a window larger than the fill is skipped; the last window
 *     is cut to H when H is no multiple of the first;
 *   - an access to the same page as the last one (a fault that was retried) is not an access;
 *   - the first access is recorded as its difference to page 0, as in the paper's figure 5;
 *   - no trend now: forward along the last one, or, with around_both, on both sides of the page.
 *
 * Markers. When prefetched pages are mapped at once, their hits are not seen. One page of each window, its
 * marker, reports for the others: majority_marker() records the accesses it stands for and continues that
 * window's stride behind its frontier, sized by Algorithm 2 from the window's own hits, so that a window
 * that is used up is followed by one twice as large. Each stream carries its own size in this way. Misses
 * keep a size of their own, from what was touched of the window that the last miss started and of the one
 * behind it: runs of pages soon get a first window that fits, and a long scan gives the stray misses beside
 * it nothing. `limit` bounds the windows of markers: halved when pages are dropped untouched, doubled
 * again by windows that are used up.
 */
#ifndef LEAP_MAJORITY_CORE_H
#define LEAP_MAJORITY_CORE_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stdint.h>
#endif

#define MAJORITY_FORWARD  64            /* pages: the longest step that goes on with a scan */
#define MAJORITY_PAGE_MAX (~0ull >> 12) /* last page of a 64-bit address space */

struct majority_window {
	uint64_t start; /* read start + k * delta, k = 0 .. count-1 */
	int64_t delta;
	uint32_t count; /* 0: nothing */
};

struct majority {
	uint32_t size, split; /* H_size, N_split */
	uint32_t window_max;  /* PW_max */
	bool around_both;
	bool sequential; /* the program says that it will scan upwards: see majority_scan() */

	uint32_t head; /* where the next difference goes */
	uint32_t fill; /* differences recorded, at most size */
	bool begun;    /* last_page is one */
	uint64_t last_page;
	int64_t trend; /* the last one found; 0: never one */

	uint32_t hits;        /* C_hit: since the last miss, on what it brought */
	uint32_t miss_window; /* PW_prev */
	/* Markers: the last miss's window, or, once that was used, the one behind it; or count 0. */
	struct majority_window watched;
	uint32_t watched_before; /* pages of the last miss's window, when the one behind is watched */

	uint32_t limit;       /* of a marker's window, 1 .. window_max */
	uint32_t dropped;     /* weight of pages dropped untouched, not yet made up for */
	uint32_t last_window; /* of either kind, for majority_peek() */

	int64_t ring[]; /* size */
};

/* state: zeroed, sizeof(struct majority) + size * 8 bytes. 1 <= split <= size, window_max >= 1. */
static inline void majority_init(struct majority *m, uint32_t size, uint32_t split,
				 uint32_t window_max, bool around_both)
{
	m->size = size;
	m->split = split;
	m->window_max = window_max;
	m->around_both = around_both;
	m->limit = window_max;
}

/* The i-th newest difference, i < fill. */
static inline int64_t majority_newest(const struct majority *m, uint32_t i)
{
	return m->ring[m->head > i ? m->head - 1 - i : m->head + m->size - 1 - i];
}

/* A vote under way: the first `seen` of the newest differences have voted. */
struct majority_ballot {
	int64_t candidate;
	uint32_t votes, seen;
};

/* Boyer and Moore's: lets the differences up to the w-th newest vote, too. */
static inline void majority_go_on(const struct majority *m, struct majority_ballot *b, uint32_t w)
{
	uint32_t at = m->head > b->seen ? m->head - b->seen : m->head + m->size - b->seen;

	for (; b->seen < w; b->seen++) {
		int64_t delta = m->ring[--at];

		if (!b->votes)
			b->candidate = delta;
		b->votes += delta == b->candidate ? 1u : ~0u;
		at = at ? at : m->size;
	}
}

/* The candidate, if more than half of those that voted agree on it; 0: none. */
static inline int64_t majority_elected(const struct majority *m, const struct majority_ballot *b)
{
	uint32_t count = 0;

	if (!b->votes)
		return 0; /* a draw: nothing has a majority */
	for (uint32_t i = 0; i < b->seen; i++)
		count += majority_newest(m, i) == b->candidate;
	return count > b->seen / 2 ? b->candidate : 0;
}

/* The difference that more than half of the newest w agree on; 0: none. */
static inline int64_t majority_vote(const struct majority *m, uint32_t w)
{
	struct majority_ballot b = {0, 0, 0};

	majority_go_on(m, &b, w);
	return majority_elected(m, &b);
}

/*
 * Algorithm 1, FindTrend; 0: no trend. A larger window goes on with the vote of the one before it, so that each
 * difference votes once.
 */
static inline int64_t majority_trend(const struct majority *m)
{
	struct majority_ballot b = {0, 0, 0};
	uint32_t w = m->size / m->split;

	while (w <= m->fill) {
		int64_t trend;

		majority_go_on(m, &b, w);
		trend = majority_elected(m, &b);
		if (trend || w == m->size)
			return trend;
		w = w > m->size / 2 ? m->size : w * 2;
	}
	return 0;
}

static inline void majority_push(struct majority *m, int64_t delta)
{
	m->ring[m->head] = delta;
	m->head = m->head + 1 == m->size ? 0 : m->head + 1;
	if (m->fill < m->size)
		m->fill++;
}

/* False for a retried fault. */
static inline bool majority_is_access(const struct majority *m, uint64_t page)
{
	return page <= MAJORITY_PAGE_MAX && !(m->begun && page == m->last_page);
}

/* Records an access and returns its step. */
static inline int64_t majority_record(struct majority *m, uint64_t page)
{
	int64_t delta = (int64_t)(page - m->last_page);

	m->last_page = page;
	m->begun = true;
	if (delta) /* 0: page 0 came first */
		majority_push(m, delta);
	return delta;
}

/* Algorithm 2's C_hit + 1, rounded up to a power of two, at most max. */
static inline uint32_t majority_size_of_hits(uint32_t hits, uint32_t max)
{
	uint32_t window = 1;

	while (window <= hits && window < max)
		window *= 2;
	return window < max ? window : max;
}

/* Algorithm 2, GetPrefetchWindowSize. */
static inline uint32_t majority_window_size(struct majority *m, bool follows)
{
	uint32_t window;

	if (m->hits)
		window = majority_size_of_hits(m->hits, m->window_max);
	else
		window = follows;
	if (window < m->miss_window / 2)
		window = m->miss_window / 2;
	m->hits = 0;
	m->miss_window = window;
	return window;
}

/* At most `count` steps of delta from page stay inside the address space. */
static inline uint32_t majority_steps(uint64_t page, int64_t delta, uint32_t count)
{
	uint64_t room = delta > 0 ? MAJORITY_PAGE_MAX - page : page;
	uint64_t step = delta > 0 ? (uint64_t)delta : -(uint64_t)delta;

	return room / step < count ? (uint32_t)(room / step) : count;
}

/* Up to `count` pages behind `page` along delta. */
static inline void majority_ahead(uint64_t page, int64_t delta, uint32_t count,
				  struct majority_window *ret_window)
{
	ret_window->count = majority_steps(page, delta, count);
	ret_window->delta = delta;
	ret_window->start = page + (uint64_t)delta;
}

/* `count` pages on both sides of `page`, which itself lies between them. */
static inline void majority_around(uint64_t page, int64_t delta, uint32_t count,
				   struct majority_window *ret_window)
{
	uint32_t before = majority_steps(page, -delta, count / 2);

	ret_window->count = before + 1 + majority_steps(page, delta, count - count / 2);
	ret_window->delta = delta;
	ret_window->start = page - before * (uint64_t)delta;
}

/* Whether a step goes on with a scan upwards. */
static inline bool majority_is_forward(int64_t delta)
{
	return delta > 0 && delta <= MAJORITY_FORWARD;
}

/* A scan that was announced: the first step forward starts a window of full size, along the trend if that is up. */
static inline void majority_scan(struct majority *m, uint64_t page, int64_t found,
				 struct majority_window *ret_window)
{
	if (m->last_window < m->limit)
		m->last_window = m->limit;
	majority_ahead(page, found > 0 ? found : 1, m->last_window, ret_window);
}

/* Algorithm 2, DoPrefetch: a miss. Fills ret_window. */
static inline void majority_miss(struct majority *m, uint64_t page,
				 struct majority_window *ret_window)
{
	int64_t delta, found;
	uint32_t window;

	ret_window->count = 0;
	if (!majority_is_access(m, page))
		return;
	delta = majority_record(m, page);
	found = majority_trend(m);
	if (found)
		m->trend = found;
	window = majority_window_size(m, found && delta == found);
	m->last_window = window;
	if (window && m->trend) {
		if (found || !m->around_both)
			majority_ahead(page, m->trend, window, ret_window);
		else
			majority_around(page, m->trend, window, ret_window);
	}
	if (m->sequential && majority_is_forward(delta))
		majority_scan(m, page, found, ret_window);
	m->watched = *ret_window;
	m->watched_before = 0;
}

static inline void majority_reach_further(struct majority *m)
{
	m->limit = m->limit > m->window_max / 2 ? m->window_max : m->limit * 2;
}

/* First touch of a prefetched page. */
static inline void majority_hit(struct majority *m, uint64_t page)
{
	if (!majority_is_access(m, page))
		return;
	majority_record(m, page);
	if (m->hits < m->window_max)
		m->hits++; /* more hits make no larger window */
	if (m->sequential && m->hits >= m->limit && m->limit < m->window_max)
		majority_reach_further(m);
}

/* Counts the hits that a touched marker shows on the watched window. True: the next one is watched too. */
static inline bool majority_watch(struct majority *m, uint64_t page, uint32_t credit)
{
	uint64_t step = (uint64_t)m->watched.delta, way = page - m->watched.start;
	uint32_t before = m->watched_before;

	if (!m->watched.count)
		return false;
	if (m->watched.delta < 0) {
		step = -step;
		way = -way;
	}
	if (way / step >= m->watched.count)
		return false;
	m->hits = before + (uint32_t)(way / step) + 1;
	m->watched.count = 0;
	m->watched_before = credit;
	return !before;
}

/* A marker was touched: `credit` hits on a window of stride delta that ends at frontier. Fills ret_window. */
static inline void majority_marker(struct majority *m, uint64_t page, uint32_t credit,
				   int64_t delta, uint64_t frontier,
				   struct majority_window *ret_window)
{
	uint32_t window;
	bool watch;

	ret_window->count = 0;
	if (!delta || !credit || page > MAJORITY_PAGE_MAX || frontier > MAJORITY_PAGE_MAX)
		return;
	for (uint32_t i = 0; i < credit && i < m->size; i++)
		majority_push(m, delta);
	m->last_page = page;
	m->begun = true;
	m->trend = delta;
	watch = majority_watch(m, page, credit);
	m->dropped -= credit < m->dropped ? credit : m->dropped;
	window = majority_size_of_hits(credit, m->limit);
	if (!m->dropped && credit >= m->limit)
		majority_reach_further(m);
	m->last_window = window;
	majority_ahead(frontier, delta, window, ret_window);
	if (watch)
		m->watched = *ret_window;
}

/*
 * count prefetched pages were dropped untouched. They weigh twice as much as a hit: windows shrink when
 * more than a third of what they bring is wasted.
 */
static inline void majority_unused(struct majority *m, uint32_t count)
{
	uint64_t dropped = m->dropped + 2ull * count;

	while (dropped >= 2ull * m->limit && m->limit > 1) {
		dropped -= 2ull * m->limit;
		m->limit /= 2;
	}
	m->dropped = dropped < 2ull * m->limit ? (uint32_t)dropped : 2 * m->limit;
}

#endif
