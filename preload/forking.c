/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forking.c - fork() and its relatives that copy the memory of the process: _Fork() and clone() without CLONE_VM.
 * (vfork(), posix_spawn(), system() and popen() share the memory: nothing is to be done.)
 *
 * Between the stop of the pager (fork_begin) and its new start (fork_child) nobody may touch managed memory that is not
 * local. In a program with several threads the C library does, in the child: it makes the locks of all open
 * streams anew. So their pages are pinned meanwhile, and the list of streams is locked.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>

#include "libleap/error.h"
#include "libleap/lock.h"
#include "libleap/log.h"
#include "preload/preload.h"
#include "preload/map.h"

#define STREAM_BYTES 1024 /* a FILE with its lock and wide part, as the C library allocates them */
#define STACK_BYTES  ((size_t)64 << 10)

/* The C library's list of streams; exported, but declared nowhere. */
void *_IO_iter_begin(void);
void *_IO_iter_end(void);
void *_IO_iter_next(void *iter);
FILE *_IO_iter_file(void *iter);
void _IO_list_lock(void);
void _IO_list_unlock(void);
void _IO_list_resetlock(void);

struct forking {
	bool begun, failed; /* failed: the pager could not be stopped, the child must not go on */
	bool streams;
	struct lock_app saved;
};

static __thread struct forking forking __attribute__((tls_model("initial-exec")));

/* The C library's own. */
static struct {
	pid_t (*fork)(void);
	pid_t (*_Fork)(void);
	int (*clone)(int (*fn)(void *arg), void *stack, int flags, void *arg, ...);
} real;

void fork_resolve(void)
{
	real.fork = (__typeof__(real.fork))dlsym(RTLD_NEXT, "fork");
	real._Fork = (__typeof__(real._Fork))dlsym(RTLD_NEXT, "_Fork");
	real.clone = (__typeof__(real.clone))dlsym(RTLD_NEXT, "clone");
}

static void pin_streams(bool pin)
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

int fork_begin(void)
{
	int err;

	lock_app_enter(&forking.saved);
	forking.streams = !threads_single();
	if (forking.streams) {
		_IO_list_lock();
		pin_streams(true);
	}
	space_fork_lock();
	err = runtime_fork_prepare(preload.leap);
	if (!err)
		return 0;
	space_fork_unlock();
	if (forking.streams) {
		pin_streams(false);
		_IO_list_unlock();
	}
	lock_app_leave(&forking.saved);
	errno = EAGAIN;
	return -1;
}

void fork_parent(void)
{
	int saved = errno;

	runtime_fork_parent(preload.leap);
	space_fork_unlock();
	if (forking.streams) {
		pin_streams(false);
		_IO_list_unlock();
	}
	lock_app_leave(&forking.saved);
	errno = saved;
}

/* Locks are not inherited, and some memory is to read as zeroes. */
static void child_marks(void)
{
	char *at, *part;

	map_unlock(preload.start, preload.end);
	for (at = preload.start; space_marked_next(MARK_WIPE, &at, preload.end, &part);)
		region_discard(preload.region, part, (size_t)(at - part));
}

void fork_child(void)
{
	runtime_fork_child(preload.leap);
	threads_hide(runtime_threads(preload.leap));
	space_fork_unlock();
	if (forking.streams) {
		pin_streams(false);
		_IO_list_resetlock();
	}
	child_marks();
	lock_app_leave(&forking.saved);
}

static void atfork_prepare(void)
{
	if (!preload_ready() || forking.begun)
		return;
	forking.failed = fork_begin() != 0;
	forking.begun = true;
}

static void atfork_parent(void)
{
	if (forking.begun && !forking.failed)
		fork_parent();
	forking.begun = false;
}

static void atfork_child(void)
{
	if (forking.begun && forking.failed) {
		log_error("fork is not possible here: %s", error_last());
		syscall(SYS_exit_group, 127);
	}
	if (forking.begun)
		fork_child();
	forking.begun = false;
}

void fork_register(void)
{
	static int done;

	if (!__atomic_exchange_n(&done, 1, __ATOMIC_ACQ_REL))
		pthread_atfork(atfork_prepare, atfork_parent, atfork_child);
}

static bool denied(void)
{
	if (!preload_ready() || runtime_config(preload.leap)->fork != FORK_DENY)
		return false;
	log_warn("fork refused (option fork=deny)");
	errno = EAGAIN;
	return true;
}

/* fork() itself can fail honestly where a handler cannot. */
EXPORT pid_t fork(void)
{
	if (!real.fork)
		fork_resolve();
	return denied() ? -1 : real.fork();
}

/* fork() without handlers. */
EXPORT pid_t _Fork(void)
{
	pid_t pid;

	if (!real._Fork)
		fork_resolve();
	if (!preload_ready())
		return real._Fork();
	if (denied() || fork_begin())
		return -1;
	pid = real._Fork();
	if (pid)
		fork_parent();
	else
		fork_child();
	return pid;
}

bool fork_refuses(uint64_t flags)
{
	if (!(flags & CLONE_FILES))
		return false;
	log_warn(
		"clone() with CLONE_FILES and without CLONE_VM refused: the child's pager needs descriptors of "
		"its own; leave CLONE_FILES out, or add CLONE_VM");
	errno = EINVAL;
	return true;
}

struct clone_start {
	int (*fn)(void *arg);
	void *arg;
};

static int clone_main(void *arg)
{
	struct clone_start start = *(struct clone_start *)arg;

	fork_child();
	/* clone() itself would end this thread only, and the pager's would stay */
	syscall(SYS_exit_group, start.fn(start.arg));
	__builtin_unreachable();
}

/* The child runs on `stack` before the pager is there for it. */
static int clone_copy(int (*fn)(void *arg), char *stack, int flags, void *arg, void *ids[3])
{
	struct clone_start start = {fn, arg};
	char *top = (char *)(((uintptr_t)stack + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK);
	bool ours = managed(top - STACK_BYTES, STACK_BYTES);
	int pid;

	if (ours && (top - STACK_BYTES < preload.start || top > preload.end ||
		     region_pin(preload.region, top - STACK_BYTES, STACK_BYTES)))
		ours = false;
	if (fork_begin())
		return -1;
	pid = real.clone(clone_main, stack, flags, &start, ids[0], ids[1], ids[2]);
	fork_parent();
	if (ours)
		region_unpin(preload.region, top - STACK_BYTES, STACK_BYTES);
	return pid;
}

EXPORT int clone(int (*fn)(void *arg), void *stack, int flags, void *arg, ...)
{
	void *ids[3] = {NULL, NULL, NULL};
	va_list ap;

	if (!real.clone)
		fork_resolve();
	va_start(ap, arg);
	if (flags & (CLONE_PARENT_SETTID | CLONE_PIDFD | CLONE_SETTLS | CLONE_CHILD_SETTID |
		     CLONE_CHILD_CLEARTID))
		for (int i = 0; i < 3; i++)
			ids[i] = va_arg(ap, void *);
	va_end(ap);
	if (!preload_ready() || flags & CLONE_VM || !fn || !stack)
		return real.clone(fn, stack, flags, arg, ids[0], ids[1], ids[2]);
	if (denied() || fork_refuses((uint64_t)flags))
		return -1;
	return clone_copy(fn, stack, flags, arg, ids);
}
