/* SPDX-License-Identifier: Apache-2.0 */
/* uffd.c - see uffd.h. */
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "libleap/error.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/fd.h"
#include "libleap/util/sys.h"

#define AGAIN_MAX 10000 /* tries of a call that answers EAGAIN; about 10 ms */

int __attribute__((weak)) uffd_ioctl(int fd, unsigned long request, void *arg)
{
	return (int)sys_ret(syscall(SYS_ioctl, fd, request, arg));
}

/* Opened once and kept: a child that gave up its rights, or has another root directory, could not open it. */
static int device_fd(void)
{
	static int device = -EBADF;
	int none = -EBADF, fd = __atomic_load_n(&device, __ATOMIC_ACQUIRE);

	if (fd >= 0)
		return fd;
	fd = fd_own((int)sys_ret(
		syscall(SYS_openat, AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC)));
	if (fd >= 0 && !__atomic_compare_exchange_n(&device, &none, fd, false, __ATOMIC_ACQ_REL,
						    __ATOMIC_ACQUIRE)) {
		fd_close(fd);
		fd = none;
	}
	return fd;
}

static int open_raw(bool nonblock, bool *ret_user_only)
{
	int flags = O_CLOEXEC | (nonblock ? O_NONBLOCK : 0), dev = device_fd();
	long fd;

	*ret_user_only = false;
	if (dev >= 0) {
		fd = sys_ret(syscall(SYS_ioctl, dev, USERFAULTFD_IOC_NEW, flags));
		if (fd >= 0)
			return (int)fd;
	}
	fd = sys_ret(syscall(SYS_userfaultfd, flags));
	if (fd >= 0)
		return (int)fd;
	if (fd == -EPERM) {
		fd = sys_ret(syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY));
		*ret_user_only = fd >= 0;
	}
	return (int)fd;
}

int uffd_open(uint64_t features, bool nonblock, int *ret_fd, bool *ret_user_only)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	bool user_only;
	int fd, err;

	fd = open_raw(nonblock, &user_only);
	if (fd == -ENOSYS)
		return error_set(ENOSYS,
				 "this kernel has no userfaultfd: it needs Linux 5.7 or later "
				 "with CONFIG_USERFAULTFD");
	if (fd < 0)
		return error_set(-fd,
				 "userfaultfd is not allowed here (error %d): run as root, or "
				 "'sysctl vm.unprivileged_userfaultfd=1', or give this user "
				 "/dev/userfaultfd",
				 -fd);
	err = uffd_ioctl(fd, UFFDIO_API, &api);
	if (err) {
		sys_close(fd);
		return error_set(-err,
				 "this kernel's userfaultfd lacks a needed feature (asked for "
				 "0x%lx): see `leap probe`",
				 (unsigned long)features);
	}
	*ret_fd = fd;
	*ret_user_only = user_only;
	return 0;
}

int uffd_probe(uint64_t mask, uint64_t *ret_features)
{
	struct uffdio_api api = {.api = UFFD_API};
	bool user_only;
	int fd = open_raw(true, &user_only), err;

	if (fd < 0)
		return uffd_open(0, true, &fd, &user_only); /* for the sentence */
	err = uffd_ioctl(fd, UFFDIO_API, &api);
	sys_close(fd);
	if (err)
		return error_set(-err, "the kernel refused UFFDIO_API (error %d)", -err);
	*ret_features = api.features & mask;
	return 0;
}

int uffd_register(int fd, void *addr, size_t len, bool wp)
{
	struct uffdio_register reg = {
		.range = {(uintptr_t)addr, len},
		.mode = UFFDIO_REGISTER_MODE_MISSING | (wp ? UFFDIO_REGISTER_MODE_WP : 0),
	};

	return uffd_ioctl(fd, UFFDIO_REGISTER, &reg);
}

