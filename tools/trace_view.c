/* SPDX-License-Identifier: Apache-2.0 */
/* trace_view.c - see trace_view.h: the summary. */
#include "tools/trace_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/human.h"

/* What a touch was. */
enum touch { FIRST, MISS, LIMBO, MARKER, HIT, LATE, TOUCHES };

static const char *const touch_names[TOUCHES] = {
	[FIRST] = "first touches of new pages",        [MISS] = "misses: the page was remote",
	[LIMBO] = "in limbo: evicted, but still here", [MARKER] = "markers: a window is being used",
	[HIT] = "hits: the page had been prefetched",  [LATE] = "late hits: it was on its way",
};

static enum touch touch_of(const struct trace_record *r)
{
	if (r->flags & TRACE_RECORD_FIRST)
		return FIRST;
	if (r->flags & TRACE_RECORD_MARKER)
		return MARKER;
	if (r->op == TRACE_HIT)
		return HIT;
	if (r->op == TRACE_LATE_HIT)
		return LATE;
	return r->flags & TRACE_RECORD_LIMBO ? LIMBO : MISS;
}

/* A region, or a thread. */
struct group {
	uint32_t id;
	uint64_t count[TOUCHES], touches, pages;
};

struct groups {
	struct group *group;
	uint32_t n, room, last;
};

struct view {
	const struct trace *trace;
	struct groups regions, threads;
	uint64_t count[TOUCHES], touches, writes;
	uint64_t pages[TRACE_OPS]; /* that records of an op are about */
	uint64_t counted[TRACE_COUNT_EVICTED + 1];
	bool has_counted;
};

static struct group *group_of(struct groups *g, uint32_t id)
{
	if (g->last < g->n && g->group[g->last].id == id)
		return &g->group[g->last];
	for (g->last = 0; g->last < g->n; g->last++)
		if (g->group[g->last].id == id)
			return &g->group[g->last];
	if (g->n == g->room) {
		uint32_t room = g->room ? g->room * 2 : 16;
		struct group *more = realloc(g->group, room * sizeof(*more));

		if (!more)
			return NULL;
		g->group = more;
		g->room = room;
	}
	g->group[g->n] = (struct group){.id = id};
	return &g->group[g->n++];
}

static int count_touch(struct view *v, const struct trace_record *r)
{
	struct group *region = group_of(&v->regions, r->region);
	struct group *thread = group_of(&v->threads, r->tid);
	enum touch kind = touch_of(r);

	if (!region || !thread)
		return -ENOMEM;
	v->count[kind]++;
	v->touches++;
	v->writes += r->op == TRACE_WRITE_FAULT || r->flags & TRACE_RECORD_WRITE;
	region->count[kind]++;
	region->touches++;
	thread->count[kind]++;
	thread->touches++;
	return 0;
}

static int count_all(struct view *v)
{
	for (uint64_t i = 0; i < v->trace->header.n_records; i++) {
		const struct trace_record *r = &v->trace->records[i];

		if (trace_is_access(r)) {
			int err = count_touch(v, r);

			if (err)
				return err;
		} else if (r->op == TRACE_COUNT && r->tid <= TRACE_COUNT_EVICTED) {
			v->counted[r->tid] = r->vpn;
			v->has_counted = true;
		} else {
			v->pages[r->op] += trace_pages(r);
		}
	}
	return 0;
}

/* A touched page of a group; or a step, for `page` may be any number. */
struct touched {
	uint64_t page;
	uint32_t group;
};

static int compare_touched(const void *a, const void *b)
{
	const struct touched *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return x->page < y->page ? -1 : x->page > y->page;
}

/* Different pages of each group. */
static void count_pages(struct view *v, struct groups *g, bool by_thread, struct touched *list)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < v->trace->header.n_records; i++) {
		const struct trace_record *r = &v->trace->records[i];

		if (trace_is_access(r))
			list[n++] = (struct touched){r->vpn, by_thread ? r->tid : r->region};
	}
	qsort(list, n, sizeof(*list), compare_touched);
	for (uint64_t i = 0; i < n; i++)
		if (!i || compare_touched(&list[i - 1], &list[i]))
			group_of(g, list[i].group)->pages++;
}

