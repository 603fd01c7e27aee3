/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_runtime.c - sim_run() as the runtime would do it: --model runtime.
 *
 * A trace that a live run recorded has the program's side of what the pager heard: faults, new pages, pages given up, the
 * limit. The pager's side is done here anew by the policy and the model of memory (sim_pager.h): windows, markers, and,
 * if another limit is asked for, evictions. Hits are counted as the runtime counts them, by markers (or one by
 * one in cache mode); a touch of a page that is mapped is not seen.
 *
 * With the recorded limit, pages are evicted and leave limbo when they did in the run. For the trace does not tell
 * of touches of pages that were local: a memory that evicted a little earlier or later would see but a part of its
 * misses, since programs that lack memory touch again what was evicted last. What is local here and was not there
 * (another policy brought it) goes with its extent, or, far beyond the limit, by age.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/sim_runtime.h"

#define CHANGES                                                                      \
	(1u << TRACE_NEW | 1u << TRACE_DROP | 1u << TRACE_HINT | 1u << TRACE_ISSUE | \
	 1u << TRACE_EVICT | 1u << TRACE_RETIRE | 1u << TRACE_RESCUE)

/* The policy hears of what left with one extent at once, though a trace tells it by runs of pages. */
static void tell_unused(struct runtime *s)
{
	uint32_t cell = pager_at(&s->pager, s->left_extent)->cell;

	if (s->left)
		history_unused(instance(s, cell), s->left_page, s->left);
	s->left = 0;
}

static void left_unused(void *context, uint32_t extent, uint64_t mask)
{
	struct runtime *s = context;
	uint64_t page = pager_first_page(&s->pager, extent) + (unsigned)__builtin_ctzll(mask);
	uint32_t count = (uint32_t)__builtin_popcountll(mask);

	page += s->first[pager_region(&s->pager, extent)];
	metrics(s, pager_at(&s->pager, extent)->cell)->unused += count;
	if (extent != s->left_extent)
		tell_unused(s);
	s->left_extent = extent;
	s->left_page = s->left ? s->left_page : page;
	s->left += count;
}

static void left_staged(void *context, uint32_t extent, uint64_t page)
{
	struct runtime *s = context;

	tell_unused(s);
	left_unused(s, extent, page);
	tell_unused(s);
}

enum has { HAS_NOT, HAS_LOCAL, HAS_LIMBO };

/* Where the run has the pages from now on. */
static void run_has(struct runtime *s, struct pager_extent *e, uint64_t mask, enum has where)
{
	s->held -= (uint64_t)__builtin_popcountll((e->recorded | e->kept) & mask);
	s->held += where == HAS_NOT ? 0 : (uint64_t)__builtin_popcountll(mask);
	e->recorded = where == HAS_LOCAL ? e->recorded | mask : e->recorded & ~mask;
	e->kept = where == HAS_LIMBO ? e->kept | mask : e->kept & ~mask;
}

/* Before the next fault. */
static void make_ready(struct runtime *s)
{
	plan_room(s, s->pager.recycles ? FAULT_BATCH : pager_headroom(&s->pager));
}

/* Tells the policy of the touch. Its wish, in pages of the region, has count 0 if there is none. */
static void consult(struct runtime *s, const struct trace_record *r, struct place at,
		    struct prefetch_plan *ret_plan)
{
	struct pager_extent *e = pager_at(&s->pager, at.extent);
	struct prefetch_access access = {.kind = PREFETCH_MISS, .page = r->vpn, .thread = r->tid};
	uint64_t index = r->vpn - s->first[r->region];
	struct window w;

	access.write = r->op == TRACE_WRITE_FAULT || r->flags & TRACE_RECORD_WRITE;
	if (e->marker & at.bit) {
		if (!window_credit(s, r->region, at, &w))
			return;
		w.plan.start += s->first[r->region];
		prefetch_set_marker(&access, &w.plan);
		access.age_ns = r->t_ns - w.born_ns;
		access.late = r->op == TRACE_LATE_HIT;
	} else if (e->prefetched & at.bit) {
		pager_prefetched(&s->pager, at.extent, at.bit, false);
		metrics(s, e->cell)->hits++;
		access.kind = PREFETCH_HIT;
	}
	tell_unused(s);
	if (!cells_hint(&s->cells, r->region, instance(s, s->cell)))
		return;
	s->watch.asked = instance(s, s->cell);
	history_access(instance(s, s->cell), &access, ret_plan);
	if (access.kind == PREFETCH_HIT || !window_clip(s, index, ret_plan))
		ret_plan->count = 0;
}

