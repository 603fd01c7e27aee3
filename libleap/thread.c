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
#include "libleap/util/proc.h"
#include "libleap/util/sys.h"

#define STACK_BYTES     ((size_t)256 << 10)
#define STACK_BYTES_MAX ((size_t)16 << 20) /* a program may have a large thread-local storage */

/* Lies at the low end of the stack. */
struct start {
	void *(*fn)(void *arg);
	void *arg;
	const char *name;
};

static unsigned running; /* threads of ours, never too many; atomic */

static void *thread_main(void *arg)
{
	struct start *start = arg;

	runtime_enter();
	__atomic_fetch_add(&running, 1, __ATOMIC_RELAXED);
	syscall(SYS_prctl, PR_SET_NAME, start->name);
	start->fn(start->arg);
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELAXED);
	runtime_leave();
	return NULL;
}

bool threads_alone(int *ret_status)
{
	unsigned there = proc_threads_after_main(ret_status);

	return there && there <= 1 + __atomic_load_n(&running, __ATOMIC_RELAXED);
}

void threads_end_process(int status)
{
	int sig = status & 0x7f;
	struct {
		void (*handler)(int sig);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} usual = {SIG_DFL, 0, NULL, 0};
	uint64_t none = 0;

	if (sig) {
		syscall(SYS_rt_sigaction, sig, &usual, NULL, sizeof(usual.mask));
		syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
		syscall(SYS_tgkill, getpid(), sys_gettid(), sig);
	}
	for (;;)
		syscall(SYS_exit_group, status >> 8);
}

void threads_forked(void)
{
	__atomic_store_n(&running, 0, __ATOMIC_RELAXED);
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
