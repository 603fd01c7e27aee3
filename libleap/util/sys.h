/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h - the system calls that pager code makes, as raw calls.
 *
 * libleap also lives inside libleap_preload.so, which replaces mmap(), munmap(), madvise() and others
 * for the program. Pager code must never reach those replacements, so it calls the kernel through
 * these wrappers only. Each returns 0 (or the value asked for) or -errno; errno itself is not touched
 * on success and carries no meaning on failure.
 */
#ifndef LEAP_UTIL_SYS_H
#define LEAP_UTIL_SYS_H

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libleap/uffd/compat.h"

#define LEAP_PAGE_SHIFT 12
#define LEAP_PAGE_BYTES ((size_t)1 << LEAP_PAGE_SHIFT)
#define LEAP_PAGE_MASK  (LEAP_PAGE_BYTES - 1)

static inline long sys_ret(long r)
{
	return r == -1 ? -errno : r;
}

/* Returns the address, or NULL with *ret_err = -errno (ret_err may be NULL). */
static inline void *sys_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off,
			     int *ret_err)
{
	long r = syscall(SYS_mmap, addr, len, prot, flags, fd, off);

	if (r == -1) {
		if (ret_err)
			*ret_err = -errno;
		return NULL;
	}
	return (void *)r;
}

static inline int sys_munmap(void *addr, size_t len)
{
	return (int)sys_ret(syscall(SYS_munmap, addr, len));
}

static inline int sys_madvise(void *addr, size_t len, int advice)
{
	return (int)sys_ret(syscall(SYS_madvise, addr, len, advice));
}

/* Drops the pages of private memory, also of memory that is locked (which stays so). */
static inline int sys_discard(void *addr, size_t len)
{
	int err = sys_madvise(addr, len, MADV_DONTNEED);

	return err == -EINVAL ? sys_madvise(addr, len, MADV_DONTNEED_LOCKED) : err;
}

static inline int sys_mprotect(void *addr, size_t len, int prot)
{
	return (int)sys_ret(syscall(SYS_mprotect, addr, len, prot));
}

static inline int sys_close(int fd)
{
	return (int)sys_ret(syscall(SYS_close, fd));
}

static inline pid_t sys_gettid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

/* Sleeps while *word == value, for at most timeout_ns (< 0: no limit). 0, -EAGAIN, -EINTR or -ETIMEDOUT. */
static inline int sys_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout_ns)
{
	struct timespec t = {timeout_ns / 1000000000, timeout_ns % 1000000000};

	return (int)sys_ret(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value,
				    timeout_ns < 0 ? NULL : &t, NULL, 0));
}

static inline void sys_sleep_ns(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	syscall(SYS_nanosleep, &t, NULL);
}

static inline int sys_futex_wake(const uint32_t *word, int count)
{
	return (int)sys_ret(syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0));
}

/* CLOCK_MONOTONIC in nanoseconds (vDSO, no system call). */
static inline uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
