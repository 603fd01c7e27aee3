/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - policy replay: fetches what came next when the program ran before.
 *
 * It keeps a place in the recorded future. A touch is looked for a little ahead of that place; if it is not there,
 * everywhere, and of its occurrences that one is taken which came behind the page touched last. Trust grows
 * with touches that come where they are expected, and shrinks with those that do not. Without trust, and for what is
 * not in the future, the majority's trend is followed, which hears of everything.
 *
 * A window is what comes next: as a stride if it is one, else as a pattern of as many pages as a plan can name.
 */
#include "libleap/prefetch/replay.h"

#include "libleap/prefetch/majority_core.h"
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/throttle.h"

#define AHEAD       256 /* positions in which a touch is expected */
#define BEHIND      64  /* touches may come in another order */
#define CANDIDATES  32  /* occurrences of a page that are compared */
#define BEFORE      4   /* positions in which the touch before it is looked for */
#define LIST_LOOK   64  /* positions that a list of pages is gathered from */
#define STRIDE_MAX  128 /* pages of a stride */
#define TRUST_MAX   16
#define TRUST_START 4
#define TRUST_LEAST 2

struct replay {
	const struct replay_region *region; /* NULL: no future */
	uint64_t first_page;
	uint32_t at;   /* position that comes next */
	uint32_t last; /* page touched last */
	uint32_t trust, window_max, last_window;
	struct majority majority; /* last: its history follows */
};

static size_t state_bytes(const struct prefetch_params *params)
{
	return sizeof(struct replay) + prefetcher_majority.state_bytes(params);
}

static int init(void *state, const struct prefetch_params *params)
{
	struct replay *r = state;
	int err = prefetcher_majority.init(&r->majority, params);

	if (err)
		return err;
	r->window_max = params->window_max;
	r->trust = TRUST_START;
	return 0;
}

static void scope(void *state, const struct prefetch_scope *scope)
{
	struct replay *r = state;

	r->first_page = scope->first_page;
	for (uint32_t i = 0; scope->future && i < scope->future->nregions; i++)
		if (scope->future->region[i].id == scope->region && scope->first_page)
			r->region = &scope->future->region[i];
}

static void believe(struct replay *r, int change)
{
	int trust = (int)r->trust + change;

	r->trust = trust < 0 ? 0 : trust > TRUST_MAX ? TRUST_MAX : (uint32_t)trust;
}

