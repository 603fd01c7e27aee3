/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forking.c - fork() and its relatives that copy the memory of the process: _Fork() and clone() without CLONE_VM.
 * (vfork(), posix_spawn(), system() and popen() share the memory: nothing is to be done.)
 *
 * Between the stop of the pager (fork_begin) and its new start (fork_child) nobody may touch managed memory that is not
 * local. In a program with several threads the C library does, in the child: it makes the locks of all open
 * streams anew. So their pages are pinned meanwhile, and the list of streams is locked.
 *
 * A child says when its pager runs, and the parent's call returns then: what the child lacks (a thread, a
 * connection, a descriptor) makes the call fail with EAGAIN, and leaves no child behind.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include "libleap/error.h"
#include "libleap/lock.h"
#include "libleap/log.h"
#include "preload/atfork.h"
#include "preload/map.h"
#include "preload/preload.h"

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

/* What a child says to its parent, in a page that they share. */
struct word {
	uint32_t said; /* atomic, a futex: one of these */
	int err;
};
enum { NOTHING_YET, SERVED, FAILED };

struct forking {
	bool ours;   /* not for the handlers in the C library's list */
	bool failed; /* for them: the pager could not be stopped, the child must not go on */
	bool begun, streams; /* the pager is stopped; the list of streams is locked */
	size_t handlers;     /* atfork_prepare()'s */
	struct word *word;
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

static void unlock_streams(void)
{
	if (!forking.streams)
		return;
	pin_streams(false);
	_IO_list_unlock();
}

static void drop_word(void)
{
	sys_munmap(forking.word, LEAP_PAGE_BYTES);
	forking.word = NULL;
}

static void resume(void)
{
	space_fork_unlock();
	atfork_unlock();
	unlock_streams();
	lock_app_leave(&forking.saved);
	forking.begun = false;
}

int fork_begin(void)
{
	forking.word = sys_mmap(NULL, LEAP_PAGE_BYTES, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0, NULL);
	if (!forking.word) {
		errno = ENOMEM;
		return -1;
	}
	lock_app_enter(&forking.saved);
	forking.streams = !threads_single();
	if (forking.streams) {
		_IO_list_lock();
		pin_streams(true);
	}
	atfork_lock();
	space_fork_lock();
	forking.begun = true;
	if (!runtime_fork_prepare(preload.leap))
		return 0;
	resume();
	drop_word();
	errno = EAGAIN;
	return -1;
}

static void say(uint32_t what, int err)
{
	forking.word->err = err;
	__atomic_store_n(&forking.word->said, what, __ATOMIC_RELEASE);
	syscall(SYS_futex, &forking.word->said, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Locks and registrations are not inherited, and some memory is to read as zeroes. */
static void child_marks(void)
{
	char *at, *part;

	map_unlock(preload.start, preload.end);
	map_unpin(MARK_REGISTERED, preload.start, preload.end);
	for (at = preload.start; space_marked_next(MARK_WIPE, &at, preload.end, &part);)
		region_discard(preload.region, part, (size_t)(at - part));
}

static bool child;

bool fork_is_child(void)
{
	return child;
}

/* handlers: they follow. */
static void fork_child(bool handlers)
{
	int err = runtime_fork_child(preload.leap);

	if (err) {
		say(FAILED, -err);
		for (;;)
			syscall(SYS_exit_group, 127);
	}
	threads_hide(runtime_threads(preload.leap));
	space_fork_unlock();
	atfork_unlock_child(handlers);
	if (forking.streams) {
		pin_streams(false);
		_IO_list_resetlock();
	}
	child_marks();
	lock_app_leave(&forking.saved);
	forking.begun = false;
	child = true;
	say(SERVED, 0);
	drop_word();
}

static void fork_parent(void)
{
	int saved = errno;

	runtime_fork_parent(preload.leap);
	resume();
	errno = saved;
}

/* A child that was killed says nothing; somebody else may have waited for it. */
static bool is_dead(pid_t pid)
{
	siginfo_t info = {.si_pid = 0};

	return syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL) ||
	       info.si_pid == pid;
}

/* 0, or the errno for which the child could not be served. It is gone then, and not to be waited for. */
static int hear(pid_t pid)
{
	struct timespec turn = {.tv_nsec = 50000000};
	uint32_t said;
	int err;

	while ((said = __atomic_load_n(&forking.word->said, __ATOMIC_ACQUIRE)) == NOTHING_YET) {
		syscall(SYS_futex, &forking.word->said, FUTEX_WAIT, NOTHING_YET, &turn, NULL, 0);
		if (__atomic_load_n(&forking.word->said, __ATOMIC_ACQUIRE) == NOTHING_YET &&
		    is_dead(pid))
			return 0;
	}
	err = said == FAILED ? forking.word->err : 0;
	if (err)
		while (syscall(SYS_wait4, pid, NULL, __WALL, NULL) < 0 && errno == EINTR)
			;
	return err == ENOMEM ? ENOMEM : err ? EAGAIN : 0;
}

/* In the parent, which goes on: is the child there? */
static pid_t settle(pid_t pid)
{
	int saved = errno, err = pid > 0 ? hear(pid) : 0;

	drop_word();
	errno = err ? err : saved;
	return err ? -1 : pid;
}

pid_t fork_end(pid_t pid)
{
	if (!pid) {
		fork_child(false);
		return 0;
	}
	fork_parent();
	return settle(pid);
}

/* The C library forks by itself (daemon(), forkpty()): nobody can make that fail. */
static void libc_prepare(void)
{
	if (forking.ours)
		return;
	forking.handlers = atfork_prepare();
	forking.failed = preload_ready() && fork_begin() != 0;
}

static void libc_parent(void)
{
	if (forking.ours)
		return;
	if (forking.begun) {
		fork_parent();
		drop_word();
	}
	atfork_parent(forking.handlers);
}

static void libc_child(void)
{
	if (forking.ours)
		return;
	if (forking.failed) {
		log_error("fork is not possible here: %s", error_last());
		syscall(SYS_exit_group, 127);
	}
	if (forking.begun)
		fork_child(true);
	atfork_child(forking.handlers);
}

void fork_register(void)
{
	int (*add)(void (*)(void), void (*)(void), void (*)(void), void *);

	add = (__typeof__(add))dlsym(RTLD_NEXT, "__register_atfork");
	if (add)
		add(libc_prepare, libc_parent, libc_child, NULL);
}

static bool denied(void)
{
	if (!preload_ready() || runtime_config(preload.leap)->fork != FORK_DENY)
		return false;
	log_warn("fork refused (option fork=deny)");
	errno = EAGAIN;
	return true;
}

/* The pager stops after all prepare handlers and goes on before the others. */
EXPORT pid_t fork(void)
{
	size_t handlers;
	pid_t pid;
	int err;

	if (!real.fork)
		fork_resolve();
	if (denied())
		return -1;
	handlers = atfork_prepare();
	if (preload_ready() && fork_begin()) {
		err = errno;
		atfork_parent(handlers);
		errno = err;
		return -1;
	}
	forking.ours = true;
	pid = real.fork();
	forking.ours = false;
	err = errno;
	if (!pid) {
		if (forking.begun)
			fork_child(true);
		atfork_child(handlers);
		return 0;
	}
	if (forking.begun)
		fork_parent();
	atfork_parent(handlers);
	errno = err;
	return forking.word ? settle(pid) : pid;
}

/* fork() without handlers. */
EXPORT pid_t _Fork(void)
{
	if (!real._Fork)
		fork_resolve();
	if (!preload_ready())
		return real._Fork();
	if (denied() || fork_begin())
		return -1;
	return fork_end(real._Fork());
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

	fork_child(false);
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
	pid = settle(pid);
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
