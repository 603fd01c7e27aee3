/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fds.c - descriptors: a program that closes what it does not own (daemons close everything) must not close the
 * pager's. Also the calls that let the kernel keep references to frames behind our back.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "libleap/log_writer.h"
#include "libleap/util/fd.h"
#include "preload/pins.h"
#include "preload/preload.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

static bool ours(int fd)
{
	return !in_runtime() && fd_is_owned(fd);
}

/* The program gives the numbers up that it was started with. */
static void given_up(unsigned first, unsigned last)
{
	if (first <= 2 && last >= 2 && !in_runtime())
		log_writer_stderr_gone();
}

static int bad(void)
{
	errno = EBADF;
	return -1;
}

EXPORT int close(int fd)
{
	if (ours(fd))
		return bad();
	given_up((unsigned)fd, (unsigned)fd);
	return (int)syscall(SYS_close, fd);
}

EXPORT int dup2(int from, int to)
{
	if (ours(to))
		return bad();
	if (from != to)
		given_up((unsigned)to, (unsigned)to);
#ifdef SYS_dup2
	return (int)syscall(SYS_dup2, from, to);
#else
	if (from == to) /* dup3() refuses that */
		return fcntl(from, F_GETFD) < 0 ? -1 : to;
	return (int)syscall(SYS_dup3, from, to, 0);
#endif
}

EXPORT int dup3(int from, int to, int flags)
{
	if (ours(to))
		return bad();
	if (from != to)
		given_up((unsigned)to, (unsigned)to);
	return (int)syscall(SYS_dup3, from, to, flags);
}

/* The parts of [first, last] between our descriptors. */
EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	unsigned low = (unsigned)fd_lowest();

	if (first > last)
		return (int)syscall(SYS_close_range, first, last, flags);
	if (!(flags & CLOSE_RANGE_CLOEXEC))
		given_up(first, last);
	while (first <= last) {
		unsigned stop = last, at;

		for (at = first > low ? first : low; at <= last && at < 65536; at++)
			if (fd_is_owned((int)at)) {
				stop = at - 1;
				break;
			}
		if (stop + 1 > first && stop != UINT_MAX &&
		    syscall(SYS_close_range, first, stop, flags))
			return -1;
		if (stop == last)
			return 0;
		first = stop + 2;
		if (!first)
			return 0;
	}
	return 0;
}

EXPORT void closefrom(int low)
{
	close_range(low < 0 ? 0 : (unsigned)low, UINT_MAX, 0);
}

/* The C library's own, which replaces the three without a call that is seen here. */
static int (*real_daemon)(int nochdir, int noclose);

void fds_resolve(void)
{
	real_daemon = (__typeof__(real_daemon))dlsym(RTLD_NEXT, "daemon");
}

EXPORT int daemon(int nochdir, int noclose)
{
	int r = real_daemon(nochdir, noclose);

	if (!r && !noclose)
		given_up(0, 2);
	return r;
}

EXPORT ssize_t vmsplice(int fd, const struct iovec *iov, size_t n, unsigned flags)
{
	if (preload_ready())
		runtime_no_recycle(preload.leap);
	return syscall(SYS_vmsplice, fd, iov, n, flags);
}

EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct pins pins = {.n = 0};
	uint64_t umem[2] = {0}; /* struct xdp_umem_reg: address and length come first */
	int r;

	if (level == SOL_SOCKET && name == SO_ZEROCOPY && preload_ready())
		runtime_no_recycle(preload.leap);
	if (level == SOL_XDP && name == XDP_UMEM_REG && preload_ready() && !in_runtime() &&
	    len >= sizeof(umem) && pins_copy(umem, (uintptr_t)value, sizeof(umem)))
		pins_add(&pins, umem[0], umem[1]);
	if (pins_begin(&pins)) {
		errno = ENOMEM;
		return -1;
	}
	r = (int)syscall(SYS_setsockopt, fd, level, name, value, len);
	pins_end(&pins, !r);
	return r;
}
