/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_plot.h - simulations as a picture by gnuplot(1): coverage against accuracy, and, of one input alone, window and
 * trend over time.
 */
#ifndef LEAP_TOOLS_SIM_PLOT_H
#define LEAP_TOOLS_SIM_PLOT_H

#include "tools/sim_print.h"

#define SIM_PLOT_SAMPLES 2000 /* of a policy over an input */

struct sim_plot_point {
	double accuracy, coverage; /* per cent */
	bool known;                /* something was prefetched */
};

struct sim_plot_input {
	char *name;
	struct sim_plot_point point[SIM_RUNS_MAX];
};

/* What was simulated so far; zeroed at first. */
struct sim_plot {
	struct sim_options options; /* of the last run */
	unsigned npolicies, ninputs;
	char *policy[SIM_RUNS_MAX];
	struct sim_plot_input *inputs;
	struct sim_sample *samples[SIM_RUNS_MAX]; /* of the last input, if they were taken */
	uint32_t nsamples[SIM_RUNS_MAX];
	bool times;              /* the input has them */
	uint64_t accesses, t_ns; /* where the input ends */
};

/* Takes over the report's samples. 0, or -ENOMEM with the sentence set. */
int sim_plot_add(struct sim_plot *plot, const struct sim_report *report);
/* 0, or -errno with the sentence set. */
int sim_plot_draw(const struct sim_plot *plot, const char *png);
void sim_plot_free(struct sim_plot *plot);

#endif
