/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what the donor was told: command line over configuration file over defaults.
 *
 * One table in options.c makes the flags, the names in the file and the help. Line in the file:
 * "name = value", '#' starts a comment, a switch may stand alone.
 */
#ifndef DONOR_OPTIONS_H
#define DONOR_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_LISTEN_MAX 16

struct listen_address {
	bool shm, rdma;
	bool either;    /* RDMA where a device has the address, else TCP */
	char host[256]; /* or the shm name */
	char port[8];
};

struct options {
	struct listen_address listen[OPTIONS_LISTEN_MAX];
	unsigned nlisten;
	uint64_t memory_bytes;      /* most that is lent; 0 = half of what is available at start */
	uint64_t quota_bytes;       /* most for one client; 0 = all */
	uint64_t reserve_bytes;     /* memory that the machine keeps for itself; 0 = do not look */
	uint64_t deadline_ns;       /* handshakes, clone tickets */
	uint64_t client_timeout_ns; /* a client's machine that is silent for so long is dead */
	uint64_t drain_timeout_ns;
	uint64_t spin_ns; /* workers poll so long before they sleep */
	uint32_t clients_max;
	uint32_t threads;  /* 0 = one a core, at most 4 */
	int32_t numa_node; /* -1 = anywhere */
	bool hugepages;
	bool lazy; /* take a slab's memory when it is written, not when it is granted */
	bool log_journal;
	uint32_t log_level; /* enum report_level */
	char pidfile[256];
	char config[256];
};

/* From the command line; prints help, usage errors (exit status 2) and the version as argp does.
 * 0, or -errno with a sentence in error. */
int options_parse(int argc, char **argv, struct options *options, char *error, size_t size);
/* The same again with the file as it is now; for SIGHUP. */
int options_reload(struct options *options, char *error, size_t size);
/* Names shared with the tests: one value by name. */
int options_set(struct options *options, const char *name, const char *value, char *error,
		size_t size);

#endif
