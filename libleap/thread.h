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
#include <stdbool.h>
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

/*
 * A process ends with its last thread, and the program's may end by a bare system call, or by seccomp, so that nobody
 * but the kernel knows. Have all threads but ours ended? With the main thread's status. And the same end for the process.
 */
bool threads_alone(int *ret_status);
_Noreturn void threads_end_process(int status);
/* In a forked child: it has none yet. */
void threads_forked(void);

#endif
