/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack.h - application threads whose stack is managed memory: coroutines, fibers, pthread_attr_setstack().
 *
 * Such a thread may lose any page of its stack at any time. If that happened while it holds a lock, it would wait for the
 * fault thread, and the fault thread for the lock. So lock_app_enter() pins the stack about its pointer
 * first. That takes locks, too: it is done on a stack of the pager's own.
 */
#ifndef LEAP_STACK_H
#define LEAP_STACK_H

#include <stddef.h>

/* From now on managed stacks are seen to. Once a process; again does nothing. -ENOMEM. */
int stack_init(void);
/* [addr, addr + len) may be a stack from now on. Any thread. */
void stack_note_managed(const void *addr, size_t len);
/* In a forked child: other threads' use of the pager's stacks is over. */
void stack_fork_child(void);

#endif
