/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.c - accesses told apart by where they happen; the majority trend, patterns and ripples of each.
 *
 * An access belongs to the stream whose last page is nearest to it, within NEAR pages; one that is near to
 * none begins a stream, in place of the one that was not used for longest. So interleaved scans, and scans
 * among stray accesses, each have a history of their own. Each stream predicts by the first tier that has
 * an answer:
 *
 *   pattern  its steps repeat with a period of 2 to 16: twice in a row at least, and over more of its
 *            history than one single step explains. The plan is that pattern.
 *   trend    the paper's algorithms (majority_core.h) on the stream's own steps.
 *   ripple   small steps to and fro that get somewhere: no step of the last RIPPLE is longer than RIPPLE_STEP, and
 *            together they make between half a page and two pages an access. The plan is what lies behind the
 *            furthest page.
 *   hope     along the last trend, as the paper does.
 *
 * Steps longer than NEAR join no stream. Accesses of that kind share one more history, `far`, for a trend
 * of its own; those that follow it begin no stream.
 *
 * Markers: the window's tag names the stream. The accesses that the marker stands for are recorded, and the
 * stream's last page is the window's last, since that is where its next miss is expected. How far
 * a marker's window may reach is one limit for all streams, since what is dropped untouched is not told apart.
 */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/prefetch/majority_core.h"
#include "libleap/prefetch/prefetch.h"

#define WINDOW_MAX  512
#define STREAMS     64
#define FAR         STREAMS /* index of the history of far steps */
#define NEAR        64
#define HISTORY     32
#define SPLIT       8
#define RIPPLE      16
#define RIPPLE_STEP 8
#define NOWHERE     (~0ull >> 1) /* near to no page */
#define GENERATIONS 0xffff

struct streams {
	uint64_t last[STREAMS]; /* page; NOWHERE: free */
	uint32_t used[STREAMS]; /* clock of the last access */
	uint16_t generation[STREAMS + 1];
	uint32_t clock;
	uint32_t window_max;
	uint32_t limit, dropped; /* as in struct majority, for all streams */
	int64_t trend;           /* for peek() */
	uint32_t window;
	/* then STREAMS + 1 times: struct majority with its ring */
};

#define CORE_BYTES (sizeof(struct majority) + HISTORY * sizeof(int64_t))

static struct majority *core(struct streams *s, uint32_t i)
{
	return (struct majority *)((char *)(s + 1) + i * CORE_BYTES);
}

static size_t state_bytes(const struct prefetch_params *params)
{
	return sizeof(struct streams) + (STREAMS + 1) * CORE_BYTES;
}

static void begin(struct streams *s, uint32_t i)
{
	struct majority *m = core(s, i);

	memset(m, 0, CORE_BYTES);
	majority_init(m, HISTORY, SPLIT, s->window_max, false);
	s->generation[i] = s->generation[i] % GENERATIONS + 1;
}

static int init(void *state, const struct prefetch_params *params)
{
	struct streams *s = state;

	if (!params->window_max || params->window_max > WINDOW_MAX)
		return error_set(EINVAL, "window_max %u is out of range: choose 1 to %d",
				 params->window_max, WINDOW_MAX);
	s->window_max = s->limit = params->window_max;
	for (uint32_t i = 0; i < STREAMS; i++)
		s->last[i] = NOWHERE;
	begin(s, FAR);
	return 0;
}

/* The stream whose last page is nearest to page, FAR when none is near. */
static uint32_t find(const struct streams *s, uint64_t page)
{
	uint64_t least = NEAR + 1;
	uint32_t found = FAR;

	for (uint32_t i = 0; i < STREAMS; i++) {
		uint64_t way = page - s->last[i];

		if (way + NEAR > 2 * NEAR)
			continue;
		if ((int64_t)way < 0)
			way = -way;
		if (way < least) {
			least = way;
			found = i;
		}
	}
	return found;
}

static void touch(struct streams *s, uint32_t i, uint64_t page)
{
	s->last[i] = page;
	s->used[i] = ++s->clock;
}

