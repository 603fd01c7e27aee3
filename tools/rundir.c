/* SPDX-License-Identifier: Apache-2.0 */
/* rundir.c - see rundir.h. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libleap/stats.h"
#include "tools/rundir.h"

long rundir_pid(const char *name)
{
	char *end;
	long pid = *name >= '1' && *name <= '9' ? strtol(name, &end, 10) : 0;

	return pid > 0 && pid <= INT32_MAX && !strcmp(end, ".stats") ? pid : 0;
}

static void sweep(int dir, long pid)
{
	static const char *const suffixes[] = {"stats", "ctl"};
	char name[40];

	for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		snprintf(name, sizeof(name), "%ld.%s", pid, suffixes[i]);
		unlinkat(dir, name, 0);
	}
}

void rundir_sweep(void)
{
	char path[256];
	struct dirent *e;
	DIR *dir;

	if (rundir_path(path, sizeof(path), 0))
		return;
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		long pid = rundir_pid(e->d_name);

		if (pid && kill((pid_t)pid, 0) && errno == ESRCH)
			sweep(dirfd(dir), pid);
	}
	if (dir)
		closedir(dir);
}
