/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - every option, once.
 *
 * config_table in config.c makes the names of leap_options_set(), the LEAP_* variables, the flags of
 * `leap run`, `leap ctl` keys and the table in the manual (`leap run --help` and a test compare them).
 * Name -> variable: upper case with LEAP_ in front; name -> flag: '_' becomes '-'.
 */
#ifndef LEAP_CONFIG_H
#define LEAP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/util/cgroup.h"
#include "libleap/util/parse.h"

enum config_frontend { FRONTEND_AUTO, FRONTEND_BUSY, FRONTEND_BLOCK, FRONTEND_INLINE };
enum config_anchor { ANCHOR_AUTO, ANCHOR_ON, ANCHOR_OFF };
enum config_mover { MOVER_AUTO, MOVER_MOVE, MOVER_WP };
enum config_hits { HITS_MARKER, HITS_CACHE };
enum config_on_loss { ON_LOSS_SIGBUS, ON_LOSS_ABORT };
enum config_history_key { HISTORY_REGION, HISTORY_PROCESS, HISTORY_THREAD, HISTORY_STREAM };
enum config_fork { FORK_SERVE, FORK_DENY };

/* The local limit: bytes, or a share of what the regions hold at the time. */
struct config_limit {
	uint64_t bytes; /* when percent is 0 */
	uint32_t percent;
};

struct config {
	struct config_limit local; /* --local 1G or 25%; default 50% */
	char donors[4096];         /* URI list; default "loop:" */
	uint64_t deadline_ns;      /* a donor silent for so long is dead; default 5s */
	uint32_t ceiling_percent; /* how far the limit may be exceeded when donors are full; default 25 */
	enum config_on_loss on_loss;

	char prefetch[256]; /* policy; default majority */
	bool prefetching;   /* default on */
	enum config_hits hits;
	uint32_t history_size, history_split;
	uint32_t window_max;     /* 0 = auto: 512 in marker mode, 8 in cache mode */
	uint32_t prefetch_share; /* percent of the limit for pages prefetched and not touched */
	enum config_history_key history_key;
	char exclude_threads[128]; /* names, by commas; "" = none */

	enum config_frontend frontend;
	enum config_anchor
		anchor; /* uffd/anchor.h; auto is off but where somebody calls anchor_hold() */
	enum config_mover mover;
	uint32_t fault_threads; /* 0 = auto */
	uint64_t spin_ns;       /* how long to spin before sleeping; busy */
	uint64_t uffd_features; /* LEAP_UFFD_FEATURES: mask of features to use, default all */
	bool recycle; /* reuse frames of evicted pages (off when pages may be referenced) */
	bool remote;  /* remote path on */
	uint32_t limbo_percent; /* share of the limit kept in limbo; default 3 */

	bool loop_compress;      /* default on */
	uint64_t loop_bytes_max; /* 0 = none */
	bool io_uring;           /* tcp on io_uring; default on */
	bool rejoin;             /* donors that were lost are tried again; default on */
	char rdma_device[80];    /* NAME[:PORT]; empty: by the route */

	/* leap run */
	uint64_t heap_reserve; /* address space for managed memory; default 1T */
	uint64_t map_min;      /* mmap() of at least so much is managed; default 64K */
	bool follow_exec;      /* keep LD_PRELOAD across exec; default off */
	enum config_fork fork;
	bool publish; /* stats page and control socket; default on */
	int log_level;
	char log_file[256];
	char trace[256]; /* file that what happens is recorded into; "" = none */
};

enum config_type {
	CONFIG_SIZE, /* uint64_t bytes: 64K, 1G */
	CONFIG_TIME, /* uint64_t ns: 50us, 5s */
	CONFIG_U32,
	CONFIG_U64_HEX, /* mask */
	CONFIG_BOOL,    /* on/off, yes/no, true/false, 1/0 */
	CONFIG_ENUM,    /* int; words in choices */
	CONFIG_LIMIT,   /* struct config_limit */
	CONFIG_TEXT,    /* char[size] */
};

struct config_option {
	const char *name;
	const char *metavar;
	const char *help;     /* one line */
	const char *fallback; /* the default as text */
	enum config_type type;
	bool live; /* may be changed while running */
	size_t offset, size;
	uint64_t min, max;
	const char *choices; /* CONFIG_ENUM: "auto|busy|block|inline", in the enum's order */
};

/* What leap_options_new() returns. */
struct leap_options {
	struct config config;
};

extern const struct config_option config_table[];
extern const unsigned config_table_count;

void config_defaults(struct config *config);
/* By name, with '_' or '-'; NULL when there is none. */
const struct config_option *config_find(const char *name);
/* Sets one value from text. -ENOENT, -EINVAL, -ERANGE with the sentence set. No malloc. */
int config_set(struct config *config, const char *name, const char *value);
/* The value as text that config_set() takes. -ENOENT, -ENOSPC. */
int config_get(const struct config *config, const char *name, char *buf, size_t size);
/* Reads all LEAP_* variables. */
int config_from_env(struct config *config);
/* Checks what single values cannot show (history_split <= history_size, ...). */
int config_check(const struct config *config);
/* May an unmodified program run with these? -EINVAL with the sentence. */
int config_check_program(const struct config *config);
/* Can the local limit hold where the process may have so much memory? An eighth of that is for what is not managed. -ERANGE. */
int config_check_memory(const struct config *config, const struct cgroup_memory *memory);
/* "LEAP_NAME" of an option into buf. */
void config_env_name(const struct config_option *option, char *buf, size_t size);

/* "1G" or "25%": -EINVAL, -ERANGE (a share outside 1..100); sentence set by the caller. The other parsers
 * stand in util/parse.h. */
int parse_limit(const char *text, struct config_limit *ret_limit);

#endif