static uint32_t oldest(const struct streams *s)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < STREAMS; i++) {
		if (s->last[i] == NOWHERE)
			return i;
		/* by distance, since the clock may wrap */
		if (s->clock - s->used[i] > s->clock - s->used[found])
			found = i;
	}
	return found;
}

static uint32_t tag_of(const struct streams *s, uint32_t i)
{
	return (uint32_t)s->generation[i] << 7 | i;
}

/* The stream that planned the window, or that is near to its end. */
static uint32_t stream_of(const struct streams *s, const struct prefetch_access *a)
{
	uint32_t i = a->window ? a->window->tag & 127 : STREAMS + 1;

	if (i <= FAR && a->window->tag == tag_of(s, i))
		return i;
	return find(s, a->frontier);
}

/* Period of the stream's newest steps, 2 to PREFETCH_STEPS_MAX; 0: none that explains more than one step does. */
static uint32_t period(const struct majority *m)
{
	uint32_t best = 0, explained = 0;

	for (uint32_t p = 1; p <= PREFETCH_STEPS_MAX && 2 * p <= m->fill; p++) {
		uint32_t n = 0;

		while (p + n < m->fill && majority_newest(m, n) == majority_newest(m, n + p))
			n++;
		if (n >= p && n >= 3 && p + n > explained) {
			best = p;
			explained = p + n;
		}
		if (p + n == m->fill)
			break;
	}
	return best > 1 ? best : 0;
}

/* The next rounds of a pattern of period p; false when it leads nowhere. */
static bool plan_pattern(struct streams *s, const struct majority *m, uint64_t page, uint32_t p,
			 struct prefetch_plan *plan)
{
	uint32_t count = m->last_window > p ? m->last_window : p;
	int64_t way = 0;

	for (uint32_t i = 0; i < p; i++) {
		if (i)
			plan->offset[i] = plan->offset[i - 1];
		way += majority_newest(m, p - 1 - i);
		if (!i)
			plan->start = page + (uint64_t)way;
		else
			plan->offset[i] += (int32_t)majority_newest(m, p - 1 - i);
	}
	plan->delta = way;
	plan->nsteps = p;
	plan->count = count < s->window_max ? count : s->window_max;
	if (!way || page > MAJORITY_PAGE_MAX - WINDOW_MAX * NEAR || page < WINDOW_MAX * NEAR) {
		*plan = (struct prefetch_plan){0};
		return false;
	}
	return true;
}

/* Steps to and fro that get somewhere: what lies behind the furthest page. */
static bool plan_ripple(struct streams *s, const struct majority *m, uint64_t page,
			struct prefetch_plan *plan)
{
	int64_t net = 0, up = 0, down = 0; /* from page back to older ones */
	uint32_t count = m->last_window > 2 ? m->last_window : 2;

	if (m->fill < RIPPLE)
		return false;
	for (uint32_t i = 0; i < RIPPLE; i++) {
		int64_t step = majority_newest(m, i);

		if (step > RIPPLE_STEP || step < -RIPPLE_STEP)
			return false;
		net -= step;
		up = net > up ? net : up;
		down = net < down ? net : down;
	}
	if (net > 2 * RIPPLE || net < -2 * RIPPLE || (net < RIPPLE / 2 && net > -RIPPLE / 2))
		return false;
	plan->delta = net < 0 ? 1 : -1;
	plan->start = page + (uint64_t)(net < 0 ? up : down) + (uint64_t)plan->delta;
	plan->count = count < s->window_max ? count : s->window_max;
	if (plan->start < WINDOW_MAX || plan->start > MAJORITY_PAGE_MAX - WINDOW_MAX)
		plan->count = 0;
	return plan->count;
}

static void take(struct prefetch_plan *plan, const struct majority_window *window)
{
	plan->start = window->start;
	plan->delta = window->delta;
	plan->count = window->count;
}

static void note(struct streams *s, uint32_t i, struct prefetch_plan *plan)
{
	plan->tag = tag_of(s, i);
	s->window = plan->count;
	if (plan->count)
		s->trend = plan->delta;
}

