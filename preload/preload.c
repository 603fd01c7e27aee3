/* SPDX-License-Identifier: Apache-2.0 */
/* preload.c - the constructor; see preload.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/util/fd.h"
#include "libleap/util/mem.h"
#include "preload/heap.h"
#include "preload/preload.h"
#include "preload/space.h"

#define EXIT_LEAP 125 /* the program was not started */

struct preload preload;

extern char **environ;

/* Takes our entry out of LD_PRELOAD in place: programs started by this one run without Leap. In place, since others
 * hold pointers to the strings. */
static void strip_environment(void)
{
	for (char **e = environ; e && *e; e++) {
		char *value = *e + 11, *at, *end;

		if (strncmp(*e, "LD_PRELOAD=", 11))
			continue;
		at = strstr(value, "libleap_preload.so");
		if (!at)
			continue;
		end = at + strcspn(at, ": ");
		while (at > value && at[-1] != ':' && at[-1] != ' ')
			at--;
		while (*end == ':' || *end == ' ')
			end++;
		memmove(at, end, strlen(end) + 1);
		if (!*value) { /* an empty LD_PRELOAD would be noise: drop the entry */
			for (char **p = e; *p; p++)
				p[0] = p[1];
			e--;
		}
	}
}

static _Noreturn void die(void)
{
	log_error("%s", error_last());
	for (;;)
		syscall(SYS_exit_group, EXIT_LEAP);
}

static int open_log(const struct config *config)
{
	long fd;

	log_set_level((enum log_level)config->log_level);
	if (!config->log_file[0])
		return 0;
	fd = fd_open_private(config->log_file, O_WRONLY | O_APPEND);
	if (fd < 0)
		return error_set((int)-fd,
				 "cannot open the log file %s (error %d%s): choose another with "
				 "log_file",
				 config->log_file, (int)-fd,
				 fd == -ELOOP   ? ", it is a symbolic link"
				 : fd == -EPERM ? ", it belongs to another user"
						: "");
	log_set_fd(fd_own((int)fd));
	return 0;
}

static int start(struct config *config)
{
	int err;

	config_defaults(config);
	err = config_from_env(config);
	if (!err &&
	    config->anchor == ANCHOR_AUTO) /* affinity.c calls anchor_hold() where it must */
		config->anchor = ANCHOR_ON;
	if (!err)
		err = config_check_program(config);
	if (!err)
		err = open_log(config);
	if (!err)
		err = runtime_open(config, &preload.leap);
	if (!err)
		err = region_reserve(preload.leap, config->heap_reserve, &preload.region);
	if (err)
		return err;
	preload.start = leap_region_addr(preload.region);
	preload.end = preload.start + leap_region_bytes(preload.region);
	preload.map_min = config->map_min;
	if (space_init(preload.start, leap_region_bytes(preload.region)))
		return error_set(ENOMEM, "no memory for the table of managed ranges");
	__atomic_store_n(&preload.ready, true, __ATOMIC_RELEASE);
	return hooks_install();
}

/* Before the program's own constructors, as far as the linker lets us. */
__attribute__((constructor(101))) static void preload_start(void)
{
	struct config *config = mem_map(sizeof(*config));

	if (!config) {
		error_set(ENOMEM, "no memory");
		die();
	}
	fork_register();
	fork_resolve();
	direct_resolve();
	fds_resolve();
	uring_resolve();
	threads_prepare();
	heap_find_linker();
	if (start(config))
		die();
	direct_start();
	threads_hide(runtime_threads(preload.leap));
	if (!config->follow_exec)
		strip_environment();
	mem_unmap(config, sizeof(*config));
}

/* Where no destructor runs: as a rule the end of a forked child. */
EXPORT __attribute__((noreturn)) void _exit(int status)
{
	if (preload_ready())
		runtime_withdraw(preload.leap);
	for (;;)
		syscall(SYS_exit_group, status);
}

EXPORT __attribute__((noreturn)) void _Exit(int status)
{
	_exit(status);
}

__attribute__((destructor)) static void preload_end(void)
{
	if (preload_ready())
		runtime_exit(preload.leap);
}
