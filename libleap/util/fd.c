/* SPDX-License-Identifier: Apache-2.0 */
/* fd.c - see fd.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libleap/util/fd.h"
#include "libleap/util/sys.h"

#define FLOOR 900
#define KNOWN 65536

static uint64_t owned[KNOWN / 64];

static int remember(int fd)
{
	if (fd >= 0 && fd < KNOWN)
		__atomic_fetch_or(&owned[fd / 64], 1ull << (fd % 64), __ATOMIC_RELAXED);
	return fd;
}

int fd_duplicate(int fd)
{
	int up = (int)sys_ret(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FLOOR));

	/* the limit is low: the highest half of what it allows */
	for (int from = FLOOR / 2; up < 0 && up != -EBADF && from > 2; from /= 2)
		up = (int)sys_ret(syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, from));
	return remember(up);
}

int fd_own(int fd)
{
	int up = fd < 0 ? fd : fd_duplicate(fd);

	if (up < 0)
		return remember(fd);
	sys_close(fd);
	return up;
}

int fd_open_private(const char *path, int flags)
{
	int err = 0, fd = (int)sys_ret(syscall(SYS_openat, AT_FDCWD, path,
					       flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		err = -EIO;
	else if (S_ISREG(st.st_mode) && st.st_uid != geteuid())
		err = -EPERM;
	else if (S_ISREG(st.st_mode) && st.st_mode & 077)
		err = (int)sys_ret(syscall(SYS_fchmod, fd, 0600));
	if (!err)
		return fd;
	sys_close(fd);
	return err;
}

void fd_disown(int fd)
{
	if (fd >= 0 && fd < KNOWN)
		__atomic_fetch_and(&owned[fd / 64], ~(1ull << (fd % 64)), __ATOMIC_RELAXED);
}

void fd_close(int fd)
{
	if (fd < 0)
		return;
	fd_disown(fd);
	sys_close(fd);
}

bool fd_is_owned(int fd)
{
	return fd >= 0 && fd < KNOWN &&
	       __atomic_load_n(&owned[fd / 64], __ATOMIC_RELAXED) & (1ull << (fd % 64));
}

int fd_lowest(void)
{
	for (int w = 0; w < KNOWN / 64; w++) {
		uint64_t bits = __atomic_load_n(&owned[w], __ATOMIC_RELAXED);

		if (bits)
			return w * 64 + __builtin_ctzll(bits);
	}
	return INT_MAX;
}
