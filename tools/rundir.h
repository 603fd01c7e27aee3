/* SPDX-License-Identifier: Apache-2.0 */
/* rundir.h - the run directory, where processes publish their figures (stats.h). */
#ifndef LEAP_TOOLS_RUNDIR_H
#define LEAP_TOOLS_RUNDIR_H

/* The process whose figures the file of this name has; 0 for other files. */
long rundir_pid(const char *name);
/* Removes what processes that were killed left there. */
void rundir_sweep(void);

#endif
