/* SPDX-License-Identifier: Apache-2.0 */
/*
 * affinity.c - what a program does with its threads' affinity, it does without our anchor: threads and processes
 * inherit it, and it can be asked for and changed (libleap/uffd/anchor.h). fork() lets go by itself (libleap/fork.c).
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "libleap/uffd/anchor.h"
#include "preload/preload.h"

/* The C library's own. */
static struct {
	__typeof__(pthread_create) *pthread_create;
	__typeof__(thrd_create) *thrd_create;
	__typeof__(posix_spawn) *posix_spawn, *posix_spawnp;
	__typeof__(system) *system;
	__typeof__(popen) *popen;
	__typeof__(timer_create) *timer_create;
	__typeof__(pthread_getaffinity_np) *pthread_getaffinity_np;
	__typeof__(pthread_setaffinity_np) *pthread_setaffinity_np;
	__typeof__(sched_getaffinity) *sched_getaffinity;
	__typeof__(sched_setaffinity) *sched_setaffinity;
} real;

/* vfork() returns twice on one stack, so it must be jumped to, not called. */
__attribute__((visibility("hidden"), used)) pid_t (*affinity_vfork)(void);

#define RESOLVE(name) real.name = (__typeof__(real.name))dlsym(RTLD_NEXT, #name)

static void resolve(void)
{
	RESOLVE(pthread_create);
	RESOLVE(thrd_create);
	RESOLVE(posix_spawn);
	RESOLVE(posix_spawnp);
	RESOLVE(system);
	RESOLVE(popen);
	RESOLVE(timer_create);
	RESOLVE(pthread_getaffinity_np);
	RESOLVE(pthread_setaffinity_np);
	RESOLVE(sched_getaffinity);
	RESOLVE(sched_setaffinity);
	affinity_vfork = (pid_t(*)(void))dlsym(RTLD_NEXT, "vfork");
}

/* The pager's own threads need none of it. Returns whether unanchored_end() must follow. */
static bool unanchored_begin(void)
{
	if (!real.pthread_create)
		resolve();
	if (!preload_ready() || in_runtime())
		return false;
	anchor_hold();
	return true;
}

#define UNANCHORED(type, call)                  \
	do {                                    \
		bool held = unanchored_begin(); \
		type result = (call);           \
                                                \
		if (held)                       \
			anchor_unhold();        \
		return result;                  \
	} while (0)

EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
			  void *(*start)(void *), void *restrict arg)
{
	UNANCHORED(int, real.pthread_create(thread, attr, start, arg));
}

EXPORT int thrd_create(thrd_t *thread, thrd_start_t start, void *arg)
{
	UNANCHORED(int, real.thrd_create(thread, start, arg));
}

EXPORT int posix_spawn(pid_t *restrict pid, const char *restrict path,
		       const posix_spawn_file_actions_t *restrict actions,
		       const posix_spawnattr_t *restrict attr, char *const argv[restrict],
		       char *const envp[restrict])
{
	UNANCHORED(int, real.posix_spawn(pid, path, actions, attr, argv, envp));
}

EXPORT int posix_spawnp(pid_t *restrict pid, const char *restrict file,
			const posix_spawn_file_actions_t *restrict actions,
			const posix_spawnattr_t *restrict attr, char *const argv[restrict],
			char *const envp[restrict])
{
	UNANCHORED(int, real.posix_spawnp(pid, file, actions, attr, argv, envp));
}

EXPORT int system(const char *command)
{
	UNANCHORED(int, real.system(command));
}

EXPORT FILE *popen(const char *command, const char *mode)
{
	UNANCHORED(FILE *, real.popen(command, mode));
}

EXPORT int timer_create(clockid_t clock, struct sigevent *restrict event, timer_t *restrict timer)
{
	UNANCHORED(int, real.timer_create(clock, event, timer));
}

EXPORT int sched_getaffinity(pid_t thread, size_t size, cpu_set_t *set)
{
	UNANCHORED(int, real.sched_getaffinity(thread, size, set));
}

EXPORT int sched_setaffinity(pid_t thread, size_t size, const cpu_set_t *set)
{
	UNANCHORED(int, real.sched_setaffinity(thread, size, set));
}

EXPORT int pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t *set)
{
	UNANCHORED(int, real.pthread_getaffinity_np(thread, size, set));
}

EXPORT int pthread_setaffinity_np(pthread_t thread, size_t size, const cpu_set_t *set)
{
	UNANCHORED(int, real.pthread_setaffinity_np(thread, size, set));
}

/* Lets the thread go. It is not held again before the child is made: that takes many faults. */
__attribute__((visibility("hidden"), used)) void affinity_before_vfork(void)
{
	if (unanchored_begin())
		anchor_unhold();
}

#if defined(__x86_64__)
__asm__(".text\n"
	".globl vfork\n"
	".type vfork, @function\n"
	"vfork:\n"
	"	subq $8, %rsp\n"
	"	call affinity_before_vfork\n"
	"	addq $8, %rsp\n"
	"	jmp *affinity_vfork(%rip)\n"
	".size vfork, .-vfork\n");
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl vfork\n"
	".type vfork, %function\n"
	"vfork:\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	bl affinity_before_vfork\n"
	"	ldp x29, x30, [sp], #16\n"
	"	adrp x16, affinity_vfork\n"
	"	ldr x16, [x16, :lo12:affinity_vfork]\n"
	"	br x16\n"
	".size vfork, .-vfork\n");
#else
#error "how does this machine jump through a pointer?"
#endif
