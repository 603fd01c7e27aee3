/* SPDX-License-Identifier: Apache-2.0 */
/* sample_print.c - see sample.h: a sample as a line, as JSON, as CSV. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "libleap/util/sys.h"
#include "tools/human.h"
#include "tools/json.h"
#include "tools/sample.h"

void sample_print_header(FILE *out)
{
	fprintf(out, "%7s %-15s %7s %7s %7s %7s %8s %7s %7s %5s %6s %6s %7s %7s %7s\n", "PID",
		"PROGRAM", "LOCAL", "LIMIT", "REMOTE", "ANON", "FAULTS/S", "READ/S", "WRITE/S",
		"HIT", "WINDOW", "TREND", "P50", "P99", "P99.9");
}

/* All that counts into the limit: mapped pages, those on their way, the pager's own memory. */
static uint64_t local_bytes(const struct leap_stats *st)
{
	return ((st->local_pages + st->limbo_pages + st->staged_pages) << LEAP_PAGE_SHIFT) +
	       st->overhead_bytes;
}

void sample_print_line(FILE *out, const struct sample *s, const struct rates *r)
{
	const struct leap_stats *st = &s->page.stats;
	char b[9][HUMAN_BYTES], program[64], hit[16] = "-", faults[24] = "-";

	if (isfinite(r->hit_rate))
		snprintf(hit, sizeof(hit), "%.0f%%", 100 * r->hit_rate);
	if (isfinite(r->faults))
		snprintf(faults, sizeof(faults), "%.0f", r->faults);
	fprintf(out,
		"%7ld %-15.15s %7s %7s %7s %7s %8s %7s %7s %5s %6" PRIu64 " %+6" PRId64
		" %7s %7s %7s\n",
		s->pid, printable(s->page.program, program, sizeof(program)),
		human_bytes(local_bytes(st), b[0]),
		st->limit_bytes >= 1ull << 50 ? "none" : human_bytes(st->limit_bytes, b[1]),
		human_bytes(st->remote_pages << LEAP_PAGE_SHIFT, b[2]),
		human_bytes(s->rss_anon_bytes, b[3]), faults,
		human_bytes((uint64_t)r->read_bytes, b[4]),
		human_bytes((uint64_t)r->written_bytes, b[5]), hit, st->window, st->trend,
		human_time(st->fault_latency.p50_ns, b[6]),
		human_time(st->fault_latency.p99_ns, b[7]),
		human_time(st->fault_latency.p999_ns, b[8]));
}

void sample_print_details(FILE *out, const struct sample *s)
{
	const struct leap_stats *st = &s->page.stats;
	char a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES], d[HUMAN_BYTES], text[128];

	fprintf(out,
		"        front end %s, mover %s, prefetch %s (%s), untouched %s; %" PRIu64
		" regions, overhead %s",
		s->page.frontend, s->page.mover, s->page.prefetch, s->page.hits,
		human_bytes(st->untouched_pages << LEAP_PAGE_SHIFT, b), st->regions,
		human_bytes(st->overhead_bytes, a));
	if (st->lost_pages)
		fprintf(out, "; LOST %s", human_bytes(st->lost_pages << LEAP_PAGE_SHIFT, b));
	if (st->over_limit)
		fprintf(out, "; limit exceeded %" PRIu64 " times", st->over_limit);
	fputc('\n', out);
	for (unsigned i = 0; i < s->page.ndonors; i++) {
		const struct stats_donor *donor = &s->page.donor[i];

		fprintf(out,
			"        donor %-32s %s %" PRIu64 " slabs, read %s, written %s, free %s",
			printable(donor->text, text, sizeof(text)),
			donor->alive ? "alive," : "DEAD, ", donor->slabs,
			human_bytes(donor->bytes_read, a), human_bytes(donor->bytes_written, b),
			donor->free_bytes >= 1ull << 50 ? "no bound"
							: human_bytes(donor->free_bytes, c));
		if (donor->stored_bytes)
			fprintf(out, ", takes %s", human_bytes(donor->stored_bytes, d));
		fputc('\n', out);
	}
}

static void json_latency(struct json *json, const char *key, const struct leap_latency *l)
{
	json_open(json, key, '{');
	json_u64(json, "count", l->count);
	json_f64(json, "mean", l->count ? (double)l->sum_ns / (double)l->count : 0, 0);
	json_u64(json, "p50", l->p50_ns);
	json_u64(json, "p90", l->p90_ns);
	json_u64(json, "p99", l->p99_ns);
	json_u64(json, "p99.9", l->p999_ns);
	json_u64(json, "max", l->max_ns);
	json_close(json, '}');
}

/* The figures that JSON and CSV have in common, by name. Counters grow; bytes are gauges. */
struct figure {
	const char *name;
	uint64_t value;
};

#define FIGURES_MAX 40

