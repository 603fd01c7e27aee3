/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - what the pager asks /proc while the program runs. The files are opened before it runs and kept: a file
 * opened later would have the lowest free number for a moment, which the program may be closing just then.
 */
#ifndef LEAP_UTIL_PROC_H
#define LEAP_UTIL_PROC_H

#include <stddef.h>
#include <sys/types.h>

enum proc_file {
	PROC_PAGEMAP,
	PROC_MAPS,
	PROC_COMM,
	PROC_MEMINFO,
	PROC_STAT,
	PROC_STATUS,
	PROC_FILES
};

/* Opens them for this process; counted, closed by the last proc_close(). What cannot be opened (no /proc) answers -errno
 * later. */
void proc_open(void);
void proc_close(void);
/* In a forked child: the parent's files are about the parent. */
void proc_forked(void);
/* The descriptor, for ioctl(); -errno where there is none. */
int proc_fd(enum proc_file file);
/* Of /proc itself, to open what lies below (by the clerk); -errno where there is none. */
int proc_dir(void);
/* Bytes read from offset at on, or -errno. */
long proc_read(enum proc_file file, void *buf, size_t size, off_t at);
/* How many threads there are, the main thread counted, if that one has ended; its status, as wait() gives it. 0 while it
 * runs, or when that is unknown. */
unsigned proc_threads_after_main(int *ret_status);
/* What the kernel calls the process (16 bytes at most); empty where it does not tell. */
void proc_program(char *buf, size_t size);

#endif