/* Does the touch wait for a donor? What a marker met that the run had there, too, the trace knows. */
static bool missed(const struct runtime *s, const struct pager_extent *e, uint64_t bit)
{
	const struct trace_record *r = s->record;
	bool brought = r->op == TRACE_HIT || r->op == TRACE_LATE_HIT;

	if (e->marker & bit && s->staged)
		return r->flags & TRACE_RECORD_MARKER &&
		       !(brought || r->flags & TRACE_RECORD_LIMBO);
	return !((e->limbo | e->staged) & bit);
}

static int touch(struct runtime *s, const struct trace_record *r)
{
	const struct sim_options *o = s->options;
	struct sim_metrics *m;
	struct prefetch_plan plan = {0};
	struct pager_extent *e;
	struct place at;
	int err;

	if (r->flags & TRACE_RECORD_FIRST)
		return 0; /* what it made new is told by a record of its own */
	if (!locate(s, r->region, r->vpn - s->first[r->region], &at))
		return -ENOMEM;
	e = pager_at(&s->pager, at.extent);
	run_has(s, e, at.bit, HAS_LOCAL);
	if (e->local & at.bit)
		return 0;
	m = metrics(s, s->cell);
	if (missed(s, e, at.bit)) {
		m->misses++;
		m->stall_ns += o->latency_ns + o->service_ns;
	}
	consult(s, r, at, &plan);
	pager_map(&s->pager, at.extent, at.bit);
	if (plan.count && s->ntodo < FAULT_BATCH)
		s->todo[s->ntodo++] = (struct todo){plan, r->region, s->cell, r->t_ns, false};
	if (s->recorded)
		return 0;
	err = plan_go_on(s, EVERYTHING);
	make_ready(s);
	return err;
}

static int change_extent(struct runtime *s, unsigned op, uint32_t extent, uint64_t mask)
{
	int err = s->recorded && op != TRACE_NEW ? plan_go_on(s, NOTHING) : 0;
	struct pager_extent *e;

	if (!err && s->recorded && op == TRACE_ISSUE)
		err = plan_issued(s, extent, mask);
	e = pager_at(&s->pager, extent);
	switch (op) {
	case TRACE_NEW:
		pager_map(&s->pager, extent, mask);
		run_has(s, e, mask, HAS_LOCAL);
		break;
	case TRACE_DROP:
		pager_drop(&s->pager, extent, mask);
		run_has(s, e, mask, HAS_NOT);
		break;
	case TRACE_HINT:
		plan_bring(s, extent, mask, false);
		break;
	case TRACE_RESCUE:
		if (s->recorded)
			pager_map(&s->pager, extent, mask & e->limbo);
		run_has(s, e, mask, HAS_LOCAL);
		break;
	case TRACE_ISSUE:
		run_has(s, e, mask, HAS_LOCAL);
		break;
	case TRACE_EVICT:
		if (s->recorded)
			pager_evict(&s->pager, extent, mask | ~e->recorded);
		run_has(s, e, mask, HAS_LIMBO);
		break;
	case TRACE_RETIRE:
		if (s->recorded)
			pager_retire(&s->pager, extent, mask);
		run_has(s, e, mask, HAS_NOT);
		break;
	}
	return err;
}

/* What else happens to pages than that they are touched. */
static int change(struct runtime *s, const struct trace_record *r)
{
	uint64_t index = r->vpn - s->first[r->region], end = index + trace_pages(r);
	struct place at = {0};
	int err = 0;

	while (index < end && !err) {
		uint64_t number = index / PAGER_EXTENT_PAGES, mask = 0;

		for (; index < end && index / PAGER_EXTENT_PAGES == number; index++) {
			if (!locate(s, r->region, index, &at))
				return -ENOMEM;
			mask |= at.bit;
		}
		err = change_extent(s, r->op, at.extent, mask);
	}
	if (r->op == TRACE_NEW)
		make_ready(s);
	return err;
}

static int find_cell(struct runtime *s, const struct trace_record *r)
{
	int err = cells_find(&s->cells, s->trace, r->region, trace_is_access(r) ? r->tid : 0,
			     &s->cell);

	s->first[r->region] = err ? 0 : s->cells.bounds[s->cell].first;
	return err;
}

/* Fault threads know nothing of each other's faults: each has histories and windows of its own. */
static bool elsewhere(const struct runtime *s, const struct trace_record *r)
{
	uint64_t stripe = (r->vpn - s->first[r->region]) / TRACE_STRIPE;

	return s->shards > 1 && r->op != TRACE_LIMIT && r->op != TRACE_ADVICE &&
	       (r->region + stripe) % s->shards != s->shard;
}

