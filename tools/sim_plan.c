/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_plan.c - what is to be done about faults, in the model of the runtime, as in plan.c of libleap: windows, and which of
 * their pages are brought.
 *
 * A trace tells when a window was begun (TRACE_WINDOW), what was asked for of it (TRACE_ISSUE, TRACE_RESCUE) and what it
 * was cut to (TRACE_SHORT). Where the policy wishes for the window that the run began, its pages are brought as they were
 * there: in between other threads evict, extents are busy, and room, buffers or requests run out. Other wishes are
 * fulfilled as far as the model has room.
 */
#include <errno.h>

#include "tools/sim_runtime.h"

#define WINDOW_SLACK 512
#define SHARE_MIN    8
#define SHARE_ROOM   1024

/* Where evictions are recorded, only if this run needs far more than that one had: its limit, or more while writes were
 * under way. */
void plan_room(struct runtime *s, uint64_t n)
{
	uint64_t limit = s->pager.limit, slack = limit / 16 + WINDOW_SLACK;

	if (!s->recorded) {
		pager_make_room(&s->pager, n);
		return;
	}
	s->pager.limit = s->held > limit ? s->held : limit;
	if (s->pager.local + s->pager.frames + n > s->pager.limit + slack)
		pager_make_room(&s->pager, n);
	s->pager.limit = limit;
}

/* What is left to read. */
static uint64_t pick(struct runtime *s, uint32_t extent, uint64_t mask)
{
	const struct pager_extent *e = pager_at(&s->pager, extent);

	return mask & ~e->marker & e->remote;
}

/*
 * Pages in limbo are mapped at once. Where the run asked for the extent, too, or its donors left pages in limbo that are being
 * written, only the trace knows which (TRACE_RESCUE): the run looks at its pages before it makes room for
 * them, and what goes to limbo meanwhile may stay there.
 */
static void rescue(struct runtime *s, uint32_t extent, uint64_t mask)
{
	struct pager_extent *e = pager_at(&s->pager, extent);

	if (!s->options->cache && !(s->recorded && (s->staged || s->issued)))
		pager_map(&s->pager, extent, mask & ~e->marker & e->limbo);
}

bool plan_bring(struct runtime *s, uint32_t extent, uint64_t mask, bool guess)
{
	struct pager_extent *e = pager_at(&s->pager, extent);
	uint64_t todo = pick(s, extent, mask);
	unsigned want = (unsigned)__builtin_popcountll(todo);

	rescue(s, extent, mask);
	if (!todo)
		return true;
	if (s->options->cache) {
		plan_room(s, want);
		todo = pager_stage(&s->pager, extent, pick(s, extent, mask));
	} else {
		if (s->recorded)
			plan_room(s, want);
		else if (pager_room_for(&s->pager, want) == PAGER_ROOM_RECYCLE &&
			 !pager_recycle(&s->pager, pick(s, extent, mask)))
			pager_make_room(&s->pager, want);
		rescue(s, extent, mask);
		todo = pick(s, extent, mask);
		if (s->issued && (todo & s->issued) == s->issued)
			todo = s->issued;
		pager_map(&s->pager, extent, todo);
	}
	if (guess)
		pager_prefetched(&s->pager, extent, todo, true);
	e->cell = s->cell;
	metrics(s, s->cell)->adds += (uint64_t)__builtin_popcountll(todo);
	return todo;
}

/* The next pages of the plan that are in one extent; sets *k behind them. Its number is 0 if there is no memory. */
static struct place next_part(struct runtime *s, const struct todo *todo, uint32_t *k)
{
	const struct prefetch_plan *plan = &todo->plan;
	uint64_t number = prefetch_nth(plan, *k) / PAGER_EXTENT_PAGES;
	struct place part = {0}, at;

	for (; *k < plan->count && prefetch_nth(plan, *k) / PAGER_EXTENT_PAGES == number; (*k)++) {
		if (!locate(s, todo->region, prefetch_nth(plan, *k), &at))
			return at;
		part.extent = at.extent;
		part.bit |= at.bit;
	}
	return part;
}

/* The marker came with its window, and waits unmapped. */
static void stage_marker(struct runtime *s)
{
	const struct window *w = s->begun_window;

	if (w->extent)
		pager_stage(&s->pager, w->extent, w->bit & pager_at(&s->pager, w->extent)->remote);
}

