/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adaptive.c - the policy that would have done best lately.
 *
 * Every candidate has a shadow: an instance that hears of the accesses and plans, but whose plans only mark a
 * table. An access to a page that it has marked is a hit of that shadow, one that it has not is a miss.
 * Each has a second instance, which plans for real while it is in charge, and keeps what it has learnt. After every
 * EPOCH accesses the shadows are compared by their benefit, which is the hits less a quarter of the pages brought
 * for nothing, each epoch weighing half as much as the one behind it. Another candidate takes charge when it
 * was better by a margin in several epochs running. "none" is one of the candidates: nothing for nothing.
 *
 * What shadows hear: misses and, in cache mode, hits: every access to a page that is not local. A touched marker
 * is replayed page by page while windows are small. Of large windows only the last pages are, without
 * being counted, so that shadows know where accesses are: such windows were earned by windows that
 * were used up, and replaying them would cost more than it tells.
 *
 * Shadows' windows are small, so next-n, whose windows stay so, looks as good among them as one that would soon
 * have windows of hundreds of pages. Its hits count for a little less.
 *
 * Of the candidate in charge, the hits that were count, not those of its shadow. Shadows plan small windows. What
 * large ones are worth shows on the candidate in charge alone: pages that it drops beyond a quarter of those
 * used, and beyond what its shadow wastes, are its handicap in comparisons. It is remembered for long
 * after another has taken charge.
 */
#include <errno.h>

#include "libleap/error.h"
#include "libleap/prefetch/prefetch.h"

#define EPOCH         256
#define WASTE_SHARE   4  /* so many pages for nothing outweigh a hit */
#define MARGIN_SHARE  16 /* better by 1/16 of the accesses */
#define EPOCHS_AHEAD  2  /* running */
#define REPLAY_MAX    32 /* pages of a marker's window */
#define TAIL          4  /* pages of a larger one */
#define HANDICAP_KEPT 64 /* 1/64 of it is forgotten in an epoch */
#define TABLE_BITS    11
#define SHADOW_WINDOW 8
#define SMALL         5 /* candidate whose windows do not grow: its hits count for ... */
#define SMALL_WORTH   7 /* ... so many eighths */
#define FIRST         4 /* candidate in charge at the start, and when a scan is announced */

static const struct prefetcher_ops *const candidates[] = {
	&prefetcher_none,     &prefetcher_stride,  &prefetcher_readahead,
	&prefetcher_majority, &prefetcher_streams, &prefetcher_nextn,
};
#define CANDIDATES ((uint32_t)(sizeof(candidates) / sizeof(candidates[0])))

/* A set of pages that forgets: a page may push another one out. */
struct table {
	uint32_t key[1 << TABLE_BITS]; /* 0: free */
};

struct shadow {
	struct table marked;
	uint32_t hits, brought; /* this epoch */
	int32_t benefit;        /* times WASTE_SHARE; halved each epoch */
	int32_t handicap;       /* in the same unit, of the same weight */
	uint32_t at,
		real_at; /* where the shadow's instance lies, and the one that plans for real */
};

struct adaptive {
	uint32_t live;  /* candidate in charge */
	bool announced; /* a scan: what is wasted because of that is not held against it */
	uint32_t rival, rival_epochs;
	uint32_t accesses; /* this epoch */
	uint32_t dropped;  /* pages of the candidate in charge, this epoch */
	/* of the candidate in charge, each epoch weighing 15/16 of the one behind it */
	uint32_t used, wasted, expected; /* pages; expected to be wasted, by its shadow */
	struct table recent;
	struct shadow shadow[CANDIDATES];
	/* then the instances */
};

static const struct prefetch_params shadow_params = {
	.history_size = 32,
	.history_split = 8,
	.window_max = SHADOW_WINDOW,
};

static size_t state_bytes(const struct prefetch_params *params)
{
	size_t bytes = prefetch_aligned(sizeof(struct adaptive));

	for (uint32_t i = 0; i < CANDIDATES; i++)
		bytes += prefetch_aligned(candidates[i]->state_bytes(&shadow_params)) +
			 prefetch_aligned(candidates[i]->state_bytes(params));
	return bytes;
}

static void *at(struct adaptive *a, uint32_t where)
{
	return (char *)a + where;
}

static int place(struct adaptive *a, uint32_t i, const struct prefetch_params *params,
		 size_t *where, uint32_t *ret_at)
{
	*ret_at = (uint32_t)*where;
	*where += prefetch_aligned(candidates[i]->state_bytes(params));
	return candidates[i]->init(at(a, *ret_at), params);
}

static int init(void *state, const struct prefetch_params *params)
{
	struct adaptive *a = state;
	size_t where = prefetch_aligned(sizeof(*a));
	int err = 0;

	a->live = FIRST;
	for (uint32_t i = 0; i < CANDIDATES && !err; i++) {
		err = place(a, i, params, &where, &a->shadow[i].real_at);
		if (!err)
			err = place(a, i, &shadow_params, &where, &a->shadow[i].at);
	}
	return err;
}

static void *live(struct adaptive *a)
{
	return at(a, a->shadow[a->live].real_at);
}

/* Key of a page, never 0; its place is the top bits. */
static uint32_t key_of(uint64_t page)
{
	return (uint32_t)(page * 0x9e3779b97f4a7c15ull >> 32) | 1;
}

static uint32_t *slot(struct table *t, uint32_t key)
{
	return &t->key[key >> (32 - TABLE_BITS)];
}

static bool has(struct table *t, uint32_t key)
{
	return *slot(t, key) == key;
}

