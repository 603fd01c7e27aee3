/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handler.h - the fault front ends: how a fault is heard.
 *
 *   busy    a thread polls the userfaultfd and its lanes; sleeps after config.spin_ns without work
 *   block   a thread sleeps in poll(2) and follows the program's thread to its CPU: the hand-over on one
 *	     CPU costs no wake-up of another
 *   inline  no thread: the faulting thread gets SIGBUS and serves itself. System calls that touch a page
 *	     that is not local see EFAULT.
 */
#ifndef LEAP_HANDLER_H
#define LEAP_HANDLER_H

#include <stdbool.h>
#include "libleap/config.h"

struct leap;
struct shard;

/* Starts the shard's fault thread; nothing to do for inline. -errno with the sentence set. */
int handler_start(struct shard *shard);
void handler_stop(struct shard *shard);
/* Installs the SIGBUS handler once per process, chaining to the one that was there. */
int inline_install(void);
struct leap_region;
/* Serves a fault on addr as the SIGBUS handler would; false when the page is lost. */
bool inline_serve(struct leap_region *region, char *addr);
/* What a fault costs the program, by front end: medians in ns; 0 = could not be measured. */
struct fault_costs {
	uint64_t block_ns, busy_ns;
};
/* Causes a few faults and serves them; takes some ms. anchors: the option. -errno with the sentence set. */
int handler_measure(bool anchors, struct fault_costs *ret_costs);
/* What `auto` stands for on this machine: measures unless there are too few CPUs to choose. */
enum config_frontend handler_calibrate(bool anchors);

#endif
