/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.c - accesses told apart by where they happen; the majority trend, patterns and ripples of each.
 *
 * Which stream an access belongs to stands in stream_table.h. So interleaved scans, and scans among stray accesses, each
 * have a history of their own. Each stream predicts by the first tier that has an answer:
 *
 *   pattern  its steps repeat with a period of 2 to 16: twice in a row at least, and over more of its
 *            history than one single step explains. The plan is that pattern.
 *   trend    the paper's algorithms (majority_core.h) on the stream's own steps.
 *   ripple   small steps to and fro that get somewhere: no step of the last RIPPLE is longer than RIPPLE_STEP, and
 *            together they make between half a page and two pages an access. The plan is what lies behind the
 *            furthest page.
 *   hope     along the last trend, as the paper does.
 *
 * Steps longer than NEAR join no stream. Accesses of that kind share one more history, `far`. Once FAR_PROOF of
 * its steps in a row are the same, it is a stream of its own, and what belongs to it begins no other.
 *
 * Markers: the window's tag names the stream. The accesses that the marker stands for are recorded, and the
 * stream's last page is the window's last, since that is where its next miss is expected. How far a marker's
 * window may reach is one limit for all streams (reach.h), since what is dropped untouched is not told apart:
 * several streams whose windows do not fit into the room for pages ahead of their use settle for windows that do. A
 * miss among the pages that a stream has brought says that they were dropped; the stream goes on from there.
 */
#include "libleap/prefetch/majority_core.h"
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/reach.h"
#include "libleap/prefetch/stream_table.h"
#include "libleap/prefetch/throttle.h"

#define FAR         STREAM_NONE /* index of the history of far steps */
#define NEAR        STREAM_NEAR
#define HISTORY     32
#define SPLIT       8
#define FAR_PROOF   8
#define RIPPLE      16
#define RIPPLE_STEP 8

struct streams {
	struct stream_table table;
	uint32_t window_max;
	bool sequential;    /* as the program says */
	struct reach reach; /* of markers' windows */
	int64_t trend;      /* for peek() */
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

	*m = (struct majority){0}; /* the ring is not looked at beyond what was recorded */
	majority_init(m, HISTORY, SPLIT, s->window_max, false);
	m->sequential = s->sequential;
	stream_begin(&s->table, i);
}

static int init(void *state, const struct prefetch_params *params)
{
	struct streams *s = state;

	int err = prefetch_check_window(params);

	if (err)
		return err;
	s->window_max = params->window_max;
	reach_init(&s->reach, params->window_max);
	stream_table_init(&s->table);
	begin(s, FAR);
	return 0;
}

/* The stream that planned the window, or that is near to its end. */
static uint32_t stream_of(const struct streams *s, const struct prefetch_access *a)
{
	uint32_t i;

	if (a->window && stream_of_tag(&s->table, a->window->tag, &i))
		return i;
	return stream_find(&s->table, a->frontier);
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
	if (!way || page > MAJORITY_PAGE_MAX - PREFETCH_WINDOW_MAX * NEAR ||
	    page < PREFETCH_WINDOW_MAX * NEAR) {
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
	if (plan->start < PREFETCH_WINDOW_MAX ||
	    plan->start > MAJORITY_PAGE_MAX - PREFETCH_WINDOW_MAX)
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
	plan->tag = stream_tag(&s->table, i);
	reach_planned(&s->reach, plan->count);
	s->window = plan->count;
	if (plan->count)
		s->trend = plan->delta;
}

/* Whether the newest steps of the far history are all the same, and far. */
static bool far_is_proven(const struct majority *m)
{
	int64_t step = m->fill >= FAR_PROOF ? majority_newest(m, 0) : 0;

	if (step <= NEAR && step >= -NEAR)
		return false;
	for (uint32_t i = 1; i < FAR_PROOF; i++)
		if (majority_newest(m, i) != step)
			return false;
	return true;
}

/* A miss near to no stream: a far step, or the beginning of a stream. */
static void miss_far(struct streams *s, uint64_t page, struct prefetch_plan *plan)
{
	struct majority_window window = {0};
	uint32_t i;

	majority_miss(core(s, FAR), page, &window);
	if (far_is_proven(core(s, FAR))) {
		take(plan, &window);
		note(s, FAR, plan);
		return;
	}
	i = stream_oldest(&s->table);
	begin(s, i);
	stream_touch(&s->table, i, page);
	majority_hit(core(s, i), page);
	core(s, i)->hits = 0;
	s->window = 0;
}

static void miss(struct streams *s, uint64_t page, struct prefetch_plan *plan)
{
	struct majority_window window = {0};
	uint32_t i = stream_find(&s->table, page), p;
	struct majority *m = core(s, i);

	if (i == FAR) {
		i = stream_that_brought(&s->table, page);
		m = core(s, i);
		if (i == FAR) {
			miss_far(s, page, plan);
			return;
		}
		reach_crowded(&s->reach);
		m->last_page = page - (uint64_t)m->trend;
		m->hits = reach_limit(&s->reach) / 2;
	}
	if (!majority_is_access(m, page))
		return;
	stream_touch(&s->table, i, page);
	m->limit = reach_limit(&s->reach); /* which is ours to change */
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
	uint32_t i = stream_find(&s->table, page);

	majority_hit(core(s, i), page);
	if (i != FAR)
		stream_touch(&s->table, i, page);
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
	prefetch_continue(window, majority_size_of_hits(window->count, reach_limit(&s->reach)),
			  plan);
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
		/* another policy's window, or one of a stream that is gone */
		i = stream_oldest(&s->table);
		begin(s, i);
	}
	m = core(s, i);
	if (pattern) {
		marker_pattern(s, m, a->window, plan);
	} else {
		m->limit = reach_limit(&s->reach);
		majority_marker(m, a->page, a->credit, a->delta, a->frontier, &window);
		take(plan, &window);
	}
	reach_used(&s->reach, a->credit, a->age_ns, a->late);
	m->last_page = a->frontier;
	if (i != FAR) {
		stream_touch(&s->table, i, a->frontier);
		if (!pattern)
			stream_bring(&s->table, i, a->page, a->delta);
	}
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

	reach_dropped(&s->reach, count);
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct streams *s = state;

	*ret_trend = s->trend;
	*ret_window = s->window;
}

static void hint(void *state, enum prefetch_hint hint)
{
	struct streams *s = state;

	s->sequential = hint == PREFETCH_HINT_SEQUENTIAL;
	for (uint32_t i = 0; i <= STREAMS; i++)
		core(s, i)->sequential = s->sequential;
	if (s->sequential)
		reach_eager(&s->reach);
}

const struct prefetcher_ops prefetcher_streams = {
	.size = sizeof(prefetcher_streams),
	.name = "streams",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
	.whole = true,
	.hint = hint,
};
