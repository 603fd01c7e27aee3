/* SPDX-License-Identifier: Apache-2.0 */
/* sim_print.c - see sim_print.h. */
#include "tools/sim_print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/human.h"

#define LABEL_WIDTH  26
#define COLUMN_WIDTH 10
#define CELL_BYTES   40

/* One row of the table: writes the cell of a run. */
struct row {
	const char *label;
	void (*cell)(const struct sim_run *run, const struct sim_metrics *m, char *buf);
	bool whole; /* known of the whole run only */
};

static void number(uint64_t n, char *buf)
{
	snprintf(buf, CELL_BYTES, "%" PRIu64, n);
}

static void percent(double value, char *buf)
{
	snprintf(buf, CELL_BYTES, "%.1f", value);
}

static void adds(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	number(m->adds, buf);
}

static void misses(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	number(m->misses, buf);
}

static void completion(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	snprintf(buf, CELL_BYTES, "%.3f", (double)run->result.time_ns / 1e9);
}

static void accuracy(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	percent(sim_accuracy(m), buf);
	if (!m->adds)
		strcpy(buf, "-");
}

static void coverage(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	percent(sim_coverage(m), buf);
}

static void time_of(const struct hist *h, double share, char *buf)
{
	char text[HUMAN_BYTES];

	snprintf(buf, CELL_BYTES, "%s",
		 h->count ? human_time(hist_percentile(h, share), text) : "-");
}

static void p50(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	time_of(&run->result.issue, 0.5, buf);
}

static void p95(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	time_of(&run->result.issue, 0.95, buf);
}

static void p99(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	time_of(&run->result.issue, 0.99, buf);
}

static void arrival(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	time_of(&run->result.arrival, 0.95, buf);
}

static void late(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	percent(sim_share(m->late, m->adds), buf);
}

static void polluted(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	number(m->polluted, buf);
}

static uint64_t moved_pages(const struct sim_result *r)
{
	return r->m.misses + r->m.adds + r->dirty;
}

static void moved(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	char text[HUMAN_BYTES];

	snprintf(buf, CELL_BYTES, "%s", human_bytes(moved_pages(&run->result) << 12, text));
}

static double moved_share(const struct sim_result *r)
{
	return r->needed ? (double)(r->m.misses + r->m.adds) / (double)r->needed : 1;
}

static void moved_needed(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	snprintf(buf, CELL_BYTES, "%.2f", moved_share(&run->result));
}

static void stall(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	snprintf(buf, CELL_BYTES, "%.3f", (double)m->stall_ns / 1e9);
}

static double records_per_second(const struct sim_run *run)
{
	return run->seconds > 0 ? (double)run->result.accesses / run->seconds : 0;
}

static void speed(const struct sim_run *run, const struct sim_metrics *m, char *buf)
{
	snprintf(buf, CELL_BYTES, "%.2f", records_per_second(run) / 1e6);
}

