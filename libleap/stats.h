/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - the page of figures that a session publishes for `leap stat`.
 *
 * A file PID.stats in the run directory (rundir_path()), mapped shared by the session (which writes about
 * ten times a second when something changed) and read by anyone who may. `seq` is odd while a write is under way.
 * Counters only grow; gauges say what is now.
 */
#ifndef LEAP_STATS_H
#define LEAP_STATS_H

#include <stddef.h>
#include <stdint.h>
#include "leap.h"

#define STATS_MAGIC      0x5441545350414c31ull
#define STATS_DONORS_MAX 16

struct stats_donor {
	char text[128];
	uint64_t slabs, bytes_read, bytes_written, free_bytes, stored_bytes;
	uint32_t alive;
	uint32_t pad;
};

struct stats_page {
	uint64_t magic;
	uint32_t size; /* sizeof(struct stats_page) */
	uint32_t seq;
	uint64_t pid;
	uint64_t start_ns;  /* CLOCK_MONOTONIC at open */
	uint64_t update_ns; /* CLOCK_MONOTONIC of the last write */
	char program[64];
	char frontend[16], mover[16], prefetch[16], hits[16];
	struct leap_stats stats;
	uint32_t ndonors;
	uint32_t pad;
	struct stats_donor donor[STATS_DONORS_MAX];
};

/* The run directory: $LEAP_RUN_DIR, else /run/leap for root, else $XDG_RUNTIME_DIR/leap, else /tmp/leap-UID.
 * Creates it (mode 0700) when create is set. Returns 0 or -errno. */
int rundir_path(char *buf, size_t size, int create);
/* May what is in the directory be trusted: is it this user's or root's, and can nobody else write into it? 0, -EPERM, -ENOENT. */
int rundir_check(const char *path);
/* Makes and maps PID.stats for writing; NULL (with the sentence set) when it cannot. */
struct stats_page *stats_page_create(void);
void stats_page_remove(struct stats_page *page);
/* Removes this process's file, but leaves the mapping to threads that still write to it. */
void stats_page_withdraw(void);
/* Opens another process's page for reading: copies a consistent picture. 0, -ENOENT, -EPROTO. */
int stats_page_read(long pid, struct stats_page *ret_page);

#endif
