/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - see check.h. */
#include "tools/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/policy.h"
#include "libleap/recorder_file.h"
#include "libleap/transport/transport.h"
#include "libleap/transport/uri.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/fd.h"
#include "tools/tool.h"

#define DESCRIPTORS_MIN 64
#define RESERVE_TRIES   7 /* as region_reserve(): down to 1/64 */

int check_options(const struct config *config)
{
	const struct prefetcher_ops *ops;
	const struct replay_future *future;
	int err = config_check(config), fd;

	if (err)
		return err;
	err = policy_open(config->prefetch, &ops, &future);
	if (err)
		return err;
	if (config->trace[0]) {
		err = recorder_create(config->trace, &fd);
		if (err)
			return err;
		close(fd);
	}
	if (!config->log_file[0])
		return 0;
	fd = fd_open_private(config->log_file, O_WRONLY | O_APPEND);
	if (fd < 0)
		return error_set(-fd, "option log_file: cannot write %s (%s); choose another file",
				 config->log_file,
				 fd == -ELOOP   ? "it is a symbolic link"
				 : fd == -EPERM ? "it belongs to another user"
						: strerror(-fd));
	close(fd);
	return 0;
}

int check_userfaultfd(const struct config *config)
{
	struct mover_choice choice;
	bool user_only = false;
	int fd, err;

	err = uffd_open(0, true, &fd, &user_only);
	if (err)
		return err;
	close(fd);
	if (user_only)
		return error_set(
			EPERM,
			"this user's userfaultfd does not see faults inside system calls, so read(2) "
			"into memory that is not local would fail with EFAULT; as root: 'sysctl "
			"vm.unprivileged_userfaultfd=1', or 'setfacl -m u:%u:rw /dev/userfaultfd'",
			(unsigned)geteuid());
	return mover_choose(config, &choice);
}

static int no_address_space(uint64_t bytes)
{
	struct rlimit limit;
	char value[16] = "", want[32];
	FILE *f = fopen("/proc/sys/vm/overcommit_memory", "re");

	if (f && !fgets(value, sizeof(value), f))
		value[0] = '\0';
	if (f)
		fclose(f);
	format_size(bytes, want, sizeof(want));
	if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY)
		return error_set(
			ENOMEM,
			"%s of address space cannot be reserved under the limit of %lu MiB "
			"(ulimit -v); raise it, or give a smaller --heap-reserve",
			want, (unsigned long)(limit.rlim_cur >> 20));
	if (value[0] == '2')
		return error_set(
			ENOMEM,
			"%s of address space cannot be reserved, since vm.overcommit_memory "
			"is 2; 'sysctl vm.overcommit_memory=0', or give a smaller "
			"--heap-reserve",
			want);
	return error_set(
		ENOMEM,
		"%s of address space cannot be reserved (%s); give a smaller --heap-reserve", want,
		strerror(errno));
}

int check_limits(const struct config *config)
{
	uint64_t bytes = config->heap_reserve;
	struct rlimit limit;
	void *p = MAP_FAILED;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < DESCRIPTORS_MIN)
		return error_set(
			EMFILE,
			"the limit on open files is %lu, leap needs %d beside the program's "
			"own; 'ulimit -n 1024'",
			(unsigned long)limit.rlim_cur, DESCRIPTORS_MIN);
	for (int i = 0; i < RESERVE_TRIES && p == MAP_FAILED; i++, bytes /= 2)
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return no_address_space(bytes * 2);
	munmap(p, bytes * 2);
	return 0;
}

static int check_donor(const struct donor_uri *uri, const struct transport_params *params,
		       struct port_info *ret_info)
{
	const struct transport_ops *ops;
	struct port *port;
	int err;

	err = transport_open(uri, params, &ops, &port);
	if (err)
		return err;
	memset(ret_info, 0, sizeof(*ret_info));
	err = ops->info(port, true, ret_info);
	ops->close(port);
	return err;
}

static void make_params(const struct config *config, struct transport_params *params)
{
	*params = (struct transport_params){
		.deadline_ns = config->deadline_ns,
		.client_name = "leap run (check)",
		.loop_bytes_max = config->loop_bytes_max,
		.loop_compress = config->loop_compress,
		.io_uring = config->io_uring,
		.rdma_device = config->rdma_device,
	};
	if (getrandom(params->client_id, sizeof(params->client_id), GRND_NONBLOCK) < 0)
		params->client_id[0] = (uint64_t)getpid();
}

/* Which are full: all is an error, some a warning. */
static int judge_full(const struct donor_uri *list, const bool *full, int n)
{
	char text[300] = "";
	int count = 0;

	for (int i = 0; i < n; i++)
		count += full[i];
	for (int i = 0; i < n; i++) {
		if (!full[i])
			continue;
		uri_format(&list[i], text, sizeof(text));
		if (count < n)
			tool_warn("donor %s is full: it lends nothing now", text);
	}
	if (count < n)
		return 0;
	if (n > 1)
		return error_set(ENOSPC,
				 "all donors are full, %s too: nothing can be borrowed; start "
				 "another, or give one more memory (leap-donor --memory)",
				 text);
	return error_set(ENOSPC,
			 "donor %s is full: nothing can be borrowed; start another donor, or give "
			 "this one more memory (leap-donor --memory)",
			 text);
}

int check_donors(const struct config *config)
{
	struct donor_uri *list = calloc(LEAP_DONORS_MAX, sizeof(*list));
	struct transport_params params;
	bool full[LEAP_DONORS_MAX];
	int n, err = 0;

	if (!list)
		return error_set(ENOMEM, "no memory");
	make_params(config, &params);
	n = uri_parse_list(config->donors, list, LEAP_DONORS_MAX);
	if (n < 0)
		err = n;
	for (int i = 0; i < n && !err; i++) {
		struct port_info info;

		err = check_donor(&list[i], &params, &info);
		full[i] = !err && info.free_bytes < LEAP_SLAB_BYTES;
	}
	if (!err)
		err = judge_full(list, full, n);
	free(list);
	return err;
}
