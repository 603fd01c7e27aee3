/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_cells.h - who accesses: a cell for each region and thread, and the policy's instance that hears of it.
 */
#ifndef LEAP_TOOLS_SIM_CELLS_H
#define LEAP_TOOLS_SIM_CELLS_H

#include <stdbool.h>
#include <stdint.h>

#include "libleap/prefetch/history.h"
#include "tools/sim.h"

#define SIM_REGIONS 65536 /* numbers that records have for them */

struct sim_bounds {
	uint64_t first, end; /* pages of a region */
};

/* Cuts the plan to the pages. False: nothing is left. */
bool bounds_clip(struct sim_bounds bounds, struct prefetch_plan *plan);

struct sim_cells {
	const struct prefetcher_ops *ops; /* NULL: the oracle */
	const struct sim_options *options;
	struct sim_cell *cells;
	struct sim_bounds *bounds; /* of each cell's region */
	uint32_t ncells, room;
	uint32_t *index; /* hash table of cell numbers + 1 */
	uint32_t index_size;
	struct history **instances;
	uint64_t *keys; /* of the instances */
	uint32_t ninstances;
	uint8_t *advice; /* enum trace_advice, by region */
};

int cells_init(struct sim_cells *cells, const struct prefetcher_ops *ops,
	       const struct sim_options *options);
/* Adds them to those of the result. 0 or -ENOMEM with the sentence set. */
int cells_add(const struct sim_cells *cells, struct sim_result *result);
/* Frees all but cells->cells, which the result may take over. */
void cells_free(struct sim_cells *cells);
/* What the program says about the region of the record. */
void cells_advise(struct sim_cells *cells, const struct trace_record *record);
/* Tells the instance, before it hears of an access to the region. False: it is not to hear of it. */
bool cells_hint(const struct sim_cells *cells, uint16_t region, struct history *instance);
/* Number of the cell, made at first use. 0 or -errno with the sentence set. */
int cells_find(struct sim_cells *cells, const struct trace *trace, uint16_t region, uint32_t thread,
	       uint32_t *ret_cell);

#endif