/* The first entry of order[] whose page is at least `page` and, of those, whose position is at least `at`. */
static uint32_t lower_bound(const struct replay_region *f, uint32_t page, uint32_t at)
{
	uint32_t lo = 0, hi = f->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2, pos = f->order[mid];

		if (f->page[pos] < page || (pos < at && f->page[pos] == page))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool comes_behind(const struct replay_region *f, uint32_t pos, uint32_t last)
{
	for (uint32_t i = 1; i <= BEFORE && i <= pos; i++)
		if (f->page[pos - i] == last)
			return true;
	return false;
}

/* The page's position anywhere, best behind the page touched last, else the next one. f->n: it has none. */
static uint32_t find_anywhere(const struct replay *r, uint32_t page, bool *ret_sure)
{
	const struct replay_region *f = r->region;
	uint32_t i = lower_bound(f, page, r->at), next;

	*ret_sure = false;
	if (i == f->n || f->page[f->order[i]] != page)
		i = lower_bound(f, page, 0);
	if (i == f->n || f->page[f->order[i]] != page)
		return f->n;
	next = f->order[i];
	for (uint32_t k = 0; k < CANDIDATES && i + k < f->n; k++) {
		uint32_t pos = f->order[i + k];

		if (f->page[pos] != page)
			break;
		*ret_sure = comes_behind(f, pos, r->last);
		if (*ret_sure)
			return pos;
	}
	return next;
}

static uint32_t find_near(const struct replay *r, uint32_t page)
{
	const struct replay_region *f = r->region;
	uint32_t behind = r->at < BEHIND ? r->at : BEHIND;

	for (uint32_t i = r->at; i < f->n && i < r->at + AHEAD; i++)
		if (f->page[i] == page)
			return i;
	for (uint32_t i = 1; i <= behind; i++)
		if (f->page[r->at - i] == page)
			return r->at - i;
	return f->n;
}

/* Goes to the page's place in the future. False: it has none. */
static bool follow(struct replay *r, uint32_t page)
{
	uint32_t pos = find_near(r, page);
	bool sure = true;

	if (pos < r->region->n) {
		believe(r, 1);
		if (pos >= r->at) /* one that is late does not turn time back */
			r->at = pos + 1;
		return true;
	}
	pos = find_anywhere(r, page, &sure);
	believe(r, pos == r->region->n ? -2 : sure ? 0 : -1);
	if (pos == r->region->n)
		return false;
	r->at = pos + 1;
	return true;
}

/* The end of the window that was touched, if its tag tells of a place where its pages are. 0: it does not. */
static uint32_t end_of(const struct replay *r, const struct prefetch_plan *window, uint32_t page)
{
	uint32_t end = window ? window->tag : 0;

	if (!end || end > r->region->n)
		return 0;
	for (uint32_t i = 1; i <= end && i <= LIST_LOOK + STRIDE_MAX; i++)
		if (r->region->page[end - i] == page)
			return end;
	return 0;
}

/* How many of the next pages are a stride. */
static uint32_t stride_length(const struct replay_region *f, uint32_t at, uint32_t max)
{
	uint32_t n = 1, step;

	if (at + 1 >= f->n || f->page[at + 1] == f->page[at])
		return 1;
	step = f->page[at + 1] - f->page[at];
	while (n < max && at + n < f->n && f->page[at + n] - f->page[at + n - 1] == step)
		n++;
	return n;
}

static bool listed(const struct prefetch_plan *plan, int32_t offset)
{
	for (uint32_t i = 0; i < plan->count; i++)
		if (plan->offset[i] == offset)
			return true;
	return false;
}

static void plan_ahead(struct replay *r, struct prefetch_plan *plan)
{
	const struct replay_region *f = r->region;
	uint32_t max = r->window_max < STRIDE_MAX ? r->window_max : STRIDE_MAX;
	uint32_t list = max < PREFETCH_STEPS_MAX ? max : PREFETCH_STEPS_MAX;
	uint32_t at = r->at, first, n;

	if (at >= f->n)
		return;
	first = f->page[at];
	plan->start = r->first_page + first;
	n = stride_length(f, at, max);
	if (n >= list) {
		plan->delta = n > 1 ? (int32_t)(f->page[at + 1] - first) : 1;
		plan->count = n;
		plan->tag = at + n;
		return;
	}
	plan->delta = 1; /* a pattern that is not repeated */
	for (; at < f->n && at < r->at + LIST_LOOK && plan->count < list; at++) {
		int32_t offset = (int32_t)(f->page[at] - first);

		if (!listed(plan, offset))
			plan->offset[plan->count++] = offset;
	}
	plan->nsteps = plan->count > 1 ? plan->count : 0;
	plan->tag = at;
}

/* Tells the majority, too; its wish. */
static void ask_majority(struct replay *r, const struct prefetch_access *a,
			 struct prefetch_plan *plan)
{
	struct prefetch_access told = *a;
	bool pattern = a->kind == PREFETCH_MARKER && a->window && a->window->nsteps > 1;

	if (pattern) /* its delta means nothing */
		told.kind = PREFETCH_MISS;
	prefetcher_majority.access(&r->majority, &told, plan);
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct replay *r = state;
	uint32_t page = (uint32_t)(a->page - r->first_page), end = 0;
	struct prefetch_plan other = {0};
	bool known;

	ask_majority(r, a, &other);
	if (!r->region) {
		*plan = other;
		r->last_window = other.count;
		return;
	}
	if (a->kind == PREFETCH_MARKER)
		end = end_of(r, a->window, page);
	if (end) {
		believe(r, 1);
		r->at = end;
	}
	known = end || follow(r, page);
	r->last = page;
	if (a->kind == PREFETCH_HIT)
		return;
	if (known && r->trust >= TRUST_LEAST)
		plan_ahead(r, plan);
	else
		*plan = other;
	r->last_window = plan->count;
}

static void unused(void *state, uint32_t count)
{
	struct replay *r = state;

	prefetcher_majority.unused(&r->majority, count);
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct replay *r = state;

	*ret_trend = r->majority.trend;
	*ret_window = r->last_window;
}

static void hint(void *state, enum prefetch_hint hint)
{
	prefetch_tell_hint(&prefetcher_majority, &((struct replay *)state)->majority, hint);
}

const struct prefetcher_ops prefetcher_replay = {
	.size = sizeof(prefetcher_replay),
	.name = "replay",
	.state_bytes = state_bytes,
	.init = init,
	.scope = scope,
	.access = access,
	.unused = unused,
	.peek = peek,
	.whole = true,
	.hint = hint,
};