static int compare_groups(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return x->touches > y->touches ? -1 : x->touches < y->touches;
}

static const struct trace_region *region_entry(const struct trace *trace, uint32_t id)
{
	for (uint32_t i = 0; i < trace->header.n_regions; i++)
		if (trace->regions[i].id == id)
			return &trace->regions[i];
	return NULL;
}

static void print_group(FILE *out, const char *label, const struct group *g)
{
	fprintf(out,
		"  %-24s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n",
		label, g->touches, g->pages, g->count[FIRST], g->count[MISS],
		g->count[MARKER] + g->count[HIT] + g->count[LATE]);
}

static void print_groups(FILE *out, const struct view *v, struct groups *g, bool threads,
			 unsigned top)
{
	char label[48], name[24];

	if (!g->n)
		return;
	qsort(g->group, g->n, sizeof(*g->group), compare_groups);
	g->last = 0;
	fprintf(out, "\n%-26s %10s %10s %10s %10s %10s\n", threads ? "by thread" : "by region",
		"touches", "pages", "first", "misses", "hits");
	for (uint32_t i = 0; i < g->n && i < top; i++) {
		const struct trace_region *r =
			threads ? NULL : region_entry(v->trace, g->group[i].id);

		if (threads)
			snprintf(label, sizeof(label), "%u", g->group[i].id);
		else
			snprintf(label, sizeof(label), "%u %s", g->group[i].id,
				 r ? printable(r->name, name, sizeof(name)) : "");
		print_group(out, label, &g->group[i]);
	}
	if (g->n > top)
		fprintf(out, "  and %u more\n", g->n - top);
}

struct stride {
	int64_t step;
	uint64_t count;
};

static int compare_strides(const void *a, const void *b)
{
	const struct stride *x = a, *y = b;

	return x->count > y->count ? -1 : x->count < y->count;
}

/* Steps from one touch of a thread in a region to its next, put into list; how many there are. */
static uint64_t find_steps(const struct view *v, struct touched *list)
{
	struct {
		uint64_t page;
		uint32_t region;
		bool begun;
	} *last = calloc(v->threads.n + 1, sizeof(*last));
	struct groups threads = v->threads;
	uint64_t n = 0;

	for (uint64_t i = 0; last && i < v->trace->header.n_records; i++) {
		const struct trace_record *r = &v->trace->records[i];
		size_t t;

		if (!trace_is_access(r))
			continue;
		t = (size_t)(group_of(&threads, r->tid) - threads.group);
		if (last[t].begun && last[t].region == r->region)
			list[n++] = (struct touched){r->vpn - last[t].page, 0};
		last[t].page = r->vpn;
		last[t].region = r->region;
		last[t].begun = true;
	}
	free(last);
	return n;
}

static void print_strides(FILE *out, const struct view *v, struct touched *list, unsigned top)
{
	uint64_t n = find_steps(v, list), kinds = 0;
	struct stride *strides = malloc((n + 1) * sizeof(*strides));

	if (!strides || !n) {
		free(strides);
		return;
	}
	qsort(list, n, sizeof(*list), compare_touched);
	for (uint64_t i = 0; i < n; i++) {
		if (i && list[i].page == list[i - 1].page)
			strides[kinds - 1].count++;
		else
			strides[kinds++] = (struct stride){(int64_t)list[i].page, 1};
	}
	qsort(strides, kinds, sizeof(*strides), compare_strides);
	fprintf(out, "\nsteps from touch to touch of a thread, in pages\n");
	for (uint64_t i = 0; i < kinds && i < top; i++)
		fprintf(out, "  %+-24" PRId64 " %10" PRIu64 " %9.1f%%\n", strides[i].step,
			strides[i].count, 100.0 * (double)strides[i].count / (double)n);
	if (kinds > top)
		fprintf(out, "  and %" PRIu64 " more\n", kinds - top);
	free(strides);
}

