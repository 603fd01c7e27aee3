/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - leap probe, in parts.
 *
 *   probe.c        the command: runs the parts, prints text or JSON
 *   probe_uffd.c   how userfaultfd may be opened, and its features
 *   probe_host.c   io_uring, limits, memory, the files of leap itself
 *   probe_cost.c   what a fault costs, by front end
 */
#ifndef LEAP_TOOLS_PROBE_H
#define LEAP_TOOLS_PROBE_H

#include <stdbool.h>
#include <stdint.h>

enum finding_state {
	FINDING_OK,
	FINDING_NOTE,    /* worth knowing; nothing is missing */
	FINDING_LIMITED, /* leap works, but slower or with less */
	FINDING_MISSING, /* leap run does not work */
};

#define FINDINGS_MAX 64

/* One line of the report. */
struct finding {
	enum finding_state state;
	char group[16], name[24];
	char what[200];   /* what is so, and what it is for */
	char remedy[200]; /* the command that mends it; "" */
};

struct report {
	struct finding list[FINDINGS_MAX];
	unsigned n;
};

struct finding *report_add(struct report *report, enum finding_state state, const char *group,
			   const char *name, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
void report_remedy(struct finding *finding, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void probe_userfaultfd(struct report *report);
void probe_host(struct report *report);

/* Medians, ns; 0 = not measured. */
struct probe_costs {
	uint64_t block_ns, busy_ns, inline_ns;
	const char *frontend, *mover; /* what auto takes; "none" */
	char why[128];
};
void probe_costs(struct probe_costs *ret_costs);

#endif
