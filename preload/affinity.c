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
#include <stdarg.h>
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
	__typeof__(execve) *execve, *execvpe;
	__typeof__(fexecve) *fexecve;
	__typeof__(execveat) *execveat;
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
	RESOLVE(execve);
	RESOLVE(execvpe);
	RESOLVE(fexecve);
	RESOLVE(execveat);
	affinity_vfork = (pid_t(*)(void))dlsym(RTLD_NEXT, "vfork");
}

/* The pager's own threads need none of it. Returns whether anchor_unhold() must follow. */
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

/* Lets the thread go. It is not held again before the child is made, or the program replaced: that takes many faults. */
__attribute__((visibility("hidden"), used)) void affinity_let_go(void)
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
	"	call affinity_let_go\n"
	"	addq $8, %rsp\n"
	"	jmp *affinity_vfork(%rip)\n"
	".size vfork, .-vfork\n");
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl vfork\n"
	".type vfork, %function\n"
	"vfork:\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	bl affinity_let_go\n"
	"	ldp x29, x30, [sp], #16\n"
	"	adrp x16, affinity_vfork\n"
	"	ldr x16, [x16, :lo12:affinity_vfork]\n"
	"	br x16\n"
	".size vfork, .-vfork\n");
#else
#error "how does this machine jump through a pointer?"
#endif

/*
 * A program that replaces this one inherits the affinity, too. Nothing may be counted here: a child of vfork() has the
 * memory of its parent.
 */
#define GOING(call)            \
	do {                   \
		going();       \
		return (call); \
	} while (0)

/* A child made to execute something has published its figures, which nobody would remove. */
static void going(void)
{
	affinity_let_go();
	if (fork_is_child())
		runtime_withdraw(preload.leap);
}

EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
	GOING(real.execve(path, argv, envp));
}

EXPORT int execv(const char *path, char *const argv[])
{
	GOING(real.execve(path, argv, environ));
}

EXPORT int execvp(const char *file, char *const argv[])
{
	GOING(real.execvpe(file, argv, environ));
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
	GOING(real.execvpe(file, argv, envp));
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
	GOING(real.fexecve(fd, argv, envp));
}

EXPORT int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
	GOING(real.execveat(dir, path, argv, envp, flags));
}

static size_t count_arguments(va_list ap)
{
	size_t n = 1;

	while (va_arg(ap, char *))
		n++;
	return n;
}

/* Fills argv[n + 1] with first, the n - 1 others and the NULL behind them. */
static void take_arguments(char **argv, const char *first, size_t n, va_list *ap)
{
	argv[0] = (char *)first;
	for (size_t i = 1; i <= n; i++)
		argv[i] = va_arg(*ap, char *);
}

/* The list form of a call: argv is an array on the stack, and after it comes what `last` takes from the list. */
#define LIST_FORM(first, last, call)                 \
	do {                                         \
		size_t n;                            \
		va_list ap;                          \
                                                     \
		va_start(ap, first);                 \
		n = count_arguments(ap);             \
		va_end(ap);                          \
		char *argv[n + 1];                   \
		va_start(ap, first);                 \
		take_arguments(argv, first, n, &ap); \
		last;                                \
		va_end(ap);                          \
		GOING(call);                         \
	} while (0)

EXPORT int execl(const char *path, const char *first, ...)
{
	LIST_FORM(first, (void)0, real.execve(path, argv, environ));
}

EXPORT int execlp(const char *file, const char *first, ...)
{
	LIST_FORM(first, (void)0, real.execvpe(file, argv, environ));
}

EXPORT int execle(const char *path, const char *first, ...)
{
	char *const *envp;

	LIST_FORM(first, envp = va_arg(ap, char *const *), real.execve(path, argv, envp));
}
