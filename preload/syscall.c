/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall.c - syscall(), for programs that go around the C library's functions; and the raw one for all code of this
 * library.
 *
 * The linker sends our own calls of syscall() to __wrap_syscall() (option --wrap), so that the replacement sees
 * the program's calls only.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "libleap/uffd/anchor.h"
#include "preload/preload.h"

int close_range(unsigned first, unsigned last, int flags);
ssize_t process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice, unsigned flags);
int pkey_mprotect(void *addr, size_t len, int prot, int pkey);
long __wrap_syscall(long number, ...);

struct args {
	long v[6];
};

static inline long kernel(long number, const struct args *a)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = a->v[3];
	register long r8 __asm__("r8") = a->v[4];
	register long r9 __asm__("r9") = a->v[5];
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(number), "D"(a->v[0]), "S"(a->v[1]), "d"(a->v[2]), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long r __asm__("x0") = a->v[0];
	register long x1 __asm__("x1") = a->v[1];
	register long x2 __asm__("x2") = a->v[2];
	register long x3 __asm__("x3") = a->v[3];
	register long x4 __asm__("x4") = a->v[4];
	register long x5 __asm__("x5") = a->v[5];

	__asm__ volatile("svc 0"
			 : "+r"(r)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
#else
#error "how does this machine make a system call?"
#endif
	if ((unsigned long)r < (unsigned long)-4095)
		return r;
	errno = (int)-r;
	return -1;
}

#define READ_ARGS(args, last)                           \
	do {                                            \
		va_list ap;                             \
                                                        \
		va_start(ap, last);                     \
		for (int i = 0; i < 6; i++)             \
			(args).v[i] = va_arg(ap, long); \
		va_end(ap);                             \
	} while (0)

long __wrap_syscall(long number, ...)
{
	struct args a;

	READ_ARGS(a, number);
	return kernel(number, &a);
}

/* A new process with a copy of the memory, on the same stack. */
static long copy_process(long number, const struct args *a)
{
	long pid;

	if (fork_begin())
		return -1;
	pid = kernel(number, a);
	return fork_end((pid_t)pid);
}

/* Those that can give a descriptor O_DIRECT. */
static long open_call(long number, const struct args *a)
{
	switch (number) {
#ifdef SYS_open
	case SYS_open:
		return direct_open_call(number, a->v, 1);
#endif
	case SYS_openat:
	case SYS_open_by_handle_at:
		return direct_open_call(number, a->v, 2);
#ifdef SYS_openat2
	case SYS_openat2:
		return direct_openat2((int)a->v[0], (const char *)a->v[1], (const void *)a->v[2],
				      (size_t)a->v[3]);
#endif
	case SYS_fcntl:
		if ((int)a->v[1] == F_SETFL)
			return fcntl((int)a->v[0], F_SETFL, a->v[2]);
		return kernel(number, a);
	default:
		return kernel(number, a);
	}
}

static long memory_call(long number, const struct args *a)
{
	void *addr = (void *)a->v[0];
	size_t len = (size_t)a->v[1];

	switch (number) {
	case SYS_brk: /* answers with the break */
		if (addr)
			brk(addr);
		return (long)sbrk(0);
	case SYS_mmap:
		return (long)mmap(addr, len, (int)a->v[2], (int)a->v[3], (int)a->v[4], a->v[5]);
	case SYS_munmap:
		return munmap(addr, len);
	case SYS_mremap:
		return (long)mremap(addr, len, (size_t)a->v[2], (int)a->v[3], (void *)a->v[4]);
	case SYS_madvise:
		return madvise(addr, len, (int)a->v[2]);
	case SYS_process_madvise:
		return process_madvise((int)a->v[0], (const struct iovec *)a->v[1], (size_t)a->v[2],
				       (int)a->v[3], (unsigned)a->v[4]);
	case SYS_mprotect:
		return mprotect(addr, len, (int)a->v[2]);
	case SYS_pkey_mprotect:
		return pkey_mprotect(addr, len, (int)a->v[2], (int)a->v[3]);
	case SYS_mincore:
		return mincore(addr, len, (unsigned char *)a->v[2]);
	case SYS_mlock:
		return mlock(addr, len);
	case SYS_mlock2:
		return mlock2(addr, len, (unsigned)a->v[2]);
	case SYS_munlock:
		return munlock(addr, len);
	case SYS_mlockall:
		return mlockall((int)a->v[0]);
	case SYS_munlockall:
		return munlockall();
	default:
		return open_call(number, a);
	}
}

/* The C library's functions answer otherwise. */
static long affinity_call(long number, const struct args *a)
{
	long result;

	anchor_hold();
	result = kernel(number, a);
	anchor_unhold();
	return result;
}

static long clone_call(long number, const struct args *a, uint64_t flags, bool stack)
{
	if (flags & CLONE_VM || stack)
		return kernel(number, a);
	return fork_refuses(flags) ? -1 : copy_process(number, a);
}

static long clone3_call(const struct args *a)
{
	const uint64_t *flags = (const uint64_t *)a->v[0], *stack = flags + 5;

	if ((size_t)a->v[1] < 64)
		return kernel(SYS_clone3, a);
	return clone_call(SYS_clone3, a, *flags, *stack);
}

EXPORT long syscall(long number, ...)
{
	struct args a;

	READ_ARGS(a, number);
	if (unlikely(!preload_ready() || in_runtime()))
		return kernel(number, &a);
	switch (number) {
#ifdef SYS_fork
	case SYS_fork:
		return copy_process(number, &a);
#endif
	case SYS_exit_group:
		_exit((int)a.v[0]);
	case SYS_exit: /* of the only thread that the program has */
		return kernel(threads_single() ? SYS_exit_group : SYS_exit, &a);
	case SYS_clone:
		return clone_call(number, &a, (uint64_t)a.v[0], a.v[1]);
	case SYS_clone3:
		return clone3_call(&a);
	case SYS_close:
		return close((int)a.v[0]);
	case SYS_close_range:
		return close_range((unsigned)a.v[0], (unsigned)a.v[1], (int)a.v[2]);
#ifdef SYS_dup2
	case SYS_dup2:
		return dup2((int)a.v[0], (int)a.v[1]);
#endif
	case SYS_dup3:
		return dup3((int)a.v[0], (int)a.v[1], (int)a.v[2]);
	case SYS_execve:
		return execve((const char *)a.v[0], (char *const *)a.v[1], (char *const *)a.v[2]);
	case SYS_execveat:
		return execveat((int)a.v[0], (const char *)a.v[1], (char *const *)a.v[2],
				(char *const *)a.v[3], (int)a.v[4]);
	case SYS_sched_getaffinity: /* answers with the length */
	case SYS_sched_setaffinity:
		return affinity_call(number, &a);
	case SYS_io_uring_setup:
		return uring_setup_call((unsigned)a.v[0], (void *)a.v[1]);
	case SYS_io_uring_register:
		return uring_register_call((unsigned)a.v[0], (unsigned)a.v[1], (const void *)a.v[2],
					   (unsigned)a.v[3]);
	case SYS_vmsplice:
		return vmsplice((int)a.v[0], (const struct iovec *)a.v[1], (size_t)a.v[2],
				(unsigned)a.v[3]);
	case SYS_setsockopt:
		return setsockopt((int)a.v[0], (int)a.v[1], (int)a.v[2], (const void *)a.v[3],
				  (socklen_t)a.v[4]);
	default:
		return memory_call(number, &a);
	}
}
