/* SPDX-License-Identifier: Apache-2.0 */
/* sim_run.c - the model of sim.h, access by access. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/sim.h"
#include "tools/sim_cells.h"
#include "tools/sim_memory.h"
#include "tools/sim_watch.h"

#define WINDOWS        64  /* as many as the runtime keeps */
#define ORACLE_HORIZON 512 /* accesses */
#define EXPECT_AHEAD   8   /* accesses: what comes then is taken to the processor's cache now */

struct window {
	uint32_t marker; /* node; 0: free */
	uint32_t instance;
	uint64_t born, planned_ns;
	struct prefetch_plan plan;
};

struct sim {
	const struct trace *trace;
	const struct sim_options *options;
	const struct prefetcher_ops *ops; /* NULL: the oracle */
	struct sim_cells cells;
	struct memory memory;
	struct window window[WINDOWS];
	uint64_t born;
	uint64_t now_ns, link_ns; /* the link is busy until then */
	uint64_t begin_ns, last_t_ns;
	uint64_t ahead; /* the oracle has seen the records before this one */
	uint16_t last_region;
	uint32_t last_thread, cell; /* the last record's */
	bool begun;
	struct sim_watch watch;
	struct sim_result *result;
};

static struct sim_metrics *metrics(struct sim *s, uint32_t cell)
{
	return &s->cells.cells[cell].m;
}

static struct history *instance(struct sim *s, uint32_t cell)
{
	return s->cells.instances[s->cells.cells[cell].instance];
}

static struct node *node_at(struct sim *s, uint32_t index)
{
	return &s->memory.nodes[index];
}

/* True: memory without prefetching has the page. */
static bool shadow_access(struct sim *s, uint32_t index)
{
	struct memory *m = &s->memory;
	struct node *n = node_at(s, index);
	bool there = n->in_shadow;

	if (there && s->options->fifo)
		return true;
	if (there)
		list_remove(m, &m->shadow, index, true);
	else
		s->result->needed++;
	n->in_shadow = true;
	list_push(m, &m->shadow, index, true);
	if (m->shadow.length > s->options->local_pages) {
		uint32_t old = list_oldest(m, &m->shadow, true);

		list_remove(m, &m->shadow, old, true);
		node_at(s, old)->in_shadow = false;
	}
	return there;
}

static void evict(struct sim *s)
{
	struct memory *m = &s->memory;
	uint32_t old = list_oldest(m, &m->local, false);
	struct node *n = node_at(s, old);

	list_remove(m, &m->local, old, false);
	n->state = NODE_REMOTE;
	s->result->dirty += n->dirty;
	n->dirty = false;
}

static bool memory_is_over(const struct sim *s)
{
	uint64_t pages = s->memory.local.length;

	if (!s->options->beside)
		pages += s->memory.pool.length;
	return pages > s->options->local_pages;
}

static void make_local(struct sim *s, uint32_t index)
{
	node_at(s, index)->state = NODE_LOCAL;
	list_push(&s->memory, &s->memory.local, index, false);
	if (memory_is_over(s))
		evict(s);
}

static void forget_marker(struct sim *s, uint32_t index)
{
	node_at(s, index)->marker = false;
	for (int i = 0; i < WINDOWS; i++)
		if (s->window[i].marker == index)
			s->window[i].marker = 0;
}

static void drop_oldest(struct sim *s)
{
	uint32_t index = list_oldest(&s->memory, &s->memory.pool, false);
	struct node *n = node_at(s, index);

	list_remove(&s->memory, &s->memory.pool, index, false);
	n->state = NODE_REMOTE;
	if (n->marker)
		forget_marker(s, index);
	metrics(s, n->cell)->unused++;
	if (s->ops)
		history_unused(instance(s, n->cell), memory_page(&s->memory, index), 1);
}

/* Asks for a page behind all that was asked for before. */
static void prefetch(struct sim *s, uint32_t index, uint64_t when_ns)
{
	const struct sim_options *o = s->options;
	struct node *n = node_at(s, index);

	if (s->link_ns < when_ns)
		s->link_ns = when_ns;
	s->link_ns += o->service_ns;
	n->state = NODE_POOL;
	n->issue_ns = when_ns;
	n->ready_ns = s->link_ns + o->latency_ns;
	n->cell = s->cell;
	list_push(&s->memory, &s->memory.pool, index, false);
	metrics(s, s->cell)->adds++;
	if (s->memory.pool.length > o->pool_pages)
		drop_oldest(s);
	if (memory_is_over(s) && s->memory.local.length > 1)
		evict(s);
}

