/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct.c - O_DIRECT with the mover `wp`: a device that writes into a page is not stopped by write-protection, and a
 * page that is evicted meanwhile would lose what the device wrote. So files are opened without O_DIRECT; the page cache
 * gives the same bytes. (The mover `move` is refused such pages by the kernel.)
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>

#include "preload/preload.h"

static struct {
	int (*open)(const char *path, int flags, ...);
	int (*openat)(int dir, const char *path, int flags, ...);
	int (*fcntl)(int fd, int cmd, ...);
} real;

void direct_resolve(void)
{
	real.open = (__typeof__(real.open))dlsym(RTLD_NEXT, "open64");
	real.openat = (__typeof__(real.openat))dlsym(RTLD_NEXT, "openat64");
	real.fcntl = (__typeof__(real.fcntl))dlsym(RTLD_NEXT, "fcntl64");
}

static int strip(int flags)
{
	return unlikely(flags & O_DIRECT) && preload_ready() && !runtime_sees_pins(preload.leap)
		       ? flags & ~O_DIRECT
		       : flags;
}

static int do_open(const char *path, int flags, mode_t mode)
{
	if (!real.open)
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	return real.open(path, strip(flags), mode);
}

static int do_openat(int dir, const char *path, int flags, mode_t mode)
{
	if (!real.openat)
		return (int)syscall(SYS_openat, dir, path, flags, mode);
	return real.openat(dir, path, strip(flags), mode);
}

#define MODE(flags, last)                                                  \
	({                                                                 \
		mode_t m = 0;                                              \
		if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) { \
			va_list ap;                                        \
			va_start(ap, last);                                \
			m = va_arg(ap, mode_t);                            \
			va_end(ap);                                        \
		}                                                          \
		m;                                                         \
	})

EXPORT int open(const char *path, int flags, ...)
{
	return do_open(path, flags, MODE(flags, flags));
}

EXPORT int open64(const char *path, int flags, ...)
{
	return do_open(path, flags, MODE(flags, flags));
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
	return do_openat(dir, path, flags, MODE(flags, flags));
}

EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	return do_openat(dir, path, flags, MODE(flags, flags));
}

/* What these become in programs built with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

EXPORT int __open_2(const char *path, int flags)
{
	return do_open(path, flags, 0);
}

EXPORT int __open64_2(const char *path, int flags)
{
	return do_open(path, flags, 0);
}

EXPORT int __openat_2(int dir, const char *path, int flags)
{
	return do_openat(dir, path, flags, 0);
}

EXPORT int __openat64_2(int dir, const char *path, int flags)
{
	return do_openat(dir, path, flags, 0);
}

static int do_fcntl(int fd, int cmd, long arg)
{
	if (cmd == F_SETFL)
		arg = strip((int)arg);
	return real.fcntl ? real.fcntl(fd, cmd, arg) : (int)syscall(SYS_fcntl, fd, cmd, arg);
}

EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return do_fcntl(fd, cmd, arg);
}

EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return do_fcntl(fd, cmd, arg);
}
