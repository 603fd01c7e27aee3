/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_plot.c - a trace as a picture: page numbers over time, misses, hits and prefetches in colours, by gnuplot(1).
 *
 * Address space that nothing touches is left out: pages are numbered through the blocks that something touches.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/gnuplot.h"
#include "tools/trace_view.h"

#define BLOCK_PAGES 512    /* of address space, left out or shown as a whole */
#define POINTS_MAX  200000 /* of a colour; more are thinned out */
#define WIDTH       1400
#define HEIGHT      900

enum colour { PREFETCHED, NEW, MISSED, HIT, COLOURS };

static const struct {
	const char *title, *rgb;
	double size;
} colours[COLOURS] = {
	[PREFETCHED] = {"prefetched", "#9ecae1", 0.25},
	[NEW] = {"first touch", "#bdbdbd", 0.25},
	[MISSED] = {"miss", "#d62728", 0.35},
	[HIT] = {"hit, or marker of a window", "#2ca02c", 0.35},
};

/* What the record is shown as; COLOURS: not at all. */
static enum colour colour_of(const struct trace_record *r)
{
	if (r->op == TRACE_ISSUE)
		return PREFETCHED;
	if (!trace_is_access(r))
		return COLOURS;
	if (r->flags & TRACE_RECORD_FIRST)
		return NEW;
	return r->op == TRACE_HIT || r->op == TRACE_LATE_HIT || r->flags & TRACE_RECORD_MARKER
		       ? HIT
		       : MISSED;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The blocks that something is shown of, sorted. */
static uint64_t *find_blocks(const struct trace *trace, size_t *ret_n)
{
	uint64_t *blocks = malloc((2 * trace->header.n_records + 1) * sizeof(*blocks));
	size_t n = 0, used = 0;

	for (uint64_t i = 0; blocks && i < trace->header.n_records; i++) {
		const struct trace_record *r = &trace->records[i];

		if (colour_of(r) == COLOURS)
			continue;
		blocks[n++] = r->vpn / BLOCK_PAGES;
		blocks[n++] = (r->vpn + trace_pages(r) - 1) / BLOCK_PAGES;
	}
	if (!blocks)
		return NULL;
	qsort(blocks, n, sizeof(*blocks), compare);
	for (size_t i = 0; i < n; i++)
		if (!used || blocks[used - 1] != blocks[i])
			blocks[used++] = blocks[i];
	*ret_n = used;
	return blocks;
}

static uint64_t place_of(const uint64_t *blocks, size_t n, uint64_t page)
{
	uint64_t block = page / BLOCK_PAGES;
	const uint64_t *found = bsearch(&block, blocks, n, sizeof(*blocks), compare);

	return found ? (uint64_t)(found - blocks) * BLOCK_PAGES + page % BLOCK_PAGES : 0;
}

static void count_points(const struct trace *trace, uint64_t *ret_points)
{
	memset(ret_points, 0, COLOURS * sizeof(*ret_points));
	for (uint64_t i = 0; i < trace->header.n_records; i++) {
		enum colour c = colour_of(&trace->records[i]);

		if (c < COLOURS)
			ret_points[c] += trace_pages(&trace->records[i]);
	}
}

/* The data block of a colour; at most POINTS_MAX points, evenly chosen. */
static void write_points(FILE *out, const struct trace *trace, enum colour colour, uint64_t points,
			 const uint64_t *blocks, size_t nblocks)
{
	uint64_t every = points / POINTS_MAX + 1, k = 0;
	bool times = trace->header.flags & TRACE_TIMES;

	fprintf(out, "$data%d << END\n", colour);
	for (uint64_t i = 0; i < trace->header.n_records; i++) {
		const struct trace_record *r = &trace->records[i];

		if (colour_of(r) != colour)
			continue;
		for (uint32_t p = 0; p < trace_pages(r); p++)
			if (k++ % every == 0)
				fprintf(out, "%.6f %" PRIu64 "\n",
					times ? (double)(r->t_ns - trace->records[0].t_ns) / 1e9
					      : (double)i,
					place_of(blocks, nblocks, r->vpn + p));
	}
	fprintf(out, "END\n");
}

static void write_script(FILE *out, const char *name, const struct trace *trace,
			 const uint64_t *blocks, size_t nblocks)
{
	uint64_t points[COLOURS];
	const char *comma = "";

	count_points(trace, points);
	for (int c = 0; c < COLOURS; c++)
		if (points[c])
			write_points(out, trace, (enum colour)c, points[c], blocks, nblocks);
	fprintf(out, "set title ");
	gnuplot_text(out, name);
	fprintf(out,
		"\nset xlabel '%s'\nset ylabel 'page (what nothing touches is left out)'\n"
		"set key outside below\nset grid\nset xrange [0:*]\nset yrange [0:*]\nplot ",
		trace->header.flags & TRACE_TIMES ? "seconds" : "records");
	for (int c = 0; c < COLOURS; c++) {
		if (!points[c])
			continue;
		fprintf(out,
			"%s$data%d using 1:2 with points pt 7 ps %.2f lc rgb '%s' notitle, "
			"keyentry with points pt 7 ps 1.5 lc rgb '%s' title '%s%s'",
			comma, c, colours[c].size, colours[c].rgb, colours[c].rgb, colours[c].title,
			points[c] > POINTS_MAX ? " (thinned out)" : "");
		comma = ", ";
	}
	fprintf(out, "\n");
}

int trace_plot(const char *name, const struct trace *trace, const char *png)
{
	size_t nblocks = 0;
	uint64_t *blocks = find_blocks(trace, &nblocks);
	FILE *script;
	int err;

	if (!blocks)
		return error_set(ENOMEM, "no memory for a picture of %s", name);
	err = nblocks ? gnuplot_open(png, WIDTH, HEIGHT, &script)
		      : error_set(EINVAL, "%s: there is nothing in it to draw", name);
	if (!err) {
		write_script(script, name, trace, blocks, nblocks);
		err = gnuplot_close(script, png);
	}
	free(blocks);
	return err;
}