static void shadow_bring(struct adaptive *a, uint32_t i, const struct prefetch_plan *plan)
{
	struct shadow *s = &a->shadow[i];

	for (uint32_t k = 0; k < plan->count; k++) {
		uint32_t key = key_of(prefetch_nth(plan, k)), *place = slot(&s->marked, key);

		if (*place == key || has(&a->recent, key))
			continue; /* it is there */
		if (*place)
			candidates[i]->unused(at(a, s->at), 1);
		*place = key;
		s->brought++;
	}
}

static void take_charge(struct adaptive *a, uint32_t i)
{
	a->live = i;
	a->rival_epochs = 0;
	a->used = a->wasted = a->expected = 0;
}

/* What the candidate in charge wastes that its shadow does not, over the last epochs. */
static void handicap(struct adaptive *a)
{
	struct shadow *s = &a->shadow[a->live];
	int32_t excess;

	a->expected += s->brought > s->hits ? s->brought - s->hits : 0;
	excess = (int32_t)a->wasted - (int32_t)(a->used / WASTE_SHARE + a->expected);
	for (uint32_t i = 0; i < CANDIDATES; i++)
		a->shadow[i].handicap -= a->shadow[i].handicap / HANDICAP_KEPT;
	if (excess > s->handicap && !a->announced)
		s->handicap += (excess - s->handicap + 3) / 4;
	a->used -= a->used / 16;
	a->wasted -= a->wasted / 16;
	a->expected -= a->expected / 16;
	a->dropped = 0;
}

static int32_t worth(const struct adaptive *a, uint32_t i)
{
	return a->shadow[i].benefit - a->shadow[i].handicap;
}

/* The end of an epoch. */
static void compare(struct adaptive *a)
{
	uint32_t best = 0;

	handicap(a);
	for (uint32_t i = 0; i < CANDIDATES; i++) {
		struct shadow *s = &a->shadow[i];
		int32_t gain = (int32_t)(s->hits * (WASTE_SHARE + 1));

		if (i == SMALL)
			gain = gain * SMALL_WORTH / 8;
		s->benefit = s->benefit / 2 + gain - (int32_t)s->brought;
		s->hits = s->brought = 0;
		if (worth(a, i) >= worth(a, best))
			best = i;
	}
	a->accesses = 0;
	if (worth(a, best) < worth(a, a->live) + WASTE_SHARE * EPOCH / MARGIN_SHARE) {
		a->rival_epochs = 0;
		return;
	}
	a->rival_epochs = best == a->rival ? a->rival_epochs + 1 : 1;
	a->rival = best;
	if (a->rival_epochs >= EPOCHS_AHEAD)
		take_charge(a, best);
}

/* One access, to all shadows. */
static void observe(struct adaptive *a, uint64_t page, const struct prefetch_access *real,
		    bool counted)
{
	uint32_t key = key_of(page);

	for (uint32_t i = 1; i < CANDIDATES; i++) { /* "none" needs no shadow */
		struct shadow *s = &a->shadow[i];
		struct prefetch_access shown = {
			.kind = has(&s->marked, key) ? PREFETCH_HIT : PREFETCH_MISS,
			.page = page,
			.thread = real->thread,
			.write = real->write,
		};
		struct prefetch_plan plan = {0};
		uint32_t brought = s->brought;
		bool hit = shown.kind == PREFETCH_HIT;

		if (hit)
			*slot(&s->marked, key) = 0;
		candidates[i]->access(at(a, s->at), &shown, &plan);
		shadow_bring(a, i, &plan);
		if (!counted) {
			s->brought = brought;
			continue;
		}
		if (i == a->live) { /* what happened counts, not what its shadow thinks */
			s->brought += (real->kind != PREFETCH_MISS) - hit;
			hit = real->kind != PREFETCH_MISS;
		}
		s->hits += hit;
	}
	*slot(&a->recent, key) = key;
	a->accesses += counted;
	if (a->accesses == EPOCH)
		compare(a);
}

/* The pages that a marker stands for. */
static void replay(struct adaptive *a, const struct prefetch_access *access)
{
	const struct prefetch_plan *w = access->window;
	bool small = w && w->count <= REPLAY_MAX;

	a->used += access->credit;
	if (!w)
		return;
	for (uint32_t k = small ? 0 : w->count - TAIL; k < w->count; k++)
		observe(a, prefetch_nth(w, k), access, small);
}

static void access(void *state, const struct prefetch_access *access, struct prefetch_plan *plan)
{
	struct adaptive *a = state;

	a->used += access->kind == PREFETCH_HIT;
	if (access->kind == PREFETCH_MARKER)
		replay(a, access);
	else
		observe(a, access->page, access, true);
	*plan = (struct prefetch_plan){0};
	candidates[a->live]->access(live(a), access, plan);
}

static void unused(void *state, uint32_t count)
{
	struct adaptive *a = state;

	candidates[a->live]->unused(live(a), count);
	count = count < EPOCH ? count : EPOCH;
	a->wasted += count;
	a->dropped += count;
	if (a->dropped >= EPOCH)
		compare(a);
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	const struct adaptive *a = state;

	candidates[a->live]->peek((const char *)a + a->shadow[a->live].real_at, ret_trend,
				  ret_window);
}

static void hint(void *state, enum prefetch_hint hint)
{
	struct adaptive *a = state;

	for (uint32_t i = 0; i < CANDIDATES; i++) {
		prefetch_tell_hint(candidates[i], at(a, a->shadow[i].real_at), hint);
		prefetch_tell_hint(candidates[i], at(a, a->shadow[i].at), hint);
	}
	a->announced = hint == PREFETCH_HINT_SEQUENTIAL;
	if (a->announced)
		take_charge(a, FIRST);
}

const struct prefetcher_ops prefetcher_adaptive = {
	.size = sizeof(prefetcher_adaptive),
	.name = "adaptive",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
	.whole = true,
	.hint = hint,
};
