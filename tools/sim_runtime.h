/* SPDX-License-Identifier: Apache-2.0 */
/* sim_runtime.h - state of a simulation with the model of the runtime; between sim_runtime.c, sim_plan.c and sim_windows.c. */
#ifndef LEAP_TOOLS_SIM_RUNTIME_H
#define LEAP_TOOLS_SIM_RUNTIME_H

#include "tools/sim.h"
#include "tools/sim_cells.h"
#include "tools/sim_pager.h"
#include "tools/sim_watch.h"

#define WINDOWS     64
#define FAULT_BATCH 64
#define NOTHING     0 /* of plan_go_on() */
#define EVERYTHING  UINT32_MAX

struct window {
	uint32_t extent; /* of the marker; 0: free */
	uint64_t bit;
	uint64_t born, born_ns;
	uint32_t cell;
	struct prefetch_plan plan; /* in pages of the region */
};

struct runtime {
	const struct trace *trace;
	const struct sim_options *options;
	const struct prefetcher_ops *ops;
	struct sim_cells cells;
	struct pager pager;
	uint64_t *first; /* page of each region */
	struct window window[WINDOWS];
	uint64_t born, now_ns, begin_ns;
	uint32_t cell;
	bool recorded;          /* evictions are those of the trace */
	uint32_t shard, shards; /* what it simulates, of how many */
	bool windows;           /* and it tells when windows were begun */
	uint64_t held;          /* pages that the run had, with those in limbo */
	struct todo {
		struct prefetch_plan plan; /* in pages of the region */
		uint16_t region;
		uint32_t cell;
		uint64_t planned_ns;
		bool cut;           /* as the run cut it */
	} todo[FAULT_BATCH];        /* of faults that were heard together */
	uint32_t left_extent, left; /* prefetched pages that left with it untouched; not told yet */
	uint64_t left_page;         /* the first of them */
	uint32_t ntodo, at, k;      /* pages of todo[at] before k were brought */
	bool begun;                 /* todo[at] has its marker */
	bool follows;               /* the run began it, too: what it brings is in the trace */
	struct window *begun_window;
	uint64_t issued; /* what the run could ask for of the pages that it wanted; 0: not known */
	const struct trace_record *record; /* this one */
	bool staged;                       /* markers come with their windows */
	struct sim_watch watch;
	struct sim_result *result;
};

/* A page of the region of the current record. */
struct place {
	uint32_t extent;
	uint64_t bit;
};

static inline struct sim_metrics *metrics(struct runtime *s, uint32_t cell)
{
	return &s->cells.cells[cell].m;
}

static inline struct history *instance(struct runtime *s, uint32_t cell)
{
	return s->cells.instances[s->cells.cells[cell].instance];
}

/* False: no memory. */
static inline bool locate(struct runtime *s, uint16_t region, uint64_t index,
			  struct place *ret_place)
{
	ret_place->extent = pager_extent(&s->pager, region, index / PAGER_EXTENT_PAGES);
	ret_place->bit = 1ull << index % PAGER_EXTENT_PAGES;
	return ret_place->extent;
}

/* Cuts the plan to the stripe about page `index` and makes it one of page indexes. False: nothing is left. */
bool window_clip(struct runtime *s, uint64_t index, struct prefetch_plan *plan);
/* Which page of the window stays unmapped; 1: none could, 0: done, or -ENOMEM. */
int window_open(struct runtime *s, const struct todo *todo);
/* This page stays unmapped. */
void window_place(struct runtime *s, struct place marker, const struct todo *todo);
/* Credits the window whose marker this is. False: there is none. */
bool window_credit(struct runtime *s, uint16_t region, struct place at, struct window *ret_window);
/* The window opened last has another marker and fewer pages. */
void window_cut(struct runtime *s, struct place marker, uint32_t count);

/* Room for n pages. */
void plan_room(struct runtime *s, uint64_t n);
/* Brings part of one extent. False: stop. */
bool plan_bring(struct runtime *s, uint32_t extent, uint64_t mask, bool guess);
/*
 * Goes on with what is to be done about the last faults: as far as there is nothing to read (NOTHING), until pages of that
 * extent were read, or to the end (EVERYTHING).
 */
int plan_go_on(struct runtime *s, uint32_t until);
/* The record is about a window that the run began. */
int plan_follow(struct runtime *s);
/* About one that it had no room for all of: its marker was moved. */
int plan_shorten(struct runtime *s);
/* The run asked for pages of the extent. */
int plan_issued(struct runtime *s, uint32_t extent, uint64_t mask);

#endif