int uffd_register_target(int fd, void *addr, size_t len)
{
	struct uffdio_register reg = {
		.range = {(uintptr_t)addr, len},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return uffd_ioctl(fd, UFFDIO_REGISTER, &reg);
}

int uffd_unregister(int fd, void *addr, size_t len)
{
	struct uffdio_range range = {(uintptr_t)addr, len};

	return uffd_ioctl(fd, UFFDIO_UNREGISTER, &range);
}

/*
 * COPY may stop half-way with EAGAIN and says how much was done, to the page (docs/decisions.md). `done` is negative (an
 * error code) or, on older kernels, untouched when nothing was done.
 */
static bool advance(long long done, size_t len, size_t *total)
{
	if (done > 0)
		*total += (size_t)done;
	return *total >= len;
}

int uffd_copy(int fd, void *dst, const void *src, size_t len, bool wake, size_t *ret_bytes)
{
	size_t total = 0;
	int err = 0;

	for (int tries = 0; tries < AGAIN_MAX; tries++) {
		struct uffdio_copy c = {
			.dst = (uintptr_t)dst + total,
			.src = (uintptr_t)src + total,
			.len = len - total,
			.mode = wake ? 0 : UFFDIO_COPY_MODE_DONTWAKE,
		};

		err = uffd_ioctl(fd, UFFDIO_COPY, &c);
		if (!err) {
			total = len;
			break;
		}
		if (advance(c.copy, len, &total) || err != -EAGAIN)
			break;
		/* after progress EAGAIN hides the true reason: the next try tells */
		if (c.copy <= 0)
			sched_yield();
	}
	if (ret_bytes)
		*ret_bytes = total;
	return total >= len ? 0 : err;
}

int uffd_zero(int fd, void *addr, size_t len)
{
	struct uffdio_zeropage z = {
		.range = {(uintptr_t)addr, len},
		.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE,
	};
	int err;

	for (int tries = 0; tries < AGAIN_MAX; tries++) {
		err = uffd_ioctl(fd, UFFDIO_ZEROPAGE, &z);
		if (err != -EAGAIN)
			break;
		sched_yield();
	}
	return err;
}

int uffd_move(int fd, void *dst, void *src, size_t len, bool holes, bool wake)
{
	struct uffdio_move m = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
		.mode = (wake ? 0 : UFFDIO_MOVE_MODE_DONTWAKE) |
			(holes ? UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES : 0),
	};

	return uffd_ioctl(fd, UFFDIO_MOVE, &m);
}

int uffd_wp(int fd, void *addr, size_t len, bool on, bool wake)
{
	struct uffdio_writeprotect wp = {
		.range = {(uintptr_t)addr, len},
		.mode = (on ? UFFDIO_WRITEPROTECT_MODE_WP : 0) |
			(on || wake ? 0 : UFFDIO_WRITEPROTECT_MODE_DONTWAKE),
	};
	int err;

	for (int tries = 0; tries < AGAIN_MAX; tries++) {
		err = uffd_ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
		if (err != -EAGAIN)
			break;
		sched_yield();
	}
	return err;
}

int uffd_wake(int fd, void *addr, size_t len)
{
	struct uffdio_range range = {(uintptr_t)addr, len};

	return uffd_ioctl(fd, UFFDIO_WAKE, &range);
}

int uffd_poison(int fd, void *addr, size_t len)
{
	struct uffdio_poison p = {.range = {(uintptr_t)addr, len}};
	int err;

	for (int tries = 0; tries < AGAIN_MAX; tries++) {
		err = uffd_ioctl(fd, UFFDIO_POISON, &p);
		if (err != -EAGAIN)
			break;
		sched_yield();
	}
	return err;
}

int uffd_read(int fd, struct uffd_msg *msgs, int max)
{
	long r = sys_ret(syscall(SYS_read, fd, msgs, sizeof(*msgs) * (size_t)max));

	if (r == -EAGAIN || r == -EINTR)
		return 0;
	return r < 0 ? (int)r : (int)(r / (long)sizeof(*msgs));
}
