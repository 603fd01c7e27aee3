/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threads.c - the pager's threads are not threads of the program.
 *
 * The C library counts threads. With the pager's in the count a program whose last thread calls pthread_exit() would
 * never end, and a single-threaded program would take the slower ways through stdio, locks and reference counts.
 * So they are taken out of the count, and the mark of a single-threaded process is set again. Where the C library
 * hides its count (it is no public name), nothing is changed.
 *
 * While the mark is set, setuid() and its relatives would change this thread only. So the mark is taken back
 * around them: the pager's threads lose their privileges with the program.
 */
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <stdarg.h>
#include <threads.h>
#include <unistd.h>

#include "libleap/log.h"
#include "preload/preload.h"
#include "preload/space.h"

#define TCB_BYTES ((size_t)64 << 10) /* top of a stack: thread control block and static TLS */

static unsigned *count;     /* the C library's count of threads */
static char *single, *copy; /* its mark, and a program's own copy of it (the same, mostly) */
static unsigned hidden;

/* With the pager's memory: the C library's table of name services is read between the stop of the pager in
 * fork() and its new start, so it must not be managed. */
static void load_name_services(void)
{
	bool (*get)(int database, void **ret_actions);
	void *actions;

	get = (bool (*)(int, void **))dlsym(RTLD_DEFAULT, "__nss_database_get");
	if (get)
		get(0, &actions);
}

void threads_prepare(void)
{
	void *libc;

	runtime_enter();
	load_name_services();
	count = dlsym(RTLD_DEFAULT, "__nptl_nthreads");
	copy = dlsym(RTLD_DEFAULT, "__libc_single_threaded");
	libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	if (libc) {
		single = dlsym(libc, "__libc_single_threaded");
		dlclose(libc);
	}
	runtime_leave();
}

static void set_single(char on)
{
	__atomic_store_n(single, on, __ATOMIC_RELAXED);
	__atomic_store_n(copy, on, __ATOMIC_RELAXED);
}

bool threads_single(void)
{
	return single && __atomic_load_n(single, __ATOMIC_RELAXED);
}

void threads_hide(unsigned n)
{
	hidden = n;
	if (!count || !single || !copy || __atomic_load_n(count, __ATOMIC_RELAXED) <= n)
		return;
	if (__atomic_sub_fetch(count, n, __ATOMIC_RELAXED) == 1)
		set_single(1);
}

/* fn() with the mark of a multi-threaded process. */
#define AS_MANY(call)                                         \
	do {                                                  \
		bool was_single = hidden && threads_single(); \
		int r;                                        \
                                                              \
		if (was_single)                               \
			set_single(0);                        \
		r = (call);                                   \
		if (was_single)                               \
			set_single(1);                        \
		return r;                                     \
	} while (0)

/* The C library's own. */
#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

EXPORT int setuid(uid_t uid)
{
	AS_MANY(REAL(setuid)(uid));
}

EXPORT int setgid(gid_t gid)
{
	AS_MANY(REAL(setgid)(gid));
}

EXPORT int seteuid(uid_t uid)
{
	AS_MANY(REAL(seteuid)(uid));
}

EXPORT int setegid(gid_t gid)
{
	AS_MANY(REAL(setegid)(gid));
}

EXPORT int setreuid(uid_t real, uid_t effective)
{
	AS_MANY(REAL(setreuid)(real, effective));
}

EXPORT int setregid(gid_t real, gid_t effective)
{
	AS_MANY(REAL(setregid)(real, effective));
}

EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved)
{
	AS_MANY(REAL(setresuid)(real, effective, saved));
}

EXPORT int setresgid(gid_t real, gid_t effective, gid_t saved)
{
	AS_MANY(REAL(setresgid)(real, effective, saved));
}

EXPORT int setgroups(size_t n, const gid_t *list)
{
	AS_MANY(REAL(setgroups)(n, list));
}

EXPORT int initgroups(const char *user, gid_t group)
{
	AS_MANY(REAL(initgroups)(user, group));
}

/* A thread's values of the keys beyond the first few lie in blocks that the C library allocates here, and clears for the
 * threads that are gone in the child of fork(), before its pager runs. */
#define SPECIFIC(name)                                                         \
	do {                                                                   \
		static __typeof__(&(name)) real;                               \
		int r;                                                         \
                                                                               \
		if (unlikely(!__atomic_load_n(&real, __ATOMIC_RELAXED)))       \
			__atomic_store_n(&real, REAL(name), __ATOMIC_RELAXED); \
		runtime_enter();                                               \
		r = real(key, value);                                          \
		runtime_leave();                                               \
		return r;                                                      \
	} while (0)

EXPORT int pthread_setspecific(pthread_key_t key, const void *value)
{
	SPECIFIC(pthread_setspecific);
}

EXPORT int tss_set(tss_t key, void *value)
{
	SPECIFIC(tss_set);
}

/* The thread control block lies on top of the stack, and the kernel writes there when the thread exits, without
 * being able to wait for a page: that part stays local. */
static void pin_stack_top(char *stack, size_t size)
{
	char *end = (char *)(((uintptr_t)stack + size + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK);
	char *at =
		(char *)((uintptr_t)(size > TCB_BYTES ? end - TCB_BYTES : stack) & ~LEAP_PAGE_MASK);
	char *part;

	if (!managed(at, (size_t)(end - at)))
		return;
	while (space_mark_next(MARK_STACK, &at, end, &part) == 1)
		if (region_pin(preload.region, part, (size_t)(at - part)))
			log_warn(
				"a thread's stack lies in managed memory and cannot be kept local: "
				"raise the limit (option local)");
}

EXPORT int pthread_attr_setstack(pthread_attr_t *attr, void *stack, size_t size)
{
	int err = REAL(pthread_attr_setstack)(attr, stack, size);

	if (!err && !in_runtime())
		pin_stack_top(stack, size);
	return err;
}

/* The old way: the address is the stack's upper end, its size unknown yet. */
EXPORT int pthread_attr_setstackaddr(pthread_attr_t *attr, void *end)
{
	int (*real)(pthread_attr_t *, void *) =
		(int (*)(pthread_attr_t *, void *))dlsym(RTLD_NEXT, "pthread_attr_setstackaddr");
	int err = real(attr, end);

	if (!err && !in_runtime())
		pin_stack_top((char *)end - TCB_BYTES, TCB_BYTES);
	return err;
}
