/* SPDX-License-Identifier: Apache-2.0 */
/* sim_cells.c - see sim_cells.h. */
#include "tools/sim_cells.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"

static bool within(struct sim_bounds bounds, uint64_t page)
{
	return page >= bounds.first && page < bounds.end;
}

bool bounds_clip(struct sim_bounds bounds, struct prefetch_plan *plan)
{
	uint32_t first = 0, count;

	if (!plan->count || !plan->delta)
		return false;
	while (first < plan->count && !within(bounds, prefetch_nth(plan, first)))
		first++;
	if (first == plan->count || (first && plan->nsteps > 1))
		return false;
	plan->start += first * (uint64_t)plan->delta;
	plan->count -= first;
	for (count = 1; count < plan->count && within(bounds, prefetch_nth(plan, count)); count++)
		;
	plan->count = count;
	return true;
}

#define INDEX_START   64
#define SMALL_REGIONS UINT64_MAX /* key of what they have together */

static int no_memory(void)
{
	return error_set(ENOMEM, "no memory for the threads and regions of a trace");
}

int cells_init(struct sim_cells *c, const struct prefetcher_ops *ops,
	       const struct sim_options *options)
{
	memset(c, 0, sizeof(*c));
	c->ops = ops;
	c->options = options;
	c->index_size = INDEX_START;
	c->index = calloc(c->index_size, sizeof(*c->index));
	c->advice = malloc(SIM_REGIONS);
	if (!c->index || !c->advice)
		return no_memory();
	memset(c->advice, options->advice, SIM_REGIONS);
	return 0;
}

int cells_add(const struct sim_cells *c, struct sim_result *result)
{
	uint32_t before = result->ncells;

	for (uint32_t i = 0; i < c->ncells; i++) {
		struct sim_cell *more;
		uint32_t k = 0;

		while (k < before && (result->cells[k].region != c->cells[i].region ||
				      result->cells[k].thread != c->cells[i].thread))
			k++;
		if (k < before) {
			sim_metrics_add(&result->cells[k].m, &c->cells[i].m);
			continue;
		}
		more = realloc(result->cells, (result->ncells + 1) * sizeof(*more));
		if (!more)
			return no_memory();
		result->cells = more;
		result->cells[result->ncells++] = c->cells[i];
	}
	return 0;
}

void cells_free(struct sim_cells *c)
{
	for (uint32_t i = 0; i < c->ninstances; i++)
		free(c->instances[i]);
	free(c->instances);
	free(c->keys);
	free(c->index);
	free(c->bounds);
	free(c->advice);
}

void cells_advise(struct sim_cells *c, const struct trace_record *r)
{
	if (r->tid <= TRACE_ADVICE_RANDOM)
		c->advice[r->region] = (uint8_t)r->tid;
}

bool cells_hint(const struct sim_cells *c, uint16_t region, struct history *instance)
{
	if (c->advice[region] == TRACE_ADVICE_RANDOM)
		return false;
	history_hint(instance, c->advice[region] == TRACE_ADVICE_SEQUENTIAL
				       ? PREFETCH_HINT_SEQUENTIAL
				       : PREFETCH_HINT_NORMAL);
	return true;
}

static int new_instance(struct sim_cells *c, uint64_t key, uint16_t region, uint64_t first_page,
			uint32_t *ret_instance)
{
	uint32_t n = c->ninstances;
	struct prefetch_scope scope = {.region = region, .future = c->options->future};
	bool by_stream = c->options->key == SIM_STREAM;
	struct history *state;
	void *more = realloc(c->instances, (n + 1) * sizeof(*c->instances));

	if (!more)
		return no_memory();
	c->instances = more;
	more = realloc(c->keys, (n + 1) * sizeof(*c->keys));
	if (!more)
		return no_memory();
	c->keys = more;
	state = calloc(1, c->ops ? history_bytes(c->ops, &c->options->params, by_stream) : 1);
	if (!state)
		return no_memory();
	c->instances[n] = state;
	c->keys[n] = key;
	c->ninstances++;
	*ret_instance = n;
	scope.first_page = c->options->key == SIM_PROCESS ? 0 : first_page;
	return c->ops ? history_init(state, c->ops, &c->options->params, by_stream, &scope) : 0;
}

static int find_instance(struct sim_cells *c, uint16_t region, struct sim_bounds bounds,
			 uint32_t thread, uint32_t *ret_instance)
{
	bool by_stream = c->options->key == SIM_STREAM;
	uint64_t key = 0;

	if (c->options->key == SIM_REGION || by_stream)
		key = c->ops && history_is_small(c->ops, &c->options->params, by_stream,
						 bounds.end - bounds.first)
			      ? SMALL_REGIONS
			      : region;
	else if (c->options->key == SIM_THREAD)
		key = (uint64_t)thread << 16 | region;
	for (uint32_t i = 0; i < c->ninstances; i++)
		if (c->keys[i] == key) {
			*ret_instance = i;
			return 0;
		}
	return new_instance(c, key, region, bounds.first, ret_instance);
}

static uint32_t *find(const struct sim_cells *c, uint32_t *index, uint32_t size, uint16_t region,
		      uint32_t thread)
{
	uint64_t key = (uint64_t)thread << 16 | region;
	uint32_t i = (uint32_t)(key * 0x9e3779b97f4a7c15ull >> 40) & (size - 1);

	while (index[i] &&
	       (c->cells[index[i] - 1].region != region || c->cells[index[i] - 1].thread != thread))
		i = (i + 1) & (size - 1);
	return &index[i];
}

static int grow(struct sim_cells *c)
{
	uint32_t size = c->index_size * 2, *index, room = c->room ? c->room * 2 : INDEX_START / 2;
	void *more = realloc(c->cells, room * sizeof(*c->cells));

	if (!more)
		return no_memory();
	c->cells = more;
	more = realloc(c->bounds, room * sizeof(*c->bounds));
	if (!more)
		return no_memory();
	c->bounds = more;
	index = calloc(size, sizeof(*index));
	if (!index)
		return no_memory();
	for (uint32_t i = 0; i < c->ncells; i++)
		*find(c, index, size, c->cells[i].region, c->cells[i].thread) = i + 1;
	free(c->index);
	c->index = index;
	c->index_size = size;
	c->room = room;
	return 0;
}

static struct sim_bounds bounds_of(const struct trace *trace, uint16_t region)
{
	for (uint32_t i = 0; i < trace->header.n_regions; i++)
		if (trace->regions[i].id == region)
			return (struct sim_bounds){trace->regions[i].first_vpn,
						   trace->regions[i].first_vpn +
							   trace->regions[i].pages};
	return (struct sim_bounds){0, UINT64_MAX};
}

int cells_find(struct sim_cells *c, const struct trace *trace, uint16_t region, uint32_t thread,
	       uint32_t *ret_cell)
{
	uint32_t *place = find(c, c->index, c->index_size, region, thread), n = c->ncells;
	int err;

	if (*place) {
		*ret_cell = *place - 1;
		return 0;
	}
	if (n == c->room) {
		err = grow(c);
		if (err)
			return err;
		place = find(c, c->index, c->index_size, region, thread);
	}
	c->cells[n] = (struct sim_cell){.region = region, .thread = thread};
	c->bounds[n] = bounds_of(trace, region);
	err = find_instance(c, region, c->bounds[n], thread, &c->cells[n].instance);
	if (err)
		return err;
	c->ncells++;
	*place = n + 1;
	*ret_cell = n;
	return 0;
}
