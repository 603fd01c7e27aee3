/* SPDX-License-Identifier: Apache-2.0 */
/* atfork.h - runs the program's fork handlers. */
#ifndef LEAP_PRELOAD_ATFORK_H
#define LEAP_PRELOAD_ATFORK_H

#include <stdbool.h>
#include <stddef.h>

/* The program's in reverse order, then jemalloc's. Returns what the other two want: those that are registered meanwhile
 * do not run. */
size_t atfork_prepare(void);
/* jemalloc's, then the program's in order. */
void atfork_parent(size_t count);
void atfork_child(size_t count);

/* Around the fork itself: the list is at rest. */
void atfork_lock(void);
void atfork_unlock(void);
/* handlers: atfork_child() will follow. */
void atfork_unlock_child(bool handlers);

#endif
