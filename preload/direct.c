/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct.c - O_DIRECT: a page that is evicted while a device writes into it would lose what the device wrote. The mover
 * `wp` sees no such page, so files are opened without O_DIRECT; the page cache gives the same bytes. The mover `move` is
 * refused pages that are pinned, but not those that a file system only refers to.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "preload/pins.h"
#include "preload/preload.h"

static struct {
	int (*open)(const char *path, int flags, ...);
	int (*openat)(int dir, const char *path, int flags, ...);
	int (*fcntl)(int fd, int cmd, ...);
	int (*open_by_handle_at)(int mount, struct file_handle *handle, int flags);
} real;

/* Descriptors that the program was started with. Others who have the same open file lose O_DIRECT, too. */
static void strip_inherited(void)
{
	for (int fd = 0; fd < 1024; fd++) {
		long flags = syscall(SYS_fcntl, fd, F_GETFL);
		struct stat st;

		if (flags != -1 && flags & O_DIRECT && !fstat(fd, &st) && !S_ISFIFO(st.st_mode))
			syscall(SYS_fcntl, fd, F_SETFL, flags & ~O_DIRECT);
	}
}

void direct_resolve(void)
{
	real.open = (__typeof__(real.open))dlsym(RTLD_NEXT, "open64");
	real.openat = (__typeof__(real.openat))dlsym(RTLD_NEXT, "openat64");
	real.fcntl = (__typeof__(real.fcntl))dlsym(RTLD_NEXT, "fcntl64");
	real.open_by_handle_at =
		(__typeof__(real.open_by_handle_at))dlsym(RTLD_NEXT, "open_by_handle_at");
}

void direct_start(void)
{
	if (!runtime_sees_pins(preload.leap))
		strip_inherited();
}

static bool watched(int flags)
{
	return unlikely(flags & O_DIRECT) && preload_ready() && !in_runtime();
}

static int strip(int flags)
{
	return watched(flags) && !runtime_sees_pins(preload.leap) ? flags & ~O_DIRECT : flags;
}

/* Whose O_DIRECT takes plain references to pages (iov_iter_get_pages2() in Linux 6.18, or before it). */
static bool refers_only(int fd)
{
	static const unsigned kinds[] = {
		0x6969,     /* nfs */
		0x01021997, /* 9p */
		0x00c36400, /* ceph */
		0x65735546, /* fuse */
		0x20030528, /* orangefs */
	};
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if ((unsigned)fs.f_type == kinds[i])
			return true;
	return false;
}

static int opened(int fd, int flags)
{
	int saved = errno;

	if (fd >= 0 && watched(flags) && refers_only(fd))
		syscall(SYS_fcntl, fd, F_SETFL, syscall(SYS_fcntl, fd, F_GETFL) & ~O_DIRECT);
	errno = saved;
	return fd;
}

static int do_open(const char *path, int flags, mode_t mode)
{
	if (!real.open)
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	return opened(real.open(path, strip(flags), mode), flags);
}

static int do_openat(int dir, const char *path, int flags, mode_t mode)
{
	if (!real.openat)
		return (int)syscall(SYS_openat, dir, path, flags, mode);
	return opened(real.openat(dir, path, strip(flags), mode), flags);
}

EXPORT int open_by_handle_at(int mount, struct file_handle *handle, int flags)
{
	if (!real.open_by_handle_at)
		return (int)syscall(SYS_open_by_handle_at, mount, handle, flags);
	return opened(real.open_by_handle_at(mount, handle, strip(flags)), flags);
}

long direct_open_call(long number, const long *args, int flags_at)
{
	long v[4] = {args[0], args[1], args[2], args[3]};
	int flags = (int)v[flags_at];

	v[flags_at] = strip(flags);
	return opened((int)syscall(number, v[0], v[1], v[2], v[3]), flags);
}

long direct_openat2(int dir, const char *path, const void *how, size_t size)
{
	uint64_t copy[16] = {0}, flags; /* struct open_how starts with its flags */

	if (size < sizeof(flags) || size > sizeof(copy) || !preload_ready() ||
	    !pins_copy(copy, (uintptr_t)how, size) || !(copy[0] & O_DIRECT))
		return syscall(SYS_openat2, dir, path, how, size);
	flags = copy[0];
	if (!runtime_sees_pins(preload.leap))
		copy[0] &= ~(uint64_t)O_DIRECT;
	return opened((int)syscall(SYS_openat2, dir, path, copy, size), (int)flags);
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

/* The C library opens these by itself. */
#define TEMPORARY(name, flags, ...)                                                      \
	do {                                                                             \
		__typeof__(&(name)) call = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name); \
                                                                                         \
		return opened(call(__VA_ARGS__, strip(flags)), flags);                   \
	} while (0)

EXPORT int mkostemp(char *path, int flags)
{
	TEMPORARY(mkostemp, flags, path);
}

EXPORT int mkostemp64(char *path, int flags)
{
	TEMPORARY(mkostemp64, flags, path);
}

EXPORT int mkostemps(char *path, int suffix, int flags)
{
	TEMPORARY(mkostemps, flags, path, suffix);
}

EXPORT int mkostemps64(char *path, int suffix, int flags)
{
	TEMPORARY(mkostemps64, flags, path, suffix);
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

/* Of a pipe, O_DIRECT means packets. */
static bool is_pipe(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISFIFO(st.st_mode);
}

static int do_fcntl(int fd, int cmd, long arg)
{
	if (cmd == F_SETFL && watched((int)arg) && !is_pipe(fd) &&
	    (!runtime_sees_pins(preload.leap) || refers_only(fd)))
		arg &= ~(long)O_DIRECT;
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
