/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - the simulator: a trace, a policy, a model of local memory and of the link.
 *
 * The policies are those of the runtime, the same objects. The model:
 *
 *   memory  local_pages pages, LRU or FIFO. At most pool_pages of them are prefetched pages that were not touched yet,
 *           FIFO; at its first touch such a page becomes one like others. Everything is remote at the start.
 *           With the pool beside memory it has pages of its own, and none pushes out one of the other kind.
 *   link    a read takes latency_ns; one page after the other takes service_ns of the link. Demand reads go
 *           first, prefetched pages queue. Touching a page on its way is a late hit and waits for the rest.
 *   time    think_ns between accesses, or the trace's own times, plus what was waited.
 *   hits    as in the runtime (prefetch.h): every first touch is told (cache), or that of the window's
 *           marker is (marker).
 *   model   the above; or `runtime`: the pager's own memory with its extents, limbo and headroom, and its way of
 *           counting (sim_runtime.c), for traces that live runs recorded
 *   shadow  the same memory without prefetching: its misses are what was needed; a miss that it does not
 *           have is pollution.
 */
#ifndef LEAP_TOOLS_SIM_H
#define LEAP_TOOLS_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "libleap/prefetch/prefetch.h"
#include "libleap/util/hist.h"
#include "tools/trace_file.h"

enum sim_key { SIM_PROCESS, SIM_REGION, SIM_THREAD, SIM_STREAM };

struct sim_options {
	const char *policy; /* a policy's name, or "oracle" */
	bool cache;         /* hits */
	bool beside;        /* the pool has its pages beside local_pages */
	bool fifo;          /* memory evicts in order of arrival, not of use */
	bool trace_times;
	bool runtime;        /* the model */
	bool recorded_limit; /* runtime: the limit changes as it was recorded */
	uint64_t limbo_percent;
	uint64_t share_percent; /* of the limit for prefetched pages that are untouched; runtime */
	enum sim_key key;
	uint8_t advice; /* enum trace_advice, of all regions at the start */
	struct prefetch_params params;
	const struct replay_future *future; /* of policy replay */
	uint64_t local_pages, pool_pages;
	uint64_t latency_ns, service_ns, think_ns;
	uint32_t samples; /* of what the policy believes; 0: none are taken */
};

/* Of the run, or of the accesses of one region and thread. Pages count where they were asked for. */
struct sim_metrics {
	uint64_t adds;   /* pages prefetched */
	uint64_t hits;   /* of them touched, late ones included */
	uint64_t late;   /* touched on their way */
	uint64_t unused; /* dropped untouched */
	uint64_t misses;
	uint64_t polluted; /* misses that the shadow does not have */
	uint64_t stall_ns;
};

/* All accesses of one region by one thread. */
struct sim_cell {
	uint16_t region;
	uint32_t thread;
	uint32_t instance;
	struct sim_metrics m;
};

/* What the instance that was asked last believes: prefetcher_ops.peek(). */
struct sim_sample {
	uint64_t access; /* so many were made */
	uint64_t t_ns;   /* of the trace, since its first record */
	int64_t trend;
	uint32_t window;
};

struct sim_result {
	struct sim_metrics m;
	uint64_t accesses;
	uint64_t needed;        /* misses without prefetching */
	uint64_t resident;      /* prefetched pages that were untouched at the end */
	uint64_t dirty;         /* pages written back */
	uint64_t time_ns;       /* from the first access to the end of the last */
	struct hist issue;      /* from the prefetch to the first touch */
	struct hist arrival;    /* from the page's arrival to the first touch; 0 if late */
	struct sim_cell *cells; /* ncells, to be freed */
	uint32_t ncells;
	struct sim_sample *samples; /* nsamples: options.samples and the last, or fewer */
	uint32_t nsamples;
};

#define SIM_ORACLE "oracle"

/* The policy of that name, also those that only the simulator has; NULL when there is none. */
const struct prefetcher_ops *sim_policy(const char *name);
/* 0, or -errno with the sentence set. The result is freed by sim_result_free(). */
int sim_run(const struct trace *trace, const struct sim_options *options,
	    struct sim_result *ret_result);
/* sim_run() with the model of the runtime. */
int sim_run_runtime(const struct trace *trace, const struct sim_options *options,
		    const struct prefetcher_ops *ops, struct sim_result *ret_result);
void sim_metrics_add(struct sim_metrics *sum, const struct sim_metrics *metrics);
/* Adds the cells up into m. */
void sim_result_sum(struct sim_result *result);
void sim_result_free(struct sim_result *result);

static inline double sim_share(uint64_t part, uint64_t all)
{
	return all ? 100.0 * (double)part / (double)all : 0;
}

/* The paper's definitions, per cent. */
static inline double sim_accuracy(const struct sim_metrics *m)
{
	return sim_share(m->hits, m->adds);
}

static inline double sim_coverage(const struct sim_metrics *m)
{
	return sim_share(m->hits, m->hits + m->misses);
}

#endif
