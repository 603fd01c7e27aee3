/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anchor.h - holding a thread of the program on one CPU while it does little but fault.
 *
 * A scheduler wakes a thread on an idle CPU when there is one, and waking an idle CPU of a virtual machine costs several
 * times the fault itself. Only the thread's affinity keeps it where the fault thread is. At most one thread of
 * the process is held, for as long as it faults at a high rate (follow.h); what it was allowed before is given back.
 *
 * Threads and processes inherit affinity, and programs ask for it. So whoever creates or asks, does it between
 * anchor_hold() and anchor_unhold(): nothing is anchored there.
 */
#ifndef LEAP_ANCHOR_H
#define LEAP_ANCHOR_H

#include <stdbool.h>
#include <stdint.h>

/* Holds the thread on this CPU. Returns the CPU that it is held on (another fault thread may have chosen before), or -1:
 * it cannot be held now. Fault threads. */
int anchor_set(uint32_t thread, int cpu);
/* Is this thread held? */
bool anchor_holds(uint32_t thread);
/* Lets this thread go, if it is the one. */
void anchor_clear(uint32_t thread);
/* Application threads: lets go what is held, and nothing is held until as many anchor_unhold(). Any thread, also in a signal
 * handler. errno is kept. */
void anchor_hold(void);
void anchor_unhold(void);
/* In a forked child, which has one thread: nothing is held, nobody holds back. */
void anchor_forked(void);

#endif