/* The page at or behind the middle of the window that is not there becomes its marker. False: all are. */
static bool place_marker(struct sim *s, const struct prefetch_plan *plan, uint64_t when_ns)
{
	struct window *w = &s->window[0];

	for (uint32_t i = 0; i < plan->count; i++) {
		uint32_t k = (plan->count / 2 + i) % plan->count;
		uint32_t index = memory_node(&s->memory, prefetch_nth(plan, k));

		if (!index || node_at(s, index)->state != NODE_REMOTE)
			continue;
		for (int j = 0; j < WINDOWS && w->marker; j++)
			if (!s->window[j].marker || s->window[j].born < w->born)
				w = &s->window[j];
		if (w->marker)
			node_at(s, w->marker)->marker = false;
		node_at(s, index)->marker = true;
		*w = (struct window){index, s->cells.cells[s->cell].instance, ++s->born, when_ns,
				     *plan};
		return true;
	}
	return false;
}

static int execute(struct sim *s, struct prefetch_plan *plan, uint64_t when_ns)
{
	if (!bounds_clip(s->cells.bounds[s->cell], plan) ||
	    (!s->options->cache && !place_marker(s, plan, when_ns)))
		return 0;
	for (uint32_t k = 0; k < plan->count; k++) {
		uint32_t index = memory_node(&s->memory, prefetch_nth(plan, k));

		if (!index)
			return -ENOMEM;
		if (node_at(s, index)->state == NODE_REMOTE)
			prefetch(s, index, when_ns);
	}
	return 0;
}

static int tell(struct sim *s, const struct trace_record *r, struct prefetch_access *access,
		struct history *state, uint64_t when_ns)
{
	struct prefetch_plan plan = {0};

	if (!s->ops || !cells_hint(&s->cells, r->region, state))
		return 0;
	access->page = r->vpn;
	access->thread = r->tid;
	access->write = r->op == TRACE_WRITE_FAULT || (r->flags & TRACE_RECORD_WRITE);
	s->watch.asked = state;
	history_access(state, access, &plan);
	return execute(s, &plan, when_ns);
}

static int touch_marker(struct sim *s, const struct trace_record *r, uint32_t index)
{
	struct prefetch_access access = {0};
	struct window w = {0};

	for (int i = 0; i < WINDOWS && !w.marker; i++)
		if (s->window[i].marker == index)
			w = s->window[i];
	forget_marker(s, index);
	if (!w.marker)
		return 0;
	prefetch_set_marker(&access, &w.plan);
	access.age_ns = s->now_ns - w.planned_ns;
	access.late = node_at(s, index)->ready_ns > s->now_ns;
	return tell(s, r, &access, s->cells.instances[w.instance], s->now_ns);
}

static int touch_prefetched(struct sim *s, const struct trace_record *r, uint32_t index)
{
	struct prefetch_access access = {.kind = PREFETCH_HIT};
	struct node *n = node_at(s, index);
	struct sim_metrics *m;
	uint64_t ready_ns = n->ready_ns;
	bool marker = n->marker;
	int err = 0;

	metrics(s, n->cell)->hits++;
	hist_add(&s->result->issue, s->now_ns - n->issue_ns);
	hist_add(&s->result->arrival, ready_ns < s->now_ns ? s->now_ns - ready_ns : 0);
	list_remove(&s->memory, &s->memory.pool, index, false);
	make_local(s, index);
	if (s->options->cache)
		err = tell(s, r, &access, instance(s, s->cell), s->now_ns);
	else if (marker)
		err = touch_marker(s, r, index);
	m = metrics(s, s->cell);
	if (ready_ns > s->now_ns) {
		m->late++;
		m->stall_ns += ready_ns - s->now_ns;
		s->now_ns = ready_ns;
	}
	return err;
}

static int touch_remote(struct sim *s, const struct trace_record *r, uint32_t index, bool in_shadow)
{
	const struct sim_options *o = s->options;
	struct prefetch_access access = {.kind = PREFETCH_MISS};
	struct sim_metrics *m = metrics(s, s->cell);
	uint64_t wait_ns = o->latency_ns + o->service_ns;
	int err;

	m->misses++;
	m->polluted += in_shadow;
	m->stall_ns += wait_ns;
	if (s->link_ns < s->now_ns)
		s->link_ns = s->now_ns;
	s->link_ns += o->service_ns; /* in front of what waits */
	make_local(s, index);
	err = tell(s, r, &access, instance(s, s->cell), s->now_ns);
	s->now_ns += wait_ns;
	return err;
}

static void advance(struct sim *s, const struct trace_record *r)
{
	uint64_t step_ns = s->options->think_ns;

	if (s->options->trace_times)
		step_ns = s->begun && r->t_ns > s->last_t_ns ? r->t_ns - s->last_t_ns : 0;
	s->last_t_ns = r->t_ns;
	s->begun = true;
	s->now_ns += step_ns;
}

static int touch(struct sim *s, const struct trace_record *r)
{
	uint32_t index = memory_node(&s->memory, r->vpn);
	struct node *n = node_at(s, index);
	bool in_shadow;

	if (!index)
		return -ENOMEM;
	in_shadow = shadow_access(s, index);
	n->dirty |= r->op == TRACE_WRITE_FAULT || (r->flags & TRACE_RECORD_WRITE);
	switch (n->state) {
	case NODE_POOL:
		return touch_prefetched(s, r, index);
	case NODE_REMOTE:
		return touch_remote(s, r, index, in_shadow);
	default:
		if (s->options->fifo)
			return 0;
		list_remove(&s->memory, &s->memory.local, index, false);
		list_push(&s->memory, &s->memory.local, index, false);
		return 0;
	}
}

