/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - keeping a fault thread and the thread that it serves on one CPU.
 *
 * Handing a fault over on one CPU takes 8 us on a small virtual machine, waking another, halted CPU 46 to 88
 * (docs/decisions.md). Two CPUs are worth it only where both have something to do at the same time: the program
 * computes while the fault thread fetches ahead. So both are measured. While one program thread causes all faults,
 * and either it or the fault thread works less for each of them than two wake-ups cost, they share the thread's CPU.
 */
#ifndef LEAP_FOLLOW_H
#define LEAP_FOLLOW_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct follow {
	cpu_set_t allowed;  /* what the fault thread was given */
	uint32_t thread;    /* the only one that faulted lately */
	unsigned period;    /* faults that it has; 0: not begun */
	unsigned faults;    /* of it, in this period */
	uint64_t thread_ns; /* CPU time of it when the period began */
	uint64_t own_ns;    /* and of the fault thread */
	bool anchors;       /* may hold the program's thread; else it only goes where that is */
	bool together;
};

void follow_init(struct follow *follow, bool anchors);
/* n faults were served, the first of them caused by `thread`. */
void follow_fault(struct follow *follow, uint32_t thread, unsigned n);
/* How long the fault thread may sleep before it calls follow_idle(), in milliseconds; -1: for ever. */
int follow_timeout(const struct follow *follow);
/* No fault for so long. Also before the fault thread ends. */
void follow_idle(struct follow *follow);

#endif
