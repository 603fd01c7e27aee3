/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.h - the pager's threads.
 *
 * Their stacks are the pager's own memory. The C library would hand out the stack of an application thread that
 * ended, together with its table of thread-local storage, which may lie in managed memory.
 */
#ifndef LEAP_THREAD_H
#define LEAP_THREAD_H

#include <pthread.h>
#include <stddef.h>

struct thread {
	pthread_t id;
	char *stack; /* NULL before the first start; a forked child starts its threads on the parent's copies */
	size_t bytes;
};

/* Runs fn(arg) in a new thread: all signals blocked, marked as runtime. -errno with the sentence set. */
int thread_start(struct thread *thread, void *(*fn)(void *), void *arg, const char *name);
/* Waits for its end and frees its stack. */
void thread_join(struct thread *thread);

#endif