static void fence(struct runtime *s, const struct todo *todo)
{
	struct place at;

	pager_fence(&s->pager);
	for (uint32_t k = 0; s->pager.staged && k < todo->plan.count; k++)
		if (locate(s, todo->region, prefetch_nth(&todo->plan, k), &at))
			pager_renew(&s->pager, at.extent, at.bit);
}

/* Cuts the plan where its pages would be more than their share. */
static void cut(struct runtime *s, struct todo *todo)
{
	struct prefetch_plan *plan = &todo->plan;
	int64_t share = (int64_t)(s->pager.limit * s->options->share_percent / 100), left;
	uint32_t k = 0;
	struct place at;

	if (todo->cut || !pager_over(&s->pager, SHARE_ROOM - 1))
		return;
	left = (share < SHARE_MIN ? SHARE_MIN : share) - (int64_t)s->pager.untouched;
	for (; left < plan->count && k < plan->count; k++) {
		if (!locate(s, todo->region, prefetch_nth(plan, k), &at) ||
		    !(pager_at(&s->pager, at.extent)->remote & at.bit))
			continue;
		if (left <= 0 && s->options->cache)
			left += pager_drop_oldest(&s->pager);
		if (left <= 0)
			break;
		left--;
	}
	if (left < plan->count && k < plan->count)
		plan->count = k;
}

/* The run cut the plan that is wished for here, too. */
static void cut_as_recorded(struct runtime *s, uint64_t first)
{
	const struct trace_record *r = s->record;

	for (uint32_t i = s->at + s->begun; i < s->ntodo; i++) {
		struct todo *todo = &s->todo[i];

		if (todo->cut || todo->region != r->region || todo->plan.start != first ||
		    todo->plan.count != r->tid >> TRACE_CUT_SHIFT)
			continue;
		todo->plan.count = r->tid & ((1u << TRACE_CUT_SHIFT) - 1);
		todo->cut = true;
		break;
	}
}

/* As the run did it, which had a buffer for it. */
static int marker_staged(struct runtime *s, uint16_t region, uint64_t index)
{
	struct pager_extent *e;
	struct place at;

	if (!locate(s, region, index, &at))
		return -ENOMEM;
	e = pager_at(&s->pager, at.extent);
	pager_stage(&s->pager, at.extent, e->marker & e->remote & at.bit);
	return 0;
}

/* Begins todo[at]. 1: there is nothing to bring. */
static int begin(struct runtime *s)
{
	struct todo *todo = &s->todo[s->at];

	s->k = 0;
	s->begun = true;
	s->follows = false;
	fence(s, todo);
	cut(s, todo);
	return s->options->cache ? 0 : window_open(s, todo);
}

int plan_go_on(struct runtime *s, uint32_t until)
{
	for (; s->at < s->ntodo; s->at++, s->begun = false) {
		const struct todo *todo = &s->todo[s->at];
		int err = 0;

		if (until == NOTHING && s->windows && (!s->begun || s->follows))
			return 0; /* the trace tells when */
		s->cell = todo->cell;
		if (!s->begun)
			err = begin(s);
		if (err < 0)
			return err;
		if (s->follows)
			s->k = todo->plan.count;
		while (!err && s->k < todo->plan.count) {
			uint32_t k = s->k;
			struct place part = next_part(s, todo, &k);

			if (!part.extent)
				return -ENOMEM;
			if (pick(s, part.extent, part.bit) && until == NOTHING)
				return 0;
			if (!plan_bring(s, part.extent, part.bit, true))
				break;
			s->k = k;
			until = part.extent == until ? NOTHING : until;
		}
		if (!err && s->staged && !s->options->cache && !s->follows &&
		    s->k == todo->plan.count)
			stage_marker(s);
	}
	s->ntodo = s->at = 0;
	return 0;
}

/* Is it the window that the run began? */
static bool same_window(const struct runtime *s, const struct todo *todo, uint64_t index)
{
	const struct trace_record *r = s->record;
	uint32_t k = 0;

	if (todo->region != r->region || !r->tid || todo->plan.count != r->tid)
		return false;
	while (k < todo->plan.count && prefetch_nth(&todo->plan, k) != index)
		k++;
	return s->options->cache || r->flags & TRACE_RECORD_THERE ? !k : k < todo->plan.count;
}

