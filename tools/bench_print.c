/* SPDX-License-Identifier: Apache-2.0 */
/* bench_print.c - see bench.h: table and JSON. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/bench.h"
#include "tools/human.h"
#include "tools/json.h"

static const struct percentile {
	const char *name;
	double share;
} percentiles[] = {
	{"p50", 0.5},
	{"p90", 0.9},
	{"p99", 0.99},
	{"p99.9", 0.999},
};

#define PERCENTILES (sizeof(percentiles) / sizeof(percentiles[0]))

static double mean_us(const struct hist *h)
{
	return h->count ? (double)h->sum / (double)h->count / 1e3 : 0;
}

/* As one thread sees it: what an access takes with all that is around it. */
static double wall_us(const struct bench *bench, const struct bench_row *row)
{
	return row->accesses ? (double)row->wall_ns * bench->threads / (double)row->accesses / 1e3
			     : 0;
}

void bench_print_header(const struct bench *bench, const struct config *config)
{
	char size[HUMAN_BYTES], local[32] = "";

	config_get(config, "local", local, sizeof(local));
	printf("%s in %" PRIu64 " pages, local limit %s, %u thread%s, %" PRIu64
	       " accesses a row, clock %u ns (subtracted)\n",
	       human_bytes(bench->bytes, size), bench->pages, local, bench->threads,
	       bench->threads > 1 ? "s" : "", bench->accesses, bench->clock_ns);
}

static void print_row(const struct bench *bench, const struct bench_run *run,
		      const struct bench_row *row)
{
	const struct leap_stats *st = &row->stats;

	printf("%-6s %-5s %-10s %8.2f %8.2f", run->transport, bench_op_names[row->op],
	       row->pattern->name, wall_us(bench, row), mean_us(&row->latency));
	for (unsigned i = 0; i < PERCENTILES; i++)
		printf(" %8.2f",
		       (double)hist_percentile(&row->latency, percentiles[i].share) / 1e3);
	printf(" %9.1f %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 "\n",
	       (double)row->latency.max / 1e3, st->faults, st->faults_remote, st->prefetched,
	       st->prefetch_hits);
	if (row->wrong)
		printf("       WRONG: %" PRIu64 " accesses read another page's content\n",
		       row->wrong);
}

void bench_print_run(const struct bench *bench, const struct bench_run *run)
{
	printf("\ndonors %s, front end %s, mover %s, prefetch %s (%s); filled in %.1f s\n",
	       run->donors, run->frontend, run->mover, run->prefetch, run->hits, run->fill_s);
	printf("%-6s %-5s %-10s %8s %8s %8s %8s %8s %8s %9s %8s %8s %8s %8s\n", "us", "op",
	       "pattern", "total", "avg", "p50", "p90", "p99", "p99.9", "max", "faults", "remote",
	       "prefetch", "hits");
	for (unsigned i = 0; i < run->nrows; i++)
		print_row(bench, run, &run->row[i]);
	if (run->wrong)
		printf("WRONG: %" PRIu64 " of %" PRIu64 " pages differ from what was written\n",
		       run->wrong, run->verified);
	else if (run->verified)
		printf("all %" PRIu64 " pages verified, every byte\n", run->verified);
	fflush(stdout);
}

static void json_row(struct json *json, const struct bench *bench, const struct bench_row *row)
{
	const struct leap_stats *st = &row->stats;

	json_open(json, NULL, '{');
	json_text(json, "pattern", row->pattern->name);
	json_text(json, "op", bench_op_names[row->op]);
	json_u64(json, "accesses", row->accesses);
	json_f64(json, "seconds", (double)row->wall_ns / 1e9, 6);
	json_f64(json, "total_us", wall_us(bench, row), 4);
	json_open(json, "latency_us", '{');
	json_f64(json, "avg", mean_us(&row->latency), 4);
	for (unsigned i = 0; i < PERCENTILES; i++)
		json_f64(json, percentiles[i].name,
			 (double)hist_percentile(&row->latency, percentiles[i].share) / 1e3, 3);
	json_f64(json, "max", (double)row->latency.max / 1e3, 3);
	json_close(json, '}');
	json_u64(json, "faults", st->faults);
	json_u64(json, "faults_remote", st->faults_remote);
	json_u64(json, "faults_limbo", st->faults_limbo);
	json_u64(json, "faults_staged", st->faults_staged);
	json_u64(json, "faults_wp", st->faults_wp);
	json_u64(json, "prefetched", st->prefetched);
	json_u64(json, "prefetch_hits", st->prefetch_hits);
	json_u64(json, "prefetch_unused", st->prefetch_unused);
	json_u64(json, "evicted", st->evicted);
	json_u64(json, "evicted_clean", st->evicted_clean);
	json_u64(json, "pages_read", st->read);
	json_u64(json, "pages_written", st->written);
	json_u64(json, "wrong", row->wrong);
	json_close(json, '}');
}

static void json_run(struct json *json, const struct bench *bench, const struct bench_run *run)
{
	json_open(json, NULL, '{');
	json_text(json, "transport", run->transport);
	json_text(json, "donors", run->donors);
	json_text(json, "frontend", run->frontend);
	json_text(json, "mover", run->mover);
	json_text(json, "prefetch", run->prefetch);
	json_text(json, "hits", run->hits);
	json_f64(json, "fill_s", run->fill_s, 3);
	json_open(json, "rows", '[');
	for (unsigned i = 0; i < run->nrows; i++)
		json_row(json, bench, &run->row[i]);
	json_close(json, ']');
	json_u64(json, "pages_verified", run->verified);
	json_u64(json, "pages_wrong", run->wrong);
	json_close(json, '}');
}

static void json_config(struct json *json, const struct config *config)
{
	char value[sizeof(config->donors)];

	json_open(json, "options", '{');
	for (unsigned i = 0; i < config_table_count; i++)
		if (!config_get(config, config_table[i].name, value, sizeof(value)))
			json_text(json, config_table[i].name, value);
	json_close(json, '}');
}

int bench_print_json(const char *path, const struct bench *bench,
		     const struct bench_run *const *runs, unsigned nruns)
{
	FILE *out = strcmp(path, "-") ? fopen(path, "we") : stdout;
	struct json json = {.out = out, .pretty = true};
	int err;

	if (!out)
		return error_set(errno, "cannot write %s: %s", path, strerror(errno));
	json_open(&json, NULL, '{');
	json_text(&json, "leap", leap_version());
	json_text(&json, "bench", "micro");
	json_u64(&json, "bytes", bench->bytes);
	json_u64(&json, "pages", bench->pages);
	json_u64(&json, "threads", bench->threads);
	json_u64(&json, "clock_ns", bench->clock_ns);
	if (nruns)
		json_config(&json, &runs[0]->config);
	json_open(&json, "runs", '[');
	for (unsigned i = 0; i < nruns; i++)
		json_run(&json, bench, runs[i]);
	json_close(&json, ']');
	json_close(&json, '}');
	err = fflush(out) || ferror(out)
		      ? error_set(errno, "cannot write %s: %s", path, strerror(errno))
		      : 0;
	if (out != stdout)
		fclose(out);
	return err;
}
