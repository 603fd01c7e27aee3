/* SPDX-License-Identifier: Apache-2.0 */
/* probe_host.c - see probe.h: what else the machine and this user have. */
#include <dirent.h>
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/stats.h"
#include "libleap/transport/transport.h"
#include "libleap/util/cgroup.h"
#include "tools/check.h"
#include "tools/human.h"
#include "tools/probe.h"
#include "tools/tool.h"

/* First line of a file, without its end; "" when it cannot be read. */
static const char *read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");

	if (!f || !fgets(buf, (int)size, f))
		buf[0] = '\0';
	if (f)
		fclose(f);
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

static uint64_t meminfo(const char *name)
{
	char line[128];
	unsigned long kib = 0;
	size_t n = strlen(name);
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, n) && sscanf(line + n, ": %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return (uint64_t)kib << 10;
}

static void cgroup(struct report *report)
{
	char limit[HUMAN_BYTES], left[HUMAN_BYTES], managed[HUMAN_BYTES];
	struct cgroup_memory m;

	cgroup_memory("", &m);
	if (m.limit == UINT64_MAX)
		report_add(report, FINDING_OK, "machine", "memory cgroup", "no limit");
	else
		report_add(report, FINDING_OK, "machine", "memory cgroup",
			   "%s in %s, %s left; --local takes at most %s",
			   human_bytes(m.limit, limit), m.group, human_bytes(m.available, left),
			   human_bytes(cgroup_managed(&m), managed));
}

static void machine(struct report *report)
{
	char total[HUMAN_BYTES], available[HUMAN_BYTES];
	struct utsname u;

	if (!uname(&u))
		report_add(report, FINDING_OK, "machine", "kernel", "%s %s", u.sysname, u.release);
	report_add(report, FINDING_OK, "machine", "cpus", "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	report_add(report, FINDING_OK, "machine", "memory", "%s, %s available",
		   human_bytes(meminfo("MemTotal"), total),
		   human_bytes(meminfo("MemAvailable"), available));
	cgroup(report);
}

static void io_uring(struct report *report)
{
	struct io_uring ring;
	char value[16];
	struct finding *f;
	int err = io_uring_queue_init(4, &ring, 0);

	if (!err) {
		io_uring_queue_exit(&ring);
		report_add(report, FINDING_OK, "io", "io_uring", "used for tcp: donors");
		return;
	}
	f = report_add(report, FINDING_LIMITED, "io", "io_uring",
		       "no (%s): plain sockets are used for tcp: donors", strerror(-err));
	read_line("/proc/sys/kernel/io_uring_disabled", value, sizeof(value));
	if (err == -EPERM && value[0] && value[0] != '0')
		report_remedy(f, "as root: sysctl -w kernel.io_uring_disabled=0");
	else if (err == -EPERM)
		report_remedy(f,
			      "a seccomp filter (a container's) forbids it: use another profile");
	else if (err == -ENOMEM)
		report_remedy(f, "ulimit -l unlimited");
}

/* Was it built without RDMA? Then nothing stands in the table but open(), which says so. */
static bool built_with_rdma(void)
{
	return transport_find("rdma")->lane_open != NULL;
}

static void rdma(struct report *report)
{
	DIR *dir = opendir("/sys/class/infiniband");
	char names[96] = "";
	struct dirent *e;
	size_t n = 0;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.' && n < sizeof(names))
			n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
					      e->d_name);
	if (dir)
		closedir(dir);
	if (!built_with_rdma())
		report_add(report, FINDING_NOTE, "io", "rdma",
			   "%s; this build has no RDMA: rdma-core was not there",
			   names[0] ? names : "no device");
	else if (names[0])
		report_add(report, FINDING_OK, "io", "rdma", "device %s", names);
	else
		report_add(report, FINDING_NOTE, "io", "rdma",
			   "no device: use tcp: or shm: donors");
}

static void limit(struct report *report, const char *name, int resource, uint64_t least,
		  const char *use, const char *remedy)
{
	struct rlimit l;
	char text[HUMAN_BYTES];
	struct finding *f;

	if (getrlimit(resource, &l))
		return;
	if (l.rlim_cur == RLIM_INFINITY)
		strcpy(text, "unlimited");
	else if (resource == RLIMIT_NOFILE)
		snprintf(text, sizeof(text), "%lu", (unsigned long)l.rlim_cur);
	else
		human_bytes(l.rlim_cur, text);
	f = report_add(report, l.rlim_cur < least ? FINDING_MISSING : FINDING_OK, "limits", name,
		       "%s; %s", text, use);
	if (l.rlim_cur < least)
		report_remedy(f, "%s", remedy);
}

static void limits(struct report *report)
{
	struct config *config = calloc(1, sizeof(*config));
	char value[80], word[32] = "";
	const char *at;

	limit(report, "open-files", RLIMIT_NOFILE, 64, "ulimit -n", "ulimit -n 1024");
	limit(report, "memlock", RLIMIT_MEMLOCK, 0,
	      built_with_rdma() ? "ulimit -l: for rdma: donors, 2.5M a donor and fault thread"
				: "ulimit -l: not needed by this build",
	      "");
	if (config) {
		config_defaults(config);
		if (check_limits(config))
			report_add(report, FINDING_MISSING, "limits", "address-space", "%s",
				   error_last());
		else
			report_add(report, FINDING_OK, "limits", "address-space",
				   "the managed region can be reserved");
	}
	free(config);
	/* "always [madvise] never" */
	read_line("/sys/kernel/mm/transparent_hugepage/enabled", value, sizeof(value));
	at = strchr(value, '[');
	if (at)
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(at + 1, "]"), at + 1);
	report_add(report, FINDING_OK, "limits", "huge-pages",
		   "transparent huge pages: %s; managed memory uses pages of 4K",
		   word[0] ? word : "not there");
}

static void own_files(struct report *report)
{
	char path[PATH_MAX];

	if (tool_find_preload(path, sizeof(path)))
		report_add(report, FINDING_MISSING, "leap", "preload", "%s", error_last());
	else
		report_add(report, FINDING_OK, "leap", "preload", "%s", path);
	if (tool_find_donor(path, sizeof(path)))
		report_add(report, FINDING_NOTE, "leap", "donor", "%s", error_last());
	else
		report_add(report, FINDING_OK, "leap", "donor", "%s", path);
	if (rundir_path(path, sizeof(path), 1))
		report_add(report, FINDING_LIMITED, "leap", "run-directory",
			   "no leap stat and leap ctl: %s", error_last());
	else
		report_add(report, FINDING_OK, "leap", "run-directory", "%s", path);
}

void probe_host(struct report *report)
{
	machine(report);
	probe_userfaultfd(report);
	io_uring(report);
	rdma(report);
	limits(report);
	own_files(report);
}