int plan_follow(struct runtime *s)
{
	const struct trace_record *r = s->record;
	uint64_t index = r->vpn - s->first[r->region];
	uint32_t i = s->at + s->begun, n = s->ntodo;
	struct place marker;
	int err;

	if (r->flags & TRACE_RECORD_CUT)
		cut_as_recorded(s, index);
	if (r->flags & TRACE_RECORD_CUT)
		return 0;
	if (r->flags & TRACE_RECORD_STAGED)
		return s->at < n && s->begun && s->follows ? marker_staged(s, r->region, index) : 0;
	while (i < n && !same_window(s, &s->todo[i], index))
		i++;
	if (i == n)
		return 0;
	s->ntodo = i;
	err = plan_go_on(s, EVERYTHING); /* that was before it */
	s->ntodo = n;
	s->at = i;
	if (r->flags & TRACE_RECORD_THERE) {
		s->at++;
		return err;
	}
	s->begun = s->follows = true;
	s->cell = s->todo[i].cell;
	fence(s, &s->todo[i]);
	if (!err && !locate(s, r->region, index, &marker))
		err = -ENOMEM;
	if (!err && !s->options->cache)
		window_place(s, marker, &s->todo[i]);
	return err;
}

/* What of the extent's pages in mask the window is for. */
static uint64_t planned(const struct runtime *s, uint32_t extent, uint64_t mask)
{
	const struct todo *todo = &s->todo[s->at];
	uint64_t first = pager_first_page(&s->pager, extent), all = 0;

	for (uint32_t k = 0; k < todo->plan.count; k++) {
		uint64_t i = prefetch_nth(&todo->plan, k) - first;

		if (i < PAGER_EXTENT_PAGES)
			all |= 1ull << i;
	}
	return all & mask;
}

/* The run asked for these pages of the window that it and this one began. */
static void bring_issued(struct runtime *s, uint32_t extent, uint64_t mask)
{
	struct pager_extent *e = pager_at(&s->pager, extent);

	mask &= ~(e->marker | e->local);
	if (s->options->cache) {
		mask = pager_stage(&s->pager, extent, mask & ~e->staged);
	} else {
		pager_map(&s->pager, extent, mask);
	}
	pager_prefetched(&s->pager, extent, mask, true);
	e->cell = s->todo[s->at].cell;
	metrics(s, e->cell)->adds += (uint64_t)__builtin_popcountll(mask);
}

int plan_shorten(struct runtime *s)
{
	const struct trace_record *r = s->record;
	struct place at;
	int err = plan_go_on(s, NOTHING);

	if (err || s->at == s->ntodo || !s->begun || s->options->cache)
		return err;
	if (!locate(s, r->region, r->vpn - s->first[r->region], &at))
		return -ENOMEM;
	window_cut(s, at, r->tid);
	s->at++;
	s->begun = false;
	return 0;
}

/* Whether pages of the extent are still to be read. */
static bool wanted(struct runtime *s, uint32_t extent)
{
	for (uint32_t i = s->at; i < s->ntodo; i++) {
		uint32_t k = i == s->at && s->begun ? s->k : 0;

		while (k < s->todo[i].plan.count)
			if (next_part(s, &s->todo[i], &k).extent == extent)
				return true;
	}
	return false;
}

/* All pages of the extent that the run asked for at once: records of neighbours follow each other. */
static uint64_t issued(struct runtime *s, uint32_t extent, uint64_t mask)
{
	const struct trace_record *end = s->trace->records + s->trace->header.n_records;

	for (const struct trace_record *r = s->record + 1; r < end; r++) {
		uint64_t index = r->vpn - s->first[s->record->region];
		struct place at;

		if (r->op != TRACE_ISSUE || r->region != s->record->region ||
		    !locate(s, r->region, index, &at) || at.extent != extent)
			break;
		for (uint32_t i = 0; i < trace_pages(r) && at.bit << i; i++)
			mask |= at.bit << i;
	}
	return mask;
}

int plan_issued(struct runtime *s, uint32_t extent, uint64_t mask)
{
	int err = 0;

	if (s->at < s->ntodo && s->begun && s->follows) {
		bring_issued(s, extent, planned(s, extent, mask));
	} else if (wanted(s, extent)) {
		s->issued = issued(s, extent, mask);
		err = plan_go_on(s, extent);
		s->issued = 0;
	}
	return err;
}