/*
 * What a prefetcher that knows the future does: keeps the next accesses there or on their way, and does not let
 * those that are there be evicted.
 */
static int look_ahead(struct sim *s, uint64_t i)
{
	struct memory *m = &s->memory;
	uint64_t horizon = s->options->local_pages / 4;

	horizon = horizon < ORACLE_HORIZON ? horizon : ORACLE_HORIZON;
	if (s->ahead <= i)
		s->ahead = i + 1;
	for (; s->ahead < s->trace->header.n_records && s->ahead <= i + horizon; s->ahead++) {
		const struct trace_record *r = &s->trace->records[s->ahead];
		uint32_t index;

		if (!trace_is_access(r))
			continue;
		if (m->pool.length >= s->options->pool_pages)
			break;
		index = memory_node(m, r->vpn);
		if (!index)
			return -ENOMEM;
		if (node_at(s, index)->state == NODE_REMOTE) {
			prefetch(s, index, s->now_ns);
		} else if (node_at(s, index)->state == NODE_LOCAL) {
			list_remove(m, &m->local, index, false);
			list_push(m, &m->local, index, false);
		}
	}
	return 0;
}

static int replay_part(struct sim *s, uint64_t i, uint64_t end)
{
	for (; i < end; i++) {
		const struct trace_record *r = &s->trace->records[i];
		int err = 0;

		if (i + 2 * EXPECT_AHEAD < s->trace->header.n_records)
			memory_expect(&s->memory, r[EXPECT_AHEAD].vpn, r[2 * EXPECT_AHEAD].vpn);
		if (r->op == TRACE_ADVICE)
			cells_advise(&s->cells, r);
		if (!trace_is_access(r))
			continue;
		if (!s->result->accesses || r->region != s->last_region ||
		    r->tid != s->last_thread) {
			err = cells_find(&s->cells, s->trace, r->region, r->tid, &s->cell);
			if (err)
				return err;
			s->last_region = r->region;
			s->last_thread = r->tid;
		}
		s->result->accesses++;
		advance(s, r);
		err = touch(s, r);
		if (!err && !s->ops)
			err = look_ahead(s, i);
		if (err)
			return err;
	}
	return 0;
}

static int replay(struct sim *s)
{
	int err = 0;

	for (uint64_t i = 0, end; i < s->trace->header.n_records && !err; i = end) {
		end = sim_watch_until(&s->watch, i);
		err = replay_part(s, i, end);
	}
	if (!err)
		sim_watch_end(&s->watch);
	return err;
}

void sim_metrics_add(struct sim_metrics *sum, const struct sim_metrics *m)
{
	sum->adds += m->adds;
	sum->hits += m->hits;
	sum->late += m->late;
	sum->unused += m->unused;
	sum->misses += m->misses;
	sum->polluted += m->polluted;
	sum->stall_ns += m->stall_ns;
}

void sim_result_sum(struct sim_result *res)
{
	for (uint32_t i = 0; i < res->ncells; i++)
		sim_metrics_add(&res->m, &res->cells[i].m);
}

static void add_up(struct sim *s)
{
	struct sim_result *res = s->result;

	res->cells = s->cells.cells;
	res->ncells = s->cells.ncells;
	res->time_ns = s->now_ns;
	res->resident = s->memory.pool.length;
	sim_result_sum(res);
}

int sim_run(const struct trace *trace, const struct sim_options *options,
	    struct sim_result *ret_result)
{
	struct sim *s = calloc(1, sizeof(*s));
	int err;

	memset(ret_result, 0, sizeof(*ret_result));
	if (!s)
		return error_set(ENOMEM, "no memory for the simulator");
	s->trace = trace;
	s->options = options;
	s->result = ret_result;
	s->ops = sim_policy(options->policy);
	if (!s->ops && strcmp(options->policy, SIM_ORACLE)) {
		err = error_set(EINVAL, "there is no policy '%s'; there are %s and " SIM_ORACLE,
				options->policy, prefetcher_names());
		goto free;
	}
	if (options->runtime) {
		err = sim_run_runtime(trace, options, s->ops, ret_result);
		if (err)
			sim_result_free(ret_result);
		goto free;
	}
	err = memory_init(&s->memory);
	if (err)
		goto free;
	err = cells_init(&s->cells, s->ops, options);
	if (!err)
		err = sim_watch_init(&s->watch, trace, options, ret_result);
	if (!err)
		err = replay(s);
	add_up(s);
	cells_free(&s->cells);
	memory_free(&s->memory);
	if (err)
		sim_result_free(ret_result);
free:
	free(s);
	return err;
}

void sim_result_free(struct sim_result *result)
{
	free(result->cells);
	result->cells = NULL;
	result->ncells = 0;
	free(result->samples);
	result->samples = NULL;
	result->nsamples = 0;
}
