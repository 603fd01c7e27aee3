/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - leap bench micro: latency of every single access to a region that is larger than the
 * local limit, for each transport and pattern.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/stats.h"
#include "libleap/util/parse.h"
#include "libleap/util/sys.h"
#include "tools/bench.h"
#include "tools/flags.h"
#include "tools/tool.h"

#define RUNS_MAX    8
#define BYTES_MIN   (16ull << 20)
#define SPARE_BYTES (256ull << 20)

struct arguments {
	struct bench bench;
	const char *patterns, *json;
	uint32_t stride;
	bool progress;
};

static const struct flag bench_flags[] = {
	{"size", FLAG_REQUIRED, "SIZE", "size of the region (default 1G)"},
	{"transport", FLAG_REQUIRED, "LIST",
	 "loop, shm, tcp: one after the other, with donors of their own (default all)"},
	{"pattern", FLAG_REQUIRED, "LIST",
	 "seq, stride, strideN, random, zipf, zipfX (default seq,stride,random,zipf)"},
	{"stride", FLAG_REQUIRED, "N", "what stride without a number means (default 10)"},
	{"op", FLAG_REQUIRED, "LIST", "read, write (default both)"},
	{"threads", FLAG_REQUIRED, "N", "threads that access the region (default 1)"},
	{"accesses", FLAG_REQUIRED, "N", "accesses a row (default: one for each page)"},
	{"no-verify", FLAG_NONE, NULL, "do not compare every byte at the end"},
	{"json", FLAG_OPTIONAL, "FILE", "JSON instead of the table, or beside it into FILE"},
	{"progress", FLAG_NONE, NULL, "say how far it is, also when stderr is no terminal"},
};

static int set_ops(struct bench *bench, const char *value)
{
	bench->op[OP_READ] = bench->op[OP_WRITE] = false;
	for (;; value++) {
		size_t n = strcspn(value, ",");
		int op = 0;

		while (op < OPS &&
		       (strlen(bench_op_names[op]) != n || strncmp(bench_op_names[op], value, n)))
			op++;
		if (op == OPS)
			return error_set(EINVAL, "--op: '%.*s' is neither read nor write", (int)n,
					 value);
		bench->op[op] = true;
		value += n;
		if (!*value)
			return 0;
	}
}

static int set_number(const char *name, const char *value, uint32_t max, uint32_t *ret)
{
	if (parse_u32(value, "", ret) || !*ret || *ret > max)
		return error_set(EINVAL, "--%s: '%s' is not a number from 1 to %u", name, value,
				 max);
	return 0;
}

static int set(void *context, const char *name, const char *value)
{
	struct arguments *a = context;
	uint32_t n = 0;
	int err = 0;

	if (!strcmp(name, "size")) {
		if (parse_size(value, &a->bench.bytes) || a->bench.bytes < BYTES_MIN ||
		    a->bench.bytes >> LEAP_PAGE_SHIFT > UINT32_MAX)
			err = error_set(EINVAL,
					"--size: '%s' is not a size of 16M or more, such as 1G",
					value);
	} else if (!strcmp(name, "transport")) {
		a->bench.transports = value;
	} else if (!strcmp(name, "pattern")) {
		a->patterns = value;
	} else if (!strcmp(name, "stride")) {
		err = set_number(name, value, 1u << 20, &a->stride);
	} else if (!strcmp(name, "op")) {
		err = set_ops(&a->bench, value);
	} else if (!strcmp(name, "threads")) {
		err = set_number(name, value, BENCH_THREADS_MAX, &n);
		a->bench.threads = n;
	} else if (!strcmp(name, "accesses")) {
		err = set_number(name, value, UINT32_MAX, &n);
		a->bench.accesses = n;
	} else if (!strcmp(name, "no-verify")) {
		a->bench.verify = false;
	} else if (!strcmp(name, "json")) {
		a->json = value ? value : "-";
	} else {
		a->progress = true;
	}
	return err;
}