static unsigned figures(const struct sample *s, struct figure list[FIGURES_MAX])
{
	const struct leap_stats *st = &s->page.stats;
	const struct figure all[] = {
		{"limit_bytes", st->limit_bytes},
		{"local_bytes", local_bytes(st)},
		{"mapped_bytes", st->local_pages << LEAP_PAGE_SHIFT},
		{"limbo_bytes", st->limbo_pages << LEAP_PAGE_SHIFT},
		{"staged_bytes", st->staged_pages << LEAP_PAGE_SHIFT},
		{"untouched_bytes", st->untouched_pages << LEAP_PAGE_SHIFT},
		{"overhead_bytes", st->overhead_bytes},
		{"rss_anon_bytes", s->rss_anon_bytes},
		{"held_bytes", st->held_pages << LEAP_PAGE_SHIFT},
		{"remote_bytes", st->remote_pages << LEAP_PAGE_SHIFT},
		{"lost_bytes", st->lost_pages << LEAP_PAGE_SHIFT},
		{"regions", st->regions},
		{"slabs", st->slabs},
		{"donors_alive", st->donors_alive},
		{"window", st->window},
		{"faults", st->faults},
		{"faults_zero", st->faults_zero},
		{"faults_remote", st->faults_remote},
		{"faults_limbo", st->faults_limbo},
		{"faults_staged", st->faults_staged},
		{"faults_wp", st->faults_wp},
		{"faults_spurious", st->faults_spurious},
		{"prefetched", st->prefetched},
		{"prefetch_hits", st->prefetch_hits},
		{"prefetch_unused", st->prefetch_unused},
		{"markers", st->markers},
		{"evicted", st->evicted},
		{"evicted_clean", st->evicted_clean},
		{"evicted_zero", st->evicted_zero},
		{"read", st->read},
		{"written", st->written},
		{"io_errors", st->io_errors},
		{"over_limit", st->over_limit},
	};
	_Static_assert(sizeof(all) / sizeof(all[0]) <= FIGURES_MAX, "FIGURES_MAX is too small");

	memcpy(list, all, sizeof(all));
	return sizeof(all) / sizeof(all[0]);
}

struct share {
	const char *name;
	double value;
	int decimals;
};

#define SHARES 9

static void shares(const struct rates *r, struct share list[SHARES])
{
	const struct share all[SHARES] = {
		{"interval_s", r->seconds, 3},
		{"faults_per_s", r->faults, 1},
		{"faults_remote_per_s", r->faults_remote, 1},
		{"evicted_per_s", r->evicted, 1},
		{"prefetched_per_s", r->prefetched, 1},
		{"read_bytes_per_s", r->read_bytes, 0},
		{"written_bytes_per_s", r->written_bytes, 0},
		{"hit_rate", r->hit_rate, 4},
		{"accuracy", r->accuracy, 4},
	};

	memcpy(list, all, sizeof(all));
}

static void json_donors(struct json *json, const struct stats_page *page)
{
	json_open(json, "donors", '[');
	for (unsigned i = 0; i < page->ndonors; i++) {
		const struct stats_donor *d = &page->donor[i];

		json_open(json, NULL, '{');
		json_text(json, "donor", d->text);
		json_bool(json, "alive", d->alive);
		json_u64(json, "slabs", d->slabs);
		json_u64(json, "read_bytes", d->bytes_read);
		json_u64(json, "written_bytes", d->bytes_written);
		json_u64(json, "free_bytes", d->free_bytes);
		json_u64(json, "stored_bytes", d->stored_bytes);
		json_close(json, '}');
	}
	json_close(json, ']');
}

void sample_print_json(FILE *out, const struct sample *s, const struct rates *r)
{
	struct json json = {.out = out};
	struct figure list[FIGURES_MAX];
	struct share share[SHARES];
	unsigned n = figures(s, list);

	shares(r, share);
	json_open(&json, NULL, '{');
	json_f64(&json, "time", s->unix_time, 3);
	json_i64(&json, "pid", s->pid);
	json_text(&json, "program", s->page.program);
	json_text(&json, "frontend", s->page.frontend);
	json_text(&json, "mover", s->page.mover);
	json_text(&json, "prefetch", s->page.prefetch);
	json_text(&json, "hits", s->page.hits);
	json_f64(&json, "uptime_s", (double)(s->at_ns - s->page.start_ns) / 1e9, 3);
	json_i64(&json, "trend", s->page.stats.trend);
	for (unsigned i = 0; i < SHARES; i++)
		json_f64(&json, share[i].name, share[i].value, share[i].decimals);
	for (unsigned i = 0; i < n; i++)
		json_u64(&json, list[i].name, list[i].value);
	json_latency(&json, "fault_latency_ns", &s->page.stats.fault_latency);
	json_latency(&json, "remote_latency_ns", &s->page.stats.remote_latency);
	json_donors(&json, &s->page);
	json_close(&json, '}');
}

static const char *const latency_columns[] = {"p50", "p90", "p99", "p999", "max"};

void sample_print_csv_header(FILE *out)
{
	static const struct sample none;
	struct rates r = {0};
	struct figure list[FIGURES_MAX];
	struct share share[SHARES];
	unsigned n = figures(&none, list);

	shares(&r, share);
	fprintf(out, "time,pid,program,trend");
	for (unsigned i = 0; i < SHARES; i++)
		fprintf(out, ",%s", share[i].name);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, ",%s", list[i].name);
	for (unsigned i = 0; i < sizeof(latency_columns) / sizeof(latency_columns[0]); i++)
		fprintf(out, ",fault_%s_ns", latency_columns[i]);
	fputc('\n', out);
}

void sample_print_csv(FILE *out, const struct sample *s, const struct rates *r)
{
	const struct leap_latency *l = &s->page.stats.fault_latency;
	char text[64];
	struct figure list[FIGURES_MAX];
	struct share share[SHARES];
	unsigned n = figures(s, list);

	shares(r, share);
	printable(s->page.program, text, sizeof(text));
	for (char *at = text; *at; at++)
		if (*at == ',' || *at == '"')
			*at = '_';
	fprintf(out, "%.3f,%ld,%s,%" PRId64, s->unix_time, s->pid, text, s->page.stats.trend);
	for (unsigned i = 0; i < SHARES; i++) {
		fputc(',', out);
		if (isfinite(share[i].value))
			fprintf(out, "%.*f", share[i].decimals, share[i].value);
	}
	for (unsigned i = 0; i < n; i++)
		fprintf(out, ",%" PRIu64, list[i].value);
	fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", l->p50_ns,
		l->p90_ns, l->p99_ns, l->p999_ns, l->max_ns);
}
