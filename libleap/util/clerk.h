/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clerk.h - a thread with a table of descriptors of its own, for descriptors that live for a moment.
 *
 * What is opened in a running program has the lowest free number until it is moved up or closed, and the program may
 * be closing, or opening, that number just then. So it is opened in the clerk's table, which starts empty and which no
 * other thread sees: files that are read, connections that ask one question, memory that comes through a socket.
 */
#ifndef LEAP_UTIL_CLERK_H
#define LEAP_UTIL_CLERK_H

#include <stdbool.h>
#include <stddef.h>

/* Makes what the clerk needs; before the program runs, and in a forked child before it goes on. 0 or -errno. */
int clerk_prepare(void);
/* The thread's function. */
void *clerk_main(void *arg);
/* Until the thread has its own table. */
void clerk_wait(void);
/* Ends it; the caller joins the thread. */
void clerk_end(void);
/* In a forked child: there is no such thread, and what it had open is gone. */
void clerk_forked(void);

/*
 * Runs fn(arg) in the clerk's thread and waits for it; where there is none, here. Numbers that fn opens are the clerk's:
 * only other calls can use them. *lent (NULL: none) is a descriptor of the program's table, which fn finds there under
 * another number. fn does not wait for anything and says nothing (error.h is a thread's own).
 */
void clerk_run(void (*fn)(void *arg), void *arg, int *lent);
/* As clerk_run(), unless it works for somebody else: false. */
bool clerk_try(void (*fn)(void *arg), void *arg);
/* Closes one of the clerk's numbers; -1 is allowed. */
void clerk_close(int fd);
/* Reads a small file: how many bytes, or -errno. Not when it works for somebody else: -EBUSY. */
long clerk_read(const char *path, void *buf, size_t size);

#endif
