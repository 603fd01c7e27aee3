/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.c - fork, and threads whose stacks the program chose itself.
 *
 * Between the stop of the pager (prepare) and its new start (child) nobody may touch managed memory that is not
 * local. The C library does, in the child: it makes the locks of all open streams anew. So their pages are pinned
 * meanwhile.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "preload/preload.h"
#include "preload/range.h"

#define STREAM_BYTES 1024 /* a FILE with its lock and wide part, as the C library allocates them */

/* The C library's list of streams; exported, but declared nowhere. */
void *_IO_iter_begin(void);
void *_IO_iter_end(void);
void *_IO_iter_next(void *iter);
FILE *_IO_iter_file(void *iter);

static __thread int prepared
	__attribute__((tls_model("initial-exec"))); /* 1 by fork(), 2 by atfork */
static bool broken; /* the pager could not be stopped: the child must not go on */

static void streams(bool pin)
{
	for (void *i = _IO_iter_begin(); i != _IO_iter_end(); i = _IO_iter_next(i)) {
		char *file = (char *)_IO_iter_file(i);
		char *from = (char *)((uintptr_t)file & ~LEAP_PAGE_MASK);
		size_t len =
			((size_t)(file + STREAM_BYTES - from) + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK;

		if (!managed(file, STREAM_BYTES))
			continue;
		if (pin)
			region_pin(preload.region, from, len);
		else
			region_unpin(preload.region, from, len);
	}
}

static int prepare(void)
{
	int err;

	streams(true);
	err = runtime_fork_prepare(preload.leap);
	if (err)
		streams(false);
	else
		range_fork_lock();
	return err;
}

static void atfork_prepare(void)
{
	if (!preload_ready() || prepared)
		return;
	broken = prepare() != 0;
	prepared = 2;
}

static void atfork_parent(void)
{
	if (!prepared)
		return;
	prepared = 0;
	if (broken) {
		broken = false;
		return;
	}
	range_fork_unlock();
	runtime_fork_parent(preload.leap);
	streams(false);
}

static void atfork_child(void)
{
	if (!prepared)
		return;
	prepared = 0;
	if (broken) {
		log_error("fork is not possible here: %s", error_last());
		syscall(SYS_exit_group, 127);
	}
	range_fork_unlock();
	runtime_fork_child(preload.leap);
	streams(false);
}

void process_register_fork(void)
{
	static int done;

	if (!__atomic_exchange_n(&done, 1, __ATOMIC_ACQ_REL))
		pthread_atfork(atfork_prepare, atfork_parent, atfork_child);
}

/* The thread control block lies on top of the stack, and the kernel writes there when the thread exits, without
 * being able to wait for a page: such stacks stay local. */
EXPORT int pthread_attr_setstack(pthread_attr_t *attr, void *stack, size_t size)
{
	static int (*real)(pthread_attr_t *, void *, size_t);

	if (!real)
		real = (int (*)(pthread_attr_t *, void *, size_t))dlsym(RTLD_NEXT,
									"pthread_attr_setstack");
	if (managed(stack, size)) {
		char *from = (char *)((uintptr_t)stack & ~LEAP_PAGE_MASK);

		region_pin(preload.region, from,
			   ((size_t)((char *)stack + size - from) + LEAP_PAGE_MASK) &
				   ~LEAP_PAGE_MASK);
	}
	return real(attr, stack, size);
}

/* fork() itself can fail honestly where a handler cannot. */
EXPORT pid_t fork(void)
{
	static pid_t (*real)(void);

	if (!real)
		real = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");
	if (preload_ready() && runtime_config(preload.leap)->fork == FORK_DENY) {
		log_warn("fork refused (option fork=deny)");
		errno = EAGAIN;
		return -1;
	}
	return real();
}