static int replay(struct runtime *s)
{
	for (uint64_t i = 0; i < s->trace->header.n_records; i++) {
		const struct trace_record *r = &s->trace->records[i];
		bool changes = CHANGES & 1u << r->op;
		int err = 0;

		sim_watch_step(&s->watch, i);
		s->record = r;
		if (!i)
			s->begin_ns = r->t_ns;
		s->now_ns = r->t_ns;
		if (elsewhere(s, r))
			continue;
		if (r->op == TRACE_ADVICE)
			cells_advise(&s->cells, r);
		if (r->op == TRACE_LIMIT && s->options->recorded_limit)
			s->pager.limit = r->vpn;
		if (trace_is_access(r) || changes || r->op == TRACE_SHORT || r->op == TRACE_WINDOW)
			err = find_cell(s, r);
		if (!err && trace_is_access(r) && !(r->flags & TRACE_RECORD_SAME)) {
			uint32_t cell = s->cell;

			err = plan_go_on(s, EVERYTHING); /* that was left of the faults before */
			s->cell = cell;
			make_ready(s);
		}
		s->result->accesses += trace_is_access(r);
		if (!err && trace_is_access(r))
			err = touch(s, r);
		else if (!err && changes)
			err = change(s, r);
		else if (!err && r->op == TRACE_SHORT && s->recorded)
			err = plan_shorten(s);
		else if (!err && r->op == TRACE_WINDOW && s->recorded)
			err = plan_follow(s);
		if (err)
			return err;
	}
	return plan_go_on(s, EVERYTHING);
}

static bool has(const struct trace *trace, enum trace_op op)
{
	for (uint64_t i = 0; i < trace->header.n_records; i++)
		if (trace->records[i].op == op)
			return true;
	return false;
}

static bool is_recorded(const struct trace *trace, const struct sim_options *options)
{
	return options->recorded_limit && has(trace, TRACE_EVICT);
}

static uint32_t shards_of(const struct trace *trace)
{
	return trace->header.shards ? trace->header.shards : 1;
}

static int set_up(struct runtime *s)
{
	int err;

	if (!s->ops)
		return error_set(EINVAL, "the model of the runtime has no oracle");
	s->first = calloc(SIM_REGIONS, sizeof(*s->first));
	if (!s->first)
		return error_set(ENOMEM, "no memory for the simulator");
	for (uint32_t i = 0; i < s->trace->header.n_regions; i++)
		s->first[(uint16_t)s->trace->regions[i].id] = s->trace->regions[i].first_vpn;
	err = cells_init(&s->cells, s->ops, s->options);
	s->watch.next = UINT64_MAX;
	if (!err && !s->shard) /* one stands for all */
		err = sim_watch_init(&s->watch, s->trace, s->options, s->result);
	if (err)
		return err;
	s->staged = s->trace->header.flags & TRACE_STAGED;
	s->pager.limit = s->options->local_pages;
	s->pager.percent = s->options->limbo_percent;
	s->pager.all_remote = !has(s->trace, TRACE_NEW);
	s->recorded = is_recorded(s->trace, s->options);
	s->shards = s->recorded ? shards_of(s->trace) : 1;
	s->windows = s->recorded && has(s->trace, TRACE_WINDOW);
	s->pager.recycles = !s->staged;
	s->pager.unused = left_unused;
	s->pager.unused_staged = left_staged;
	s->pager.context = s;
	return pager_init(&s->pager);
}

static int run_shard(const struct trace *trace, const struct sim_options *options,
		     const struct prefetcher_ops *ops, uint32_t shard, struct sim_result *result)
{
	struct runtime *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return error_set(ENOMEM, "no memory for the simulator");
	s->trace = trace;
	s->options = options;
	s->ops = ops;
	s->result = result;
	s->shard = shard;
	err = set_up(s);
	if (!err)
		err = replay(s);
	if (!err)
		sim_watch_end(&s->watch);
	if (!err)
		err = cells_add(&s->cells, result);
	result->time_ns = s->now_ns - s->begin_ns;
	pager_free(&s->pager);
	free(s->cells.cells);
	cells_free(&s->cells);
	free(s->first);
	free(s);
	return err;
}

int sim_run_runtime(const struct trace *trace, const struct sim_options *options,
		    const struct prefetcher_ops *ops, struct sim_result *ret_result)
{
	uint32_t shards = is_recorded(trace, options) ? shards_of(trace) : 1;
	int err = 0;

	for (uint32_t i = 0; i < shards && !err; i++)
		err = run_shard(trace, options, ops, i, ret_result);
	sim_result_sum(ret_result);
	ret_result->resident = ret_result->m.adds - ret_result->m.hits - ret_result->m.unused;
	return err;
}