static void print_header(FILE *out, const char *name, const struct view *v)
{
	const struct trace_header *h = &v->trace->header;
	char text[HUMAN_BYTES];

	fprintf(out, "%s: a trace of %s\n", name,
		h->flags & TRACE_ACCESSES ? "all accesses" : "faults");
	fprintf(out, "  %-42s %10" PRIu64 "\n", "records", h->n_records);
	if (h->flags & TRACE_TIMES && h->n_records)
		fprintf(out, "  %-42s %10s\n", "duration",
			human_time(v->trace->records[h->n_records - 1].t_ns -
					   v->trace->records[0].t_ns,
				   text));
	fprintf(out, "  %-42s %10" PRIu64 " (%s)\n", "different pages", h->footprint_pages,
		human_bytes(h->footprint_pages << h->page_shift, text));
	if (h->local_pages)
		fprintf(out, "  %-42s %10" PRIu64 " (%s)\n", "pages that might be local",
			h->local_pages, human_bytes(h->local_pages << h->page_shift, text));
	fprintf(out, "  %-42s %10" PRIu64 "\n", "records lost while recording", h->dropped);
	if (h->flags & TRACE_OPEN)
		fprintf(out, "  it was not ended properly: the last moments may be missing\n");
}

static void print_touches(FILE *out, const struct view *v)
{
	fprintf(out, "\ntouches\n");
	for (unsigned kind = 0; kind < TOUCHES; kind++)
		if (v->count[kind])
			fprintf(out, "  %-42s %10" PRIu64 " %5.1f%%\n", touch_names[kind],
				v->count[kind],
				100.0 * (double)v->count[kind] / (double)v->touches);
	if (v->trace->header.flags & TRACE_WRITES)
		fprintf(out, "  %-42s %10" PRIu64 "\n", "writes among them", v->writes);
}

static void print_events(FILE *out, const struct view *v)
{
	static const char *const names[TRACE_OPS] = {
		[TRACE_ISSUE] = "prefetched",
		[TRACE_UNUSED] = "of these left untouched, as far as known",
		[TRACE_EVICT] = "evicted",
		[TRACE_RETIRE] = "of these left limbo",
		[TRACE_NEW] = "new",
		[TRACE_DROP] = "given up by the program, or zero",
		[TRACE_HINT] = "hinted at",
		[TRACE_PHASE] = "marks between phases",
	};
	bool any = false;

	for (unsigned op = 0; op < TRACE_OPS; op++) {
		if (!names[op] || !v->pages[op])
			continue;
		if (!any)
			fprintf(out, "\npages\n");
		any = true;
		fprintf(out, "  %-42s %10" PRIu64 "\n", names[op], v->pages[op]);
	}
	if (!v->has_counted)
		return;
	fprintf(out, "\nas the runtime counted\n");
	fprintf(out, "  %-42s %10" PRIu64 "\n  %-42s %10" PRIu64 "\n  %-42s %10" PRIu64 "\n",
		"hits", v->counted[TRACE_COUNT_HITS], "misses", v->counted[TRACE_COUNT_REMOTE],
		"prefetched pages", v->counted[TRACE_COUNT_PREFETCHED]);
}

int trace_view(FILE *out, const char *name, const struct trace *trace, unsigned top)
{
	struct touched *list = malloc((trace->header.n_records + 1) * sizeof(*list));
	struct view v = {.trace = trace};
	int err = list ? count_all(&v) : -ENOMEM;

	if (err) {
		error_set(ENOMEM, "no memory for the records of %s", name);
		goto free;
	}
	count_pages(&v, &v.regions, false, list);
	count_pages(&v, &v.threads, true, list);
	print_header(out, name, &v);
	if (v.touches)
		print_touches(out, &v);
	print_events(out, &v);
	print_strides(out, &v, list, top);
	print_groups(out, &v, &v.regions, false, top);
	if (trace->header.flags & TRACE_THREADS)
		print_groups(out, &v, &v.threads, true, top);
free:
	free(v.regions.group);
	free(v.threads.group);
	free(list);
	return err;
}