/* What `auto` became, as the session itself publishes it. */
static void ask_what_was_chosen(struct bench_run *run)
{
	struct stats_page page;

	for (int i = 0; i < 20; i++) {
		if (!stats_page_read((long)getpid(), &page) && page.frontend[0])
			break;
		page.frontend[0] = page.mover[0] = '\0';
		usleep(50000);
	}
	config_get(&run->config, "frontend", run->frontend, sizeof(run->frontend));
	config_get(&run->config, "mover", run->mover, sizeof(run->mover));
	config_get(&run->config, "hits", run->hits, sizeof(run->hits));
	snprintf(run->prefetch, sizeof(run->prefetch), "%s",
		 run->config.prefetching ? run->config.prefetch : "off");
	if (!page.frontend[0])
		return;
	memcpy(run->frontend, page.frontend, sizeof(run->frontend));
	memcpy(run->mover, page.mover, sizeof(run->mover));
}

static int measure_all(struct bench *bench, struct bench_run *run)
{
	int err = 0;

	bench_fill(bench, run);
	ask_what_was_chosen(run);
	for (int op = 0; op < OPS && !err; op++) {
		for (unsigned p = 0; bench->op[op] && p < bench->npatterns && !err; p++) {
			struct bench_row *row = &run->row[run->nrows++];

			row->op = (enum bench_op)op;
			row->pattern = &bench->pattern[p];
			err = bench_measure(bench, run, row, (uint8_t)run->nrows);
		}
	}
	if (!err && bench->verify)
		bench_verify(bench, run);
	return err;
}

/* One session with run->config. */
static int run_session(struct bench *bench, struct bench_run *run)
{
	struct leap_options *options = leap_options_new();
	int err;

	if (!options)
		return error_set(ENOMEM, "no memory");
	options->config = run->config;
	if (options->config.anchor == ANCHOR_AUTO) /* as under leap run */
		options->config.anchor = ANCHOR_ON;
	err = leap_open(options, &run->leap);
	leap_options_free(options);
	if (err)
		return err;
	run->seed = calloc(bench->pages, sizeof(*run->seed));
	run->tag = calloc(bench->pages, sizeof(*run->tag));
	err = run->seed && run->tag ? leap_region_create(run->leap, bench->bytes, &run->region)
				    : error_set(ENOMEM, "no memory");
	if (!err)
		err = measure_all(bench, run);
	if (run->region)
		leap_region_destroy(run->region);
	leap_close(run->leap);
	free(run->seed);
	free(run->tag);
	return err;
}

/* With --donors the transport is whatever they are; else it is one word of the list. */
static int run_transport(struct bench *bench, struct bench_run *run, const char *word)
{
	struct bench_donor donor = {0};
	int err = 0;

	if (word) {
		snprintf(run->transport, sizeof(run->transport), "%s", word);
		if (strcmp(word, "loop"))
			err = bench_donor_start(word, bench->bytes, &donor);
		if (!err)
			err = config_set(&run->config, "donors", donor.pid ? donor.uri : "loop:");
	} else {
		snprintf(run->transport, sizeof(run->transport), "%.*s",
			 (int)strcspn(run->config.donors, ":"), run->config.donors);
	}
	snprintf(run->donors, sizeof(run->donors), "%s", run->config.donors);
	if (!err)
		err = run_session(bench, run);
	bench_donor_stop(&donor);
	return err;
}

/* All pages are somewhere on this machine, unless donors elsewhere are named. */
static int check_memory(const struct bench *bench)
{
	char line[128];
	unsigned long kib = 0;
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	if (kib && (uint64_t)kib << 10 < bench->bytes + bench->bytes / 4 + SPARE_BYTES)
		return error_set(
			ENOMEM,
			"%lu MiB of memory are available, too little for a region of %lu MiB "
			"with its donor on this machine; give a smaller --size",
			kib >> 10, (unsigned long)(bench->bytes >> 20));
	return 0;
}

static int check_transports(const char *list)
{
	for (;; list++) {
		size_t n = strcspn(list, ",");

		if ((n != 4 || strncmp(list, "loop", 4)) && (n != 3 || strncmp(list, "shm", 3)) &&
		    (n != 3 || strncmp(list, "tcp", 3)))
			return error_set(EINVAL,
					 "--transport: '%.*s' is none of loop, shm, tcp; donors of "
					 "other kinds can be named with --donors",
					 (int)n, list);
		list += n;
		if (!*list)
			return 0;
	}
}

static uint64_t count_wrong(const struct bench_run *run)
{
	uint64_t wrong = run->wrong;

	for (unsigned i = 0; i < run->nrows; i++)
		wrong += run->row[i].wrong;
	return wrong;
}

