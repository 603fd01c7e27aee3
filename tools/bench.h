/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - leap bench micro, in parts.
 *
 *   bench.c          the command line; one run for each transport
 *   bench_pattern.c  which page comes next
 *   bench_access.c   filling, accessing, verifying a region
 *   bench_donor.c    a donor of our own for shm and tcp
 *   bench_print.c    table and JSON
 */
#ifndef LEAP_TOOLS_BENCH_H
#define LEAP_TOOLS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "leap.h"
#include "libleap/config.h"
#include "libleap/util/hist.h"
#include "tools/progress.h"

#define BENCH_PATTERNS_MAX 16
#define BENCH_THREADS_MAX  64
#define BENCH_WORDS        1024 /* of 32 bits, in a page */

enum pattern_kind { PATTERN_SEQ, PATTERN_STRIDE, PATTERN_RANDOM, PATTERN_ZIPF };

struct pattern {
	enum pattern_kind kind;
	uint32_t stride;
	double theta; /* exponent of the Zipf distribution */
	char name[24];
};

enum bench_op { OP_READ, OP_WRITE, OPS };
extern const char *const bench_op_names[OPS];

/* What was asked for. */
struct bench {
	uint64_t bytes, pages;
	struct pattern pattern[BENCH_PATTERNS_MAX];
	unsigned npatterns;
	bool op[OPS];
	unsigned threads;
	uint64_t accesses; /* a row; of all threads together */
	bool verify;
	const char *transports; /* list of names, when no donors are given */
	uint32_t clock_ns; /* what reading the clock twice costs: subtracted from each latency */
	struct progress progress;
};

/* One line of the table. */
struct bench_row {
	const struct pattern *pattern;
	enum bench_op op;
	uint64_t accesses, wall_ns, wrong;
	struct hist latency;     /* ns */
	struct leap_stats stats; /* counters: what this row added */
};

/* One session: a region filled, accessed, verified. */
struct bench_run {
	char transport[24];
	char donors[4200];
	char frontend[16], mover[16], prefetch[256], hits[16];
	struct config config; /* of the session */
	struct leap *leap;
	struct leap_region *region;
	uint32_t *seed;  /* of each page's content */
	uint8_t *tag;    /* what was last written into word 1 of each page; 0: nothing yet */
	uint32_t random; /* goes on through all rows, as it does through the fill */
	double fill_s;
	struct bench_row row[BENCH_PATTERNS_MAX * OPS];
	unsigned nrows;
	uint64_t verified, wrong; /* pages compared whole at the end */
};

/* Where the next page comes from: state of one thread in one row. */
struct cursor {
	const struct pattern *pattern;
	uint64_t first, n; /* pages first .. first + n are this thread's (seq, stride) or all */
	uint64_t i;
	uint32_t random;
	/* zipf: rejection-inversion */
	double zipf_from, zipf_span, zipf_edge;
	uint64_t zipf_random;
};

/* "seq,stride10,random,zipf0.8"; a bare "stride" takes `stride`. -EINVAL with the sentence set. */
int pattern_parse_list(const char *text, uint32_t stride, struct pattern *patterns, unsigned max,
		       unsigned *ret_count);
void cursor_init(struct cursor *c, const struct pattern *pattern, uint64_t pages, unsigned thread,
		 unsigned threads, uint32_t random);
uint64_t cursor_next(struct cursor *c);

/* Writes every page once, in order; the content is words of a random sequence, every other one
 * zero, and the page's number in front. */
void bench_fill(struct bench *bench, struct bench_run *run);
/* Measures one row; -errno with the sentence set. */
int bench_measure(struct bench *bench, struct bench_run *run, struct bench_row *row, uint8_t tag);
/* Compares every byte of every page; counts the pages that differ. */
void bench_verify(struct bench *bench, struct bench_run *run);
/* Median of reading the clock twice, ns. */
uint32_t bench_clock_ns(void);

struct bench_donor {
	pid_t pid; /* 0: none */
	int log_fd;
	char uri[160];
};

/* Starts leap-donor for "shm" or "tcp" with memory for bytes; it dies with this program. */
int bench_donor_start(const char *transport, uint64_t bytes, struct bench_donor *ret_donor);
void bench_donor_stop(struct bench_donor *donor);

void bench_print_header(const struct bench *bench, const struct config *config);
void bench_print_run(const struct bench *bench, const struct bench_run *run);
/* path "-": stdout. -errno with the sentence set. */
int bench_print_json(const char *path, const struct bench *bench,
		     const struct bench_run *const *runs, unsigned nruns);

#endif