static const struct row rows[] = {
	{"Cache add (pages)", adds, false},
	{"Cache miss (pages)", misses, false},
	{"Completion time (s)", completion, true},
	{"Accuracy (%)", accuracy, false},
	{"Coverage (%)", coverage, false},
	{"Timeliness p50", p50, true},
	{"Timeliness p95", p95, true},
	{"Timeliness p99", p99, true},
	{"Arrival to hit p95", arrival, true},
	{"Late (% of added)", late, false},
	{"Pollution (misses)", polluted, false},
	{"Bytes moved", moved, true},
	{"Moved / needed", moved_needed, true},
	{"Stall (s)", stall, false},
	{"Simulated (M records/s)", speed, true},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static int width_of(const char *name)
{
	int n = (int)strlen(name) + 2;

	return n > COLUMN_WIDTH ? n : COLUMN_WIDTH;
}

static void print_row(FILE *out, const struct sim_report *r, const struct row *row,
		      const struct sim_metrics *m)
{
	fprintf(out, "%-*s", LABEL_WIDTH, row->label);
	for (unsigned i = 0; i < r->n; i++) {
		char cell[CELL_BYTES];

		row->cell(&r->runs[i], m ? &m[i] : &r->runs[i].result.m, cell);
		fprintf(out, "%*s", width_of(r->runs[i].options.policy), cell);
	}
	fputc('\n', out);
}

static bool wanted(const struct sim_report *r, const struct row *row)
{
	return row->cell != speed || r->speed;
}

static void accumulate(struct sim_metrics *into, const struct sim_metrics *m)
{
	into->adds += m->adds;
	into->hits += m->hits;
	into->late += m->late;
	into->unused += m->unused;
	into->misses += m->misses;
	into->polluted += m->polluted;
	into->stall_ns += m->stall_ns;
}

static uint32_t group_of(const struct sim_report *r, const struct sim_cell *cell)
{
	return r->by == SIM_BY_THREAD ? cell->thread : cell->region;
}

/* Whether an earlier cell of the run is of the same group. */
static bool seen(const struct sim_report *r, const struct sim_result *result, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (group_of(r, &result->cells[k]) == group_of(r, &result->cells[i]))
			return true;
	return false;
}

static struct sim_metrics group_metrics(const struct sim_report *r, const struct sim_result *result,
					uint32_t group)
{
	struct sim_metrics m = {0};

	for (uint32_t i = 0; i < result->ncells; i++)
		if (group_of(r, &result->cells[i]) == group)
			accumulate(&m, &result->cells[i].m);
	return m;
}

static const char *group_name(const struct sim_report *r, uint32_t group)
{
	for (uint32_t i = 0; r->by == SIM_BY_REGION && i < r->trace->header.n_regions; i++)
		if (r->trace->regions[i].id == group)
			return r->trace->regions[i].name;
	return "";
}

/* All runs have the same cells, in the same order: they come from the trace. */
static void print_groups(FILE *out, const struct sim_report *r)
{
	const struct sim_result *first = &r->runs[0].result;
	struct sim_metrics *m = calloc(r->n, sizeof(*m));

	for (uint32_t i = 0; m && i < first->ncells; i++) {
		uint32_t group = group_of(r, &first->cells[i]);
		char name[40];

		if (seen(r, first, i))
			continue;
		fprintf(out, "%s %u %s\n", r->by == SIM_BY_THREAD ? "thread" : "region", group,
			printable(group_name(r, group), name, sizeof(name)));
		for (unsigned k = 0; k < r->n; k++)
			m[k] = group_metrics(r, &r->runs[k].result, group);
		for (unsigned k = 0; k < ROWS; k++)
			if (!rows[k].whole)
				print_row(out, r, &rows[k], m);
	}
	free(m);
}

void sim_print_table(FILE *out, const struct sim_report *r)
{
	const struct sim_options *o = &r->runs[0].options;

	fprintf(out, "%s: %" PRIu64 " accesses, %" PRIu64 " pages; %" PRIu64 " local, hits=%s\n",
		r->input, r->runs[0].result.accesses, r->trace->header.footprint_pages,
		o->local_pages, o->cache ? "cache" : "marker");
	fprintf(out, "%-*s", LABEL_WIDTH, "");
	for (unsigned i = 0; i < r->n; i++)
		fprintf(out, "%*s", width_of(r->runs[i].options.policy), r->runs[i].options.policy);
	fputc('\n', out);
	for (unsigned i = 0; i < ROWS; i++)
		if (wanted(r, &rows[i]))
			print_row(out, r, &rows[i], NULL);
	if (r->by != SIM_BY_RUN)
		print_groups(out, r);
	fputc('\n', out);
}

static void json_metrics(struct json *json, const struct sim_metrics *m)
{
	json_u64(json, "added_pages", m->adds);
	json_u64(json, "hits", m->hits);
	json_u64(json, "late_hits", m->late);
	json_u64(json, "unused_pages", m->unused);
	json_u64(json, "misses", m->misses);
	json_u64(json, "polluted_misses", m->polluted);
	json_u64(json, "stall_ns", m->stall_ns);
	json_f64(json, "accuracy_percent", sim_accuracy(m), 2);
	json_f64(json, "coverage_percent", sim_coverage(m), 2);
}

static void json_times(struct json *json, const char *key, const struct hist *h)
{
	json_open(json, key, '{');
	json_u64(json, "p50", hist_percentile(h, 0.5));
	json_u64(json, "p95", hist_percentile(h, 0.95));
	json_u64(json, "p99", hist_percentile(h, 0.99));
	json_close(json, '}');
}

static void json_cells(struct json *json, const struct sim_result *r)
{
	json_open(json, "cells", '[');
	for (uint32_t i = 0; i < r->ncells; i++) {
		json_open(json, NULL, '{');
		json_u64(json, "region", r->cells[i].region);
		json_u64(json, "thread", r->cells[i].thread);
		json_metrics(json, &r->cells[i].m);
		json_close(json, '}');
	}
	json_close(json, ']');
}

void sim_print_json(struct json *json, const struct sim_report *r)
{
	json_open(json, NULL, '{');
	json_text(json, "input", r->input);
	json_u64(json, "accesses", r->runs[0].result.accesses);
	json_u64(json, "footprint_pages", r->trace->header.footprint_pages);
	json_u64(json, "local_pages", r->runs[0].options.local_pages);
	json_u64(json, "needed_pages", r->runs[0].result.needed);
	json_text(json, "hits", r->runs[0].options.cache ? "cache" : "marker");
	json_open(json, "policies", '[');
	for (unsigned i = 0; i < r->n; i++) {
		const struct sim_run *run = &r->runs[i];

		json_open(json, NULL, '{');
		json_text(json, "policy", run->options.policy);
		json_metrics(json, &run->result.m);
		json_u64(json, "resident_pages", run->result.resident);
		json_u64(json, "written_pages", run->result.dirty);
		json_u64(json, "moved_bytes", moved_pages(&run->result) << 12);
		json_f64(json, "moved_needed", moved_share(&run->result), 3);
		json_u64(json, "completion_ns", run->result.time_ns);
		json_times(json, "issue_to_hit_ns", &run->result.issue);
		json_times(json, "arrival_to_hit_ns", &run->result.arrival);
		if (r->speed)
			json_f64(json, "records_per_second", records_per_second(run), 0);
		if (r->by != SIM_BY_RUN)
			json_cells(json, &run->result);
		json_close(json, '}');
	}
	json_close(json, ']');
	json_close(json, '}');
}
