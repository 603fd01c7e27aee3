/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd.h - the pager's descriptors: kept high, out of the program's way, and known, so that a program that closes
 * descriptors it does not own (daemons do) cannot close ours.
 */
#ifndef LEAP_UTIL_FD_H
#define LEAP_UTIL_FD_H

#include <stdbool.h>

/* Moves fd up (close-on-exec) if the limit on descriptors allows, and remembers the result as ours. Negative
 * values are passed through. Thread-safe. */
int fd_own(int fd);
/* A duplicate of fd that is ours, born with its high number; or -errno. */
int fd_duplicate(int fd);
/* Opens a file for writing that nobody else may read, and makes it if need be. -ELOOP: it is a symbolic link, -EPERM: it is
 * another user's. */
int fd_open_private(const char *path, int flags);
/* Closes one of ours; -1 is allowed. */
void fd_close(int fd);
/* One of ours was closed by somebody else (a library that made it). */
void fd_disown(int fd);
bool fd_is_owned(int fd);
/* Lowest of ours; INT_MAX when there is none. */
int fd_lowest(void);

#endif
