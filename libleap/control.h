/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - run-time control: options of a running session, statistics, and the window that other processes
 * have on it (stats page, control socket), served by the keeper thread.
 */
#ifndef LEAP_CONTROL_H
#define LEAP_CONTROL_H

#include <stddef.h>

struct leap;
struct leap_stats;

/* Opens the stats page and the control socket; warns and goes on when it cannot. */
void control_open(struct leap *leap);
void control_close(struct leap *leap);
/* At exit, while the keeper still runs: removes the files, nothing else. */
void control_withdraw(struct leap *leap);
/* In a forked child: forgets the parent's files without removing them. */
void control_forget(struct leap *leap);
/* Answers whatever waits on the control socket. */
void control_serve(struct leap *leap);
/* Writes the stats page if anything changed. */
void control_publish(struct leap *leap);
/* In a forked child: the lock of the merging buffers may have been held by a thread that is gone. */
void stats_scratch_reset(void);
void stats_snapshot(struct leap *leap, struct leap_stats *ret_stats);

void *keeper_main(void *leap);
/* The clerk (clerk.h), also in a forked child. */
int session_start_clerk(void);
/* Starts fault threads, evictor and keeper (also in a forked child). */
int session_start_threads(struct leap *leap);

#endif
