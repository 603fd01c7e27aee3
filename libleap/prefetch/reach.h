/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reach.h - how many pages a marker's window may have, learnt from what became of the pages of all windows.
 *
 * At the start the limit doubles whenever REACH_PATIENCE windows were used up, until much more than one window is on its
 * way: several streams may soon have no room for theirs, and go on in steps of an eighth.
 *
 * The limit is halved when a page that was dropped is needed after all: there is no room for as many pages ahead of
 * their use. And when more than half as many were dropped untouched as were used meanwhile, and more than
 * REACH_EXCESS and a window: they were the wrong ones. What was used before is remembered up to REACH_RESERVE such
 * windows: a scan that ends leaves a window behind, and that is no reason to make the next ones small. From then on larger windows are tried in small steps,
 * with more patience after each failure. What was planned before is not held against the new limit when it
 * is dropped in turn (`settling`), it would be punished several times for one mistake; and until it is gone, windows are
 * half as large again. A limit beyond the one that failed shows that times have changed: all is as at the
 * start.
 *
 * Pages are not to wait long for their use: a program that computes for 100 us a page would hold half a window of 512 for
 * 25 ms, in room that others could use, for nothing. So there is a second limit, `soon`: it is halved when two windows
 * in a row were used later than REACH_WAIT_NS after their plan, down to REACH_LEAST, and doubled when windows twice as
 * large would still be used within that time. A window that was late waited for the link, not for the program.
 */
#ifndef LEAP_PREFETCH_REACH_H
#define LEAP_PREFETCH_REACH_H

#include <stdbool.h>
#include <stdint.h>

#define REACH_START    64
#define REACH_EXCESS   64
#define REACH_STEP     8      /* an eighth */
#define REACH_PATIENCE 8      /* windows, at the start ... */
#define REACH_LATER    4      /* times as many after a failure ... */
#define REACH_LATEST   64     /* ... and at last */
#define REACH_MOST     0xffff /* pages dropped at once that are counted */
#define REACH_RESERVE  8      /* windows' worth of use that makes up for drops to come */
#define REACH_WAIT_NS  5000000
#define REACH_IDLE     2 /* windows in a row */
#define REACH_LEAST    8 /* pages */

struct reach {
	uint32_t max, limit; /* 1 .. max */
	uint32_t soon;       /* 1 .. max */
	uint32_t failed;     /* the limit that was halved; 0: none */
	uint32_t patience;
	int32_t dropped; /* weight of what was dropped, not yet made up for; below 0: in reserve */
	uint32_t idle;   /* windows in a row whose pages waited too long */
	uint32_t settling; /* pages on their way that were planned before the limit was halved */
	uint64_t used_up;  /* pages credited since the limit was changed */
	uint64_t ahead;    /* pages planned, not known to be used or dropped */
};

static inline void reach_init(struct reach *r, uint32_t max)
{
	r->max = max;
	r->limit = max < REACH_START ? max : REACH_START;
	r->soon = max;
	r->patience = REACH_PATIENCE;
}

/* Pages of the next window: fewer while what was too much is still on its way. */
static inline uint32_t reach_limit(const struct reach *r)
{
	uint32_t limit = r->settling && r->limit > 1 ? r->limit / 2 : r->limit;

	return limit < r->soon ? limit : r->soon;
}

/* There is no need to learn that windows will be used: a scan is announced. */
static inline void reach_eager(struct reach *r)
{
	if (!r->failed)
		r->limit = r->max;
}

static inline void reach_planned(struct reach *r, uint32_t pages)
{
	r->ahead += pages;
}

static inline void reach_resolved(struct reach *r, uint32_t pages)
{
	r->ahead -= pages < r->ahead ? pages : r->ahead;
	r->settling -= pages < r->settling ? pages : r->settling;
}

/* A window's worth of pages. */
static inline int32_t reach_excess(const struct reach *r)
{
	return (int32_t)(r->limit > REACH_EXCESS ? r->limit : REACH_EXCESS);
}

static inline void reach_grow(struct reach *r)
{
	uint32_t step = r->limit;

	if (r->failed || r->ahead > r->max)
		step = (r->limit + REACH_STEP - 1) / REACH_STEP;
	r->limit = r->limit + step < r->max ? r->limit + step : r->max;
	r->used_up = 0;
	if (r->limit > r->failed) {
		r->failed = 0;
		r->patience = REACH_PATIENCE;
	}
}

/* What the age of a window of `credit` pages says about how large the next may be. */
static inline void reach_look_at_age(struct reach *r, uint32_t credit, uint64_t age_ns, bool late)
{
	bool idle = !late && age_ns > REACH_WAIT_NS && credit > REACH_LEAST;

	if (!idle && (late || age_ns / credit * 2 * r->soon <= REACH_WAIT_NS))
		r->soon = r->soon < r->max / 2 ? r->soon * 2 : r->max;
	r->idle = idle ? r->idle + 1 : 0;
	if (r->idle < REACH_IDLE || r->soon <= REACH_LEAST)
		return;
	r->idle = 0;
	if (r->soon > r->limit)
		r->soon = r->limit;
	r->soon = r->soon / 2 > REACH_LEAST ? r->soon / 2 : REACH_LEAST;
}

/* A marker's window was used up, age_ns after it was planned (0: not known), or while it was on its way. */
static inline void reach_used(struct reach *r, uint32_t credit, uint64_t age_ns, bool late)
{
	if (age_ns)
		reach_look_at_age(r, credit, age_ns, late);
	reach_resolved(r, credit);
	r->dropped -= (int32_t)credit;
	if (r->dropped < -REACH_RESERVE * reach_excess(r))
		r->dropped = -REACH_RESERVE * reach_excess(r);
	r->used_up += credit;
	if (r->limit < r->max && r->used_up >= (uint64_t)r->patience * r->limit)
		reach_grow(r);
}

static inline void reach_fail(struct reach *r)
{
	uint64_t most = 8ull * r->limit; /* pages that were local already count as ahead for ever */

	r->failed = r->limit;
	r->ahead = r->ahead < most ? r->ahead : most;
	r->settling = (uint32_t)r->ahead;
	r->limit /= 2;
	r->dropped = 0;
	r->used_up = 0;
	r->patience =
		r->patience < REACH_LATEST / REACH_LATER ? r->patience * REACH_LATER : REACH_LATEST;
}

/* A page that was planned is needed, and was dropped: there is no room. */
static inline void reach_crowded(struct reach *r)
{
	if (!r->settling && r->limit > 1)
		reach_fail(r);
}

/* count pages were dropped untouched. */
static inline void reach_dropped(struct reach *r, uint32_t count)
{
	uint32_t old = count < r->settling ? count : r->settling;
	int32_t excess = 2 * reach_excess(r);

	reach_resolved(r, count);
	count -= old;
	r->dropped += count < REACH_MOST ? 2 * (int32_t)count : 2 * REACH_MOST;
	if (r->dropped < excess)
		return;
	r->dropped = excess;
	if (r->limit > 1)
		reach_fail(r);
}

#endif