/* One run for each word of the list, or one with the donors that config names when it is NULL. */
static int run_list(struct bench *bench, const struct config *config, const char *list, bool table,
		    struct bench_run **runs, unsigned *ret_n)
{
	const char *at = list ? list : "";
	int err = 0;

	do {
		char word[24];
		size_t len = strcspn(at, ",");
		struct bench_run *run = calloc(1, sizeof(*run));

		snprintf(word, sizeof(word), "%.*s", (int)len, at);
		at += len + (at[len] == ',');
		if (!run)
			return error_set(ENOMEM, "no memory");
		runs[(*ret_n)++] = run;
		run->config = *config;
		err = run_transport(bench, run, list ? word : NULL);
		if (!err && table)
			bench_print_run(bench, run);
	} while (!err && *at && *ret_n < RUNS_MAX);
	return err;
}

static int run_all(struct arguments *a, const struct config *config, bool donors)
{
	struct bench_run *runs[RUNS_MAX];
	bool table = !a->json || strcmp(a->json, "-");
	unsigned n = 0;
	uint64_t wrong = 0;
	int err;

	if (table)
		bench_print_header(&a->bench, config);
	err = run_list(&a->bench, config, donors ? NULL : a->bench.transports, table, runs, &n);
	if (!err && a->json)
		err = bench_print_json(a->json, &a->bench, (const struct bench_run *const *)runs,
				       n);
	while (n) {
		wrong += count_wrong(runs[--n]);
		free(runs[n]);
	}
	if (err)
		return tool_fail_last(EXIT_FAILED);
	if (wrong)
		return tool_fail(EXIT_FAILED, "%lu times a page had the wrong content",
				 (unsigned long)wrong);
	return 0;
}

static int micro(int argc, char **argv)
{
	static struct config config;
	static const char *given[FLAGS_MAX];
	struct arguments a = {
		.bench = {.bytes = 1ull << 30,
			  .op = {true, true},
			  .threads = 1,
			  .verify = true,
			  .transports = "loop,shm,tcp"},
		.patterns = "seq,stride,random,zipf",
		.stride = 10,
	};
	struct command_line line = {
		.usage = "bench micro [OPTION...]",
		.about =
			"Measures the latency of every access to a region that is larger than the "
			"local limit, and checks\nwhat is read. The column total is the time of a row "
			"divided by its accesses; the rest is what the\nclock shows around one access, "
			"in microseconds.",
		.flags = bench_flags,
		.nflags = sizeof(bench_flags) / sizeof(bench_flags[0]),
		.set = set,
		.context = &a,
		.config = &config,
		.given = given,
	};
	int first, err;
	bool donors;

	err = flags_parse_with_env(&line, argc, argv, &first);
	if (err == FLAGS_HELP)
		return 0;
	if (!err && first < argc)
		err = error_set(EINVAL, "'%s' is not expected; see 'leap bench micro --help'",
				argv[first]);
	if (!err)
		err = pattern_parse_list(a.patterns, a.stride, a.bench.pattern, BENCH_PATTERNS_MAX,
					 &a.bench.npatterns);
	if (!err)
		err = check_transports(a.bench.transports);
	if (err)
		return tool_fail_last(EXIT_USAGE);
	donors = given[config_find("donors") - config_table];
	a.bench.bytes = (a.bench.bytes + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK;
	a.bench.pages = a.bench.bytes >> LEAP_PAGE_SHIFT;
	if (!a.bench.accesses)
		a.bench.accesses = a.bench.pages;
	progress_init(&a.bench.progress, a.progress);
	a.bench.clock_ns = bench_clock_ns();
	err = donors ? 0 : check_memory(&a.bench);
	err = err ? tool_fail_last(EXIT_FAILED) : run_all(&a, &config, donors);
	return err;
}

int bench_main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "micro"))
		return micro(argc - 1, argv + 1);
	if (!strcmp(what, "--help") || !strcmp(what, "-h")) {
		printf("Usage: leap bench micro [OPTION...]\n'leap bench micro --help' tells more.\n");
		return 0;
	}
	if (!*what)
		return tool_fail(EXIT_USAGE, "say what to measure: leap bench micro");
	return tool_fail(EXIT_USAGE, "there is no benchmark '%s'; there is micro", what);
}
