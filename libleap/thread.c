/* SPDX-License-Identifier: Apache-2.0 */
/* thread.c - see thread.h. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "libleap/error.h"
#include "libleap/runtime.h"
#include "libleap/thread.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#define STACK_BYTES     ((size_t)256 << 10)
#define STACK_BYTES_MAX ((size_t)16 << 20) /* a program may have a large thread-local storage */

/* Lies at the low end of the stack. */
struct start {
	void *(*fn)(void *arg);
	void *arg;
	const char *name;
};

static void *thread_main(void *arg)
{
	struct start *start = arg;

	runtime_enter();
	syscall(SYS_prctl, PR_SET_NAME, start->name);
	start->fn(start->arg);
	runtime_leave();
	return NULL;
}

static void free_stack(struct thread *thread)
{
	mem_unmap(thread->stack, thread->bytes);
	thread->stack = NULL;
}

/* The lowest page is a guard. */
static int create(struct thread *thread, size_t bytes, const struct start *start)
{
	pthread_attr_t attr;
	char *low;
	int err;

	if (!thread->stack) {
		thread->stack = mem_map_sparse(bytes);
		thread->bytes = bytes;
		if (!thread->stack)
			return ENOMEM;
		sys_mprotect(thread->stack, LEAP_PAGE_BYTES, PROT_NONE);
	}
	low = thread->stack + LEAP_PAGE_BYTES;
	memcpy(low, start, sizeof(*start));
	pthread_attr_init(&attr);
	err = pthread_attr_setstack(&attr, low + 64, thread->bytes - LEAP_PAGE_BYTES - 64);
	if (!err)
		err = pthread_create(&thread->id, &attr, thread_main, low);
	pthread_attr_destroy(&attr);
	return err;
}

int thread_start(struct thread *thread, void *(*fn)(void *), void *arg, const char *name)
{
	struct start start = {.fn = fn, .arg = arg, .name = name};
	sigset_t all, saved;
	int err = ENOMEM;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &saved);
	runtime_enter(); /* the C library's own allocations for the thread must not be managed */
	for (size_t bytes = STACK_BYTES; bytes <= STACK_BYTES_MAX; bytes *= 8) {
		err = create(thread, bytes, &start);
		if (!err)
			break;
		free_stack(thread);
		if (err != EINVAL)
			break;
	}
	runtime_leave();
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	return err ? error_set(err, "cannot start a thread (error %d): raise 'ulimit -u'", err) : 0;
}

void thread_join(struct thread *thread)
{
	pthread_join(thread->id, NULL);
	free_stack(thread);
}
