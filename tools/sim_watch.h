/* SPDX-License-Identifier: Apache-2.0 */
/* sim_watch.h - what a policy believes while it is simulated, looked at now and then; for pictures. */
#ifndef LEAP_TOOLS_SIM_WATCH_H
#define LEAP_TOOLS_SIM_WATCH_H

#include "libleap/prefetch/history.h"
#include "tools/sim.h"

struct sim_watch {
	const struct history
		*asked;       /* the instance that was asked last; NULL: none yet, or the oracle */
	uint64_t next, every; /* records; without samples the next never comes */
	const struct trace *trace;
	struct sim_result *result; /* takes the samples */
};

/* Looks as often as options->samples says. 0, or -ENOMEM with the sentence set. */
int sim_watch_init(struct sim_watch *watch, const struct trace *trace,
		   const struct sim_options *options, struct sim_result *result);
/* Before record i. */
void sim_watch_look(struct sim_watch *watch, uint64_t i);
/* Behind the last record. */
void sim_watch_end(struct sim_watch *watch);

static inline void sim_watch_step(struct sim_watch *watch, uint64_t i)
{
	if (i == watch->next)
		sim_watch_look(watch, i);
}

/* The same, for a loop that is to cost nothing: it goes on from record i to the one returned. */
static inline uint64_t sim_watch_until(struct sim_watch *watch, uint64_t i)
{
	uint64_t end = watch->trace->header.n_records;

	sim_watch_step(watch, i);
	return watch->next < end ? watch->next : end;
}

#endif
