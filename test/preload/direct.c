/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct.c - O_DIRECT, by each way that gives it: under the mover wp nothing has it, under move only what a file system
 * pins. What is read and written is the same. fstatfs() is this program's own, to play a file system of another kind.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "hidden.h"
#include "test.h"

static bool nfs;

__attribute__((visibility("default"))) int fstatfs(int fd, struct statfs *fs)
{
	int r = (int)syscall(SYS_fstatfs, fd, fs);

	if (nfs)
		fs->f_type = 0x6969;
	return r;
}

static bool is_direct(int fd)
{
	return fcntl(fd, F_GETFL) & O_DIRECT;
}

static void check(const char *what, int fd)
{
	const char *mover = getenv("LEAP_MOVER");

	CHECK(fd >= 0);
	CHECK(is_direct(fd) == (!mover || (!strcmp(mover, "move") && !nfs)));
	close(fd);
	puts(what);
}

static void by_each_way(const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECT};
	struct {
		struct file_handle handle;
		char room[MAX_HANDLE_SZ];
	} place = {.handle.handle_bytes = MAX_HANDLE_SZ};
	int mount, fd, dir = open(".", O_RDONLY);

	check("open", open(path, O_RDONLY | O_DIRECT));
	check("openat", openat(AT_FDCWD, path, O_RDONLY | O_DIRECT));
	check("openat by number", (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_DIRECT));
	fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	if (fd >= 0)
		check("openat2", fd);
	show("openat2 of nothing", syscall(SYS_openat2, AT_FDCWD, path, NULL, sizeof(how)));
	for (int how_many = 0; how_many < 4; how_many++) {
		char name[] = "direct-XXXXXX.tmp", plain[] = "direct-XXXXXX";
		char *temporary = how_many < 2 ? plain : name;

		fd = how_many == 0   ? mkostemp(plain, O_DIRECT)
		     : how_many == 1 ? mkostemp64(plain, O_DIRECT)
		     : how_many == 2 ? mkostemps(name, 4, O_DIRECT)
				     : mkostemps64(name, 4, O_DIRECT);
		unlink(temporary);
		check("a temporary file", fd);
	}
	fd = open(path, O_RDONLY);
	CHECK(!fcntl(fd, F_SETFL, O_DIRECT));
	check("fcntl", fd);
	fd = open(path, O_RDONLY);
	CHECK(!syscall(SYS_fcntl, fd, F_SETFL, O_DIRECT));
	check("fcntl by number", fd);
	if (!name_to_handle_at(AT_FDCWD, path, &place.handle, &mount, 0)) {
		fd = open_by_handle_at(dir, &place.handle, O_RDONLY | O_DIRECT);
		if (fd >= 0)
			check("open_by_handle_at", fd);
	}
	close(dir);
}

/* In packets, which have nothing to do with the page cache. */
static void pipes(void)
{
	char bytes[10];
	int fd[2];

	CHECK(!pipe(fd));
	CHECK(!fcntl(fd[1], F_SETFL, O_DIRECT));
	CHECK(is_direct(fd[1]));
	CHECK(write(fd[1], "abc", 3) == 3 && write(fd[1], "de", 2) == 2);
	printf("packet %zd\n", read(fd[0], bytes, sizeof(bytes)));
	close(fd[0]);
	close(fd[1]);
}

/* The program starts again, with a descriptor that it got by no call that is seen. */
static void start_again(const char *self, const char *path)
{
	int fd = (int)hidden(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_DIRECT, 0);
	char number[16];

	CHECK(is_direct(fd));
	snprintf(number, sizeof(number), "%d", fd);
	unlink(path);
	execl(self, self, number, NULL);
	CHECK(false);
}

int main(int argc, char **argv)
{
	char path[] = "./leap-test-XXXXXX";
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1) {
		check("inherited", atoi(argv[1]));
		return 0;
	}
	fd = mkstemp(path);
	CHECK(fd >= 0);
	close(fd);
	fd = open(path, O_RDONLY | O_DIRECT);
	if (fd >= 0) {
		close(fd);
		by_each_way(path);
		nfs = true;
		by_each_way(path);
		pipes();
		start_again(argv[0], path);
	}
	puts("no O_DIRECT here");
	pipes();
	unlink(path);
	return 0;
}
