/* SPDX-License-Identifier: Apache-2.0 */
/* sim_print.h - results of `leap sim`: a table laid out like the paper's table 2, and JSON. */
#ifndef LEAP_TOOLS_SIM_PRINT_H
#define LEAP_TOOLS_SIM_PRINT_H

#include "tools/json.h"
#include "tools/sim.h"

#define SIM_RUNS_MAX 16 /* of an input */

enum sim_by { SIM_BY_RUN, SIM_BY_REGION, SIM_BY_THREAD };

struct sim_run {
	struct sim_options options;
	struct sim_result result;
	double seconds; /* that the simulation took */
};

struct sim_report {
	const char *input;
	const struct trace *trace;
	struct sim_run *runs;
	unsigned n;
	enum sim_by by;
	bool speed; /* a row of how fast it was simulated */
};

void sim_print_table(FILE *out, const struct sim_report *report);
/* One object, inside an array. */
void sim_print_json(struct json *json, const struct sim_report *report);

#endif
