/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stride.c - reference prediction after Baer and Chen: a stride is believed once it was seen twice in a row,
 * and lost when it fails twice.
 *
 *   state          the same stride again    another stride
 *   INITIAL        STEADY                   TRANSIENT, stride := it
 *   STEADY         STEADY                   INITIAL, stride kept
 *   TRANSIENT      STEADY                   NO_PREDICTION, stride := it
 *   NO_PREDICTION  TRANSIENT                NO_PREDICTION, stride := it
 *
 * Processors look the entry up by the instruction that loads. A pager does not know it: here each thread
 * has an entry (by its id, in a small table; the youngest wins).
 *
 * Throttle: how far it reads ahead, from 1 page to window_max. After each window: doubled if at
 * least three quarters of it were hit, halved if less than half was. Pages dropped untouched count as misses of
 * the window. Markers: a touched marker stands for its window's pages and continues it, twice as
 * far, within the reach.
 */
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/throttle.h"

#define REACH_START 4 /* pages */
#define ENTRIES     16
#define PAGE_MAX    (~0ull >> 12)

enum state { INITIAL, TRANSIENT, STEADY, NO_PREDICTION };

struct entry {
	uint32_t thread;
	enum state state;
	bool begun;
	uint64_t last_page;
	int64_t stride;
};

struct stride {
	struct throttle reach; /* pages of the next window */
	uint32_t brought;      /* by the last window; 0: it was judged */
	uint32_t hits;         /* on it */
	uint32_t window;       /* last one, for peek() */
	int64_t last_stride;
	struct entry entry[ENTRIES];
};

static size_t state_bytes(const struct prefetch_params *params)
{
	return sizeof(struct stride);
}

static int init(void *state, const struct prefetch_params *params)
{
	struct stride *s = state;

	int err = prefetch_check_window(params);

	if (err)
		return err;
	s->reach.max = params->window_max;
	s->reach.limit = params->window_max < REACH_START ? params->window_max : REACH_START;
	return 0;
}

static struct entry *entry_of(struct stride *s, uint32_t thread)
{
	struct entry *e = &s->entry[(thread ^ thread >> 4) % ENTRIES];

	if (e->thread != thread)
		*e = (struct entry){.thread = thread};
	return e;
}

/* Moves the entry on by one access; false for a retried fault. */
static bool step(struct entry *e, uint64_t page)
{
	int64_t delta = (int64_t)(page - e->last_page);
	bool same = delta == e->stride;

	if (e->begun && !delta)
		return false;
	e->last_page = page;
	if (!e->begun) {
		e->begun = true;
		return true;
	}
	switch (e->state) {
	case INITIAL:
		e->state = same ? STEADY : TRANSIENT;
		break;
	case TRANSIENT:
		e->state = same ? STEADY : NO_PREDICTION;
		break;
	case STEADY:
		e->state = same ? STEADY : INITIAL;
		return true;
	case NO_PREDICTION:
		e->state = same ? TRANSIENT : NO_PREDICTION;
		break;
	}
	e->stride = delta;
	return true;
}

/* The last window is over: was it worth it? */
static void judge(struct stride *s)
{
	if (!s->brought)
		return;
	if (4 * s->hits >= 3 * s->brought)
		throttle_double(&s->reach);
	else if (2 * s->hits < s->brought && s->reach.limit > 1)
		s->reach.limit /= 2;
	s->brought = s->hits = 0;
}

/* Pages behind page along delta, as many as there are in the address space. */
static void ahead(uint64_t page, int64_t delta, uint32_t count, struct prefetch_plan *plan)
{
	uint64_t room = delta > 0 ? PAGE_MAX - page : page;
	uint64_t length = delta > 0 ? (uint64_t)delta : -(uint64_t)delta;

	if (!length)
		return;
	plan->count = room / length < count ? (uint32_t)(room / length) : count;
	plan->start = page + (uint64_t)delta;
	plan->delta = delta;
}

static void miss(struct stride *s, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct entry *e = entry_of(s, a->thread);

	if (!step(e, a->page) || e->state != STEADY)
		return;
	judge(s);
	ahead(a->page, e->stride, s->reach.limit, plan);
	s->brought = s->window = plan->count;
	s->last_stride = e->stride;
}

static void marker(struct stride *s, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct entry *e = entry_of(s, a->thread);
	uint32_t count;

	if (!a->credit || !a->delta || a->frontier > PAGE_MAX)
		return;
	e->begun = true;
	e->last_page = a->page;
	e->stride = a->delta;
	e->state = STEADY;
	throttle_used(&s->reach, a->credit);
	if (s->brought) {
		s->hits = s->brought;
		judge(s);
	}
	count = a->credit < s->reach.limit / 2 ? a->credit * 2 : s->reach.limit;
	if (!s->reach.dropped && count >= s->reach.limit)
		throttle_double(&s->reach);
	ahead(a->frontier, a->delta, count, plan);
	s->window = plan->count;
	s->last_stride = a->delta;
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct stride *s = state;

	plan->count = 0;
	if (a->page > PAGE_MAX)
		return;
	switch (a->kind) {
	case PREFETCH_MISS:
		miss(s, a, plan);
		break;
	case PREFETCH_HIT:
		if (step(entry_of(s, a->thread), a->page) && s->hits < s->brought)
			s->hits++;
		break;
	case PREFETCH_MARKER:
		marker(s, a, plan);
		break;
	}
}

static void unused(void *state, uint32_t count)
{
	struct stride *s = state;

	throttle_dropped(&s->reach, count);
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct stride *s = state;

	*ret_trend = s->last_stride;
	*ret_window = s->window;
}

const struct prefetcher_ops prefetcher_stride = {
	.size = sizeof(prefetcher_stride),
	.name = "stride",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
};
