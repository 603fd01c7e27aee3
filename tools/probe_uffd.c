/* SPDX-License-Identifier: Apache-2.0 */
/* probe_uffd.c - see probe.h: how userfaultfd may be opened here, and what it offers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libleap/uffd/compat.h"
#include "tools/probe.h"

#define GROUP "userfaultfd"

/* Bits that older headers do not name, and what each is good for. */
static const struct feature {
	const char *name;
	uint64_t bit;
	enum finding_state without;
	const char *use, *since;
} features[] = {
	{"move", UFFD_FEATURE_MOVE, FINDING_LIMITED, "mover move: pages leave in one step",
	 "6.8, for the mover 6.14 is better"},
	{"write-protect", UFFD_FEATURE_PAGEFAULT_FLAG_WP, FINDING_LIMITED,
	 "mover wp, and single pages that cannot be moved", "5.7"},
	{"poison", UFFD_FEATURE_POISON, FINDING_LIMITED,
	 "touching a lost page is SIGBUS for that thread, not the end of the program", "6.6"},
	{"thread-id", UFFD_FEATURE_THREAD_ID, FINDING_LIMITED,
	 "the fault thread follows the program's thread", "4.14"},
	{"sigbus", UFFD_FEATURE_SIGBUS, FINDING_LIMITED, "front end inline", "4.14"},
	{"event-fork", UFFD_FEATURE_EVENT_FORK, FINDING_NOTE,
	 "not needed: children are followed by other means", "4.11, with CAP_SYS_PTRACE"},
	{"event-remap", UFFD_FEATURE_EVENT_REMAP, FINDING_NOTE, "not needed", "4.11"},
	{"event-remove", UFFD_FEATURE_EVENT_REMOVE, FINDING_NOTE, "not needed", "4.11"},
	{"event-unmap", UFFD_FEATURE_EVENT_UNMAP, FINDING_NOTE, "not needed", "4.11"},
	{"exact-address", 1 << 11, FINDING_NOTE, "not needed", "5.18"},
	{"wp-unpopulated", 1 << 13, FINDING_NOTE, "not needed", "6.4"},
	{"wp-async", 1 << 15, FINDING_NOTE, "not needed", "6.7"},
};

static int open_device(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd;

	if (dev < 0)
		return -errno;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	fd = fd < 0 ? -errno : fd;
	close(dev);
	return fd;
}

static int open_call(int flags)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	return fd < 0 ? -errno : (int)fd;
}

static void say_access(struct report *report, const char *name, int fd, const char *use)
{
	if (fd >= 0)
		report_add(report, FINDING_OK, GROUP, name, "%s", use);
	else
		report_add(report, FINDING_NOTE, GROUP, name, "%s: no (%s)", use, strerror(-fd));
}

/* What stands in the way when no descriptor sees all faults. */
static void say_missing(struct report *report, int device, int call, int user)
{
	struct finding *f;

	if (call == -ENOSYS && device < 0) {
		f = report_add(report, FINDING_MISSING, GROUP, "access",
			       "this kernel has no userfaultfd");
		report_remedy(f, "run Linux 5.7 or later with CONFIG_USERFAULTFD=y");
		return;
	}
	f = report_add(report, FINDING_MISSING, GROUP, "access",
		       user >= 0 ? "faults inside system calls are not seen: read(2) into memory "
				   "that is not local would fail"
				 : "not even for faults of user mode: a seccomp filter (a "
				   "container's) forbids it");
	if (user >= 0 || device == -EACCES)
		report_remedy(f,
			      "as root: sysctl -w vm.unprivileged_userfaultfd=1   or: setfacl -m "
			      "u:%u:rw /dev/userfaultfd",
			      (unsigned)geteuid());
	else
		report_remedy(f, "docker run --device /dev/userfaultfd ...   or another seccomp "
				 "profile");
}

static void say_features(struct report *report, uint64_t have)
{
	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		const struct feature *f = &features[i];

		if (have & f->bit)
			report_add(report, FINDING_OK, GROUP, f->name, "%s", f->use);
		else
			report_add(report, f->without, GROUP, f->name, "no: %s (Linux %s)", f->use,
				   f->since);
	}
	if (!(have & (UFFD_FEATURE_MOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP)))
		report_remedy(report_add(report, FINDING_MISSING, GROUP, "mover",
					 "neither move nor write-protect"),
			      "run Linux 5.7 or later");
}

void probe_userfaultfd(struct report *report)
{
	struct uffdio_api api = {.api = UFFD_API};
	int device = open_device(), call = open_call(0), user = open_call(UFFD_USER_MODE_ONLY);
	int best = device >= 0 ? device : call >= 0 ? call : user;

	say_access(report, "device", device, "/dev/userfaultfd");
	say_access(report, "system-call", call, "userfaultfd(2), all faults");
	say_access(report, "user-mode-only", user, "userfaultfd(2), faults of user mode");
	if (device < 0 && call < 0)
		say_missing(report, device, call, user);
	if (best >= 0 && !ioctl(best, UFFDIO_API, &api))
		say_features(report, api.features);
	if (device >= 0)
		close(device);
	if (call >= 0)
		close(call);
	if (user >= 0)
		close(user);
}
