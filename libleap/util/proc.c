/* SPDX-License-Identifier: Apache-2.0 */
/* proc.c - see proc.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libleap/util/fd.h"
#include "libleap/util/proc.h"
#include "libleap/util/sys.h"

static const char *const paths[PROC_FILES] = {
	[PROC_PAGEMAP] = "self/pagemap", [PROC_MAPS] = "self/maps", [PROC_COMM] = "self/comm",
	[PROC_MEMINFO] = "meminfo",      [PROC_STAT] = "self/stat", [PROC_STATUS] = "self/status",
};

/* A descriptor, or the -errno of its opening. The directory is for a child that changed its root. */
static int files[PROC_FILES] = {-EBADF, -EBADF, -EBADF, -EBADF, -EBADF, -EBADF}, dir = -EBADF;
static unsigned users;

static int open_at(int at, const char *path, int flags)
{
	return fd_own((int)sys_ret(syscall(SYS_openat, at, path, flags | O_CLOEXEC)));
}

static void open_files(void)
{
	for (int i = 0; i < PROC_FILES; i++)
		__atomic_store_n(&files[i], dir < 0 ? dir : open_at(dir, paths[i], O_RDONLY),
				 __ATOMIC_RELAXED);
}

static void close_files(void)
{
	for (int i = 0; i < PROC_FILES; i++) {
		fd_close(files[i]);
		files[i] = -EBADF;
	}
}

void proc_open(void)
{
	if (__atomic_fetch_add(&users, 1, __ATOMIC_ACQ_REL))
		return;
	dir = open_at(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY);
	open_files();
}

void proc_close(void)
{
	if (__atomic_sub_fetch(&users, 1, __ATOMIC_ACQ_REL))
		return;
	close_files();
	fd_close(dir);
	dir = -EBADF;
}

void proc_forked(void)
{
	close_files();
	open_files();
}

int proc_fd(enum proc_file file)
{
	return __atomic_load_n(&files[file], __ATOMIC_RELAXED);
}

int proc_dir(void)
{
	return dir;
}

long proc_read(enum proc_file file, void *buf, size_t size, off_t at)
{
	int fd = proc_fd(file);

	return fd < 0 ? fd : sys_ret(syscall(SYS_pread64, fd, buf, size, at));
}

/* Fields after the program's name, which may hold anything. */
enum { STAT_THREADS = 18, STAT_EXIT_CODE = 50 };

static unsigned stat_field(const char *at, int field)
{
	unsigned value = 0;

	for (int i = 0; at && i < field; i++)
		at = strchr(at + 1, ' ');
	for (; at && at[1] >= '0' && at[1] <= '9'; at++)
		value = value * 10 + (unsigned)(at[1] - '0');
	return value;
}

unsigned proc_threads_after_main(int *ret_status)
{
	char text[1024], *at;
	long n = proc_read(PROC_STAT, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = 0;
	at = strrchr(text, ')');
	if (!at || at[1] != ' ' || at[2] != 'Z')
		return 0;
	*ret_status = (int)stat_field(at, STAT_EXIT_CODE);
	return stat_field(at, STAT_THREADS);
}

void proc_program(char *buf, size_t size)
{
	long n = proc_read(PROC_COMM, buf, size - 1, 0);

	buf[n > 0 ? n - 1 : 0] = 0; /* ends with a newline */
}
