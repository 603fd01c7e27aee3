/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - giving back what clients had, which takes as long as there is much of it, by a thread that nobody waits for.
 *
 * The kernel frees a few gigabytes a second, and a device ends its keys one by one: a control worker that did this itself
 * would answer no heartbeat meanwhile. The thread also drops tickets that nobody came for and looks after what clients kept.
 */
#ifndef DONOR_KEEPER_H
#define DONOR_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

struct donor;

/* Part of what is given back, so that it needs no memory. */
struct keeper_job {
	struct keeper_job *next;
	void (*run)(struct keeper_job *job);
};

/* Starts the thread. 0 or -errno. */
int keeper_start(struct donor *donor);
/* Ends it when all is done. */
void keeper_stop(void);
/* Soon, one after the other; at once when there is no thread. */
void keeper_do(struct keeper_job *job, void (*run)(struct keeper_job *job));
/* Something is free now that was not. */
void keeper_progress(void);
/* How often so far. */
uint64_t keeper_seen(void);
/* Waits until more is free than *seen, which it updates. False: there is nothing to wait for, or the time is over. */
bool keeper_wait(uint64_t *seen, uint64_t until_ns);

#endif