/* A miss near to no stream: perhaps a far step, else the beginning of a stream. */
static void miss_far(struct streams *s, uint64_t page, struct prefetch_plan *plan)
{
	struct majority_window window = {0};
	uint32_t i;

	majority_miss(core(s, FAR), page, &window);
	if (window.count) {
		take(plan, &window);
		note(s, FAR, plan);
		return;
	}
	i = oldest(s);
	begin(s, i);
	touch(s, i, page);
	majority_miss(core(s, i), page, &window);
	s->window = 0;
}

static void miss(struct streams *s, uint64_t page, struct prefetch_plan *plan)
{
	struct majority_window window = {0};
	uint32_t i = find(s, page), p;
	struct majority *m = core(s, i);

	if (i == FAR) {
		miss_far(s, page, plan);
		return;
	}
	if (!majority_is_access(m, page))
		return;
	touch(s, i, page);
	majority_miss(m, page, &window);
	p = period(m);
	if (p && plan_pattern(s, m, page, p, plan))
		m->watched.count = 0; /* no majority window is under way */
	else if ((window.count && majority_trend(m)) || !plan_ripple(s, m, page, plan))
		take(plan, &window);
	note(s, i, plan);
}

static void hit(struct streams *s, uint64_t page)
{
	uint32_t i = find(s, page);

	majority_hit(core(s, i), page);
	if (i != FAR)
		touch(s, i, page);
}

/* The accesses that a pattern's marker stands for, and what comes behind them. */
static void marker_pattern(struct streams *s, struct majority *m,
			   const struct prefetch_plan *window, struct prefetch_plan *plan)
{
	uint32_t n = window->count < HISTORY ? window->count : HISTORY;

	for (uint32_t k = window->count - n; k < window->count; k++) {
		uint32_t next =
			k ? k : window->nsteps; /* the step before the first is the round's last */

		majority_push(
			m, (int64_t)(prefetch_nth(window, next) - prefetch_nth(window, next - 1)));
	}
	m->begun = true;
	m->dropped -= window->count < m->dropped ? window->count : m->dropped;
	prefetch_continue(window, majority_size_of_hits(window->count, m->limit), plan);
	if (!m->dropped && window->count >= m->limit)
		m->limit = m->limit > s->window_max / 2 ? s->window_max : m->limit * 2;
	m->last_window = plan->count;
}

static void marker(struct streams *s, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	bool pattern = a->window && a->window->nsteps > 1;
	struct majority_window window = {0};
	uint32_t i = stream_of(s, a);
	struct majority *m;

	if (!a->credit || !a->delta || a->frontier > MAJORITY_PAGE_MAX)
		return;
	if (i == FAR && a->delta <= NEAR && a->delta >= -NEAR) {
		i = oldest(s); /* another policy's window, or one of a stream that is gone */
		begin(s, i);
	}
	m = core(s, i);
	m->limit = s->limit;
	m->dropped = s->dropped;
	if (pattern) {
		marker_pattern(s, m, a->window, plan);
	} else {
		majority_marker(m, a->page, a->credit, a->delta, a->frontier, &window);
		take(plan, &window);
	}
	s->limit = m->limit;
	s->dropped = m->dropped;
	m->last_page = a->frontier;
	if (i != FAR)
		touch(s, i, a->frontier);
	note(s, i, plan);
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct streams *s = state;

	*plan = (struct prefetch_plan){0};
	if (a->page > MAJORITY_PAGE_MAX)
		return;
	switch (a->kind) {
	case PREFETCH_MISS:
		miss(s, a->page, plan);
		break;
	case PREFETCH_HIT:
		hit(s, a->page);
		break;
	case PREFETCH_MARKER:
		marker(s, a, plan);
		break;
	}
}

static void unused(void *state, uint32_t count)
{
	struct streams *s = state;
	struct majority *m = core(s, FAR);

	m->limit = s->limit;
	m->dropped = s->dropped;
	majority_unused(m, count);
	s->limit = m->limit;
	s->dropped = m->dropped;
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct streams *s = state;

	*ret_trend = s->trend;
	*ret_window = s->window;
}

const struct prefetcher_ops prefetcher_streams = {
	.size = sizeof(prefetcher_streams),
	.name = "streams",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
};
