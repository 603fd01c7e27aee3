/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - keeping a fault thread on the CPU of the thread that it serves.
 *
 * Handing a fault over on one CPU takes 8 us on a small virtual machine, waking another, halted CPU 46 to 88
 * (docs/decisions.md). While one program thread causes all faults, the fault thread pins itself to that
 * thread's CPU and looks again now and then; when several do, it may run anywhere.
 */
#ifndef LEAP_FOLLOW_H
#define LEAP_FOLLOW_H

#include <sched.h>
#include <stdint.h>

struct follow {
	cpu_set_t allowed; /* what the thread was given */
	uint32_t thread;   /* the only one that faulted lately */
	unsigned streak;   /* faults of it in a row */
	unsigned check;    /* streak at which to look at its CPU */
	int cpu;           /* pinned to; -1: not */
};

void follow_init(struct follow *follow);
/* n faults were served, the first of them caused by `thread`. */
void follow_fault(struct follow *follow, uint32_t thread, unsigned n);

#endif
