/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c - a program that gives up its rights: no thread of the process keeps them. Its children, and those of one that
 * has another root directory, another network, or less room for descriptors, read what it had.
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "test.h"

/* How many threads have another user or group than the process now has. */
static int strangers(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	int n = 0;

	CHECK(dir);
	while ((e = readdir(dir))) {
		unsigned id[4], uid = getuid(), gid = getgid();
		char path[300], line[256];
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		f = fopen(path, "r");
		CHECK(f);
		while (fgets(line, sizeof(line), f)) {
			if (sscanf(line, "Uid: %u %u %u %u", &id[0], &id[1], &id[2], &id[3]) == 4)
				n += id[0] != uid || id[1] != uid || id[2] != uid;
			if (sscanf(line, "Gid: %u %u %u %u", &id[0], &id[1], &id[2], &id[3]) == 4)
				n += id[0] != gid || id[1] != gid || id[2] != gid;
		}
		fclose(f);
	}
	closedir(dir);
	return n;
}

static void drop(int how)
{
	gid_t group = 65534;
	char *data = malloc(20 * MIB);

	fill(data, 20 * MIB, 1);
	CHECK(!setgroups(1, &group));
	if (how == 0)
		CHECK(!setgid(65534) && !setuid(65534));
	else if (how == 1)
		CHECK(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
	else
		CHECK(!setregid(65534, 65534) && !setreuid(65534, 65534));
	printf("uid %d gid %d, threads with another: %d\n", (int)getuid(), (int)getgid(),
	       strangers());
	pressure();
	CHECK_FILLED(data, 20 * MIB, 1);
	CHECK(setuid(0) && errno == EPERM);
	fflush(stdout);
	_exit(0);
}

/* Also what only a system call touches. */
static void generation(const char *data, int null, int depth)
{
	int status = -1;
	pid_t pid;

	pressure();
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		for (size_t i = 0; i < 20 * MIB; i += 64 * PAGE)
			CHECK(write(null, data + i, PAGE) == (ssize_t)PAGE);
		CHECK_FILLED(data, 20 * MIB, 2);
		if (depth)
			generation(data, null, depth - 1);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void give_up(int how)
{
	struct rlimit limit = {64, 64};

	switch (how) {
	case 0:
		CHECK(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534));
		break;
	case 1:
		CHECK(!mkdir("empty", 0755) && !chroot("empty") && !chdir("/"));
		break;
	case 2:
		CHECK(!unshare(CLONE_NEWNET));
		break;
	case 3:
		CHECK(!unshare(CLONE_NEWNS));
		break;
	case 4:
		CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
		break;
	}
}

static void family(int how)
{
	char *data = malloc(20 * MIB);
	int null = memfd_create("sink", 0);

	CHECK(null >= 0);
	fill(data, 20 * MIB, 2);
	pressure();
	give_up(how);
	/* the second generation of another network has none to reach a donor by */
	generation(data, null, how == 2 ? 0 : 2);
	generation(data, null, 0);
	CHECK_FILLED(data, 20 * MIB, 2);
	printf("family %d\n", how);
	fflush(stdout);
	_exit(0);
}

int main(void)
{
	if (getuid()) {
		puts("not root");
		return 0;
	}
	for (int how = 0; how < 3; how++) {
		int status;
		pid_t pid = fork();

		if (!pid)
			drop(how);
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	for (int how = 0; how < 5; how++) {
		int status;
		pid_t pid = fork();

		if (!pid)
			family(how);
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	}
	printf("still %d\n", (int)getuid());
	return 0;
}
