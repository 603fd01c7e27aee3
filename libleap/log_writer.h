/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_writer.h - the log of a process that is paged: lines are written by a thread that serves nothing.
 *
 * A thread of the program may hold the kernel's lock on the pipe, file or terminal that lines go to while it waits for a
 * page, or nobody may read the pipe. Whoever serves faults puts its lines into a ring and goes on. The lines go to a
 * duplicate of the stderr of the start, under a number of the pager's own: what the program opens as 2 later is its own file.
 */
#ifndef LEAP_LOG_WRITER_H
#define LEAP_LOG_WRITER_H

#include <stdbool.h>

/* Once a session; the first one takes the duplicate. */
void log_writer_open(void);
/* Starts the thread unless it runs; lines are written by their own threads before. -errno with the sentence set. */
int log_writer_start(void);
/* The last session ends it, when what is there is written or one second has passed. */
void log_writer_close(void);
/* Waits until all lines are written, for a second at most. */
void log_writer_flush(void);
/* In a forked child: there is no thread, and the lines in the ring are the parent's. */
void log_writer_forked(void);
/* 1 while the thread runs. */
bool log_writer_runs(void);
/* The program gave its stderr up. A reader may wait for the end of a pipe or a socket, so that is given up, too. */
void log_writer_stderr_gone(void);

#endif
