/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_plot.c - see sim_plot.h.
 *
 * Window and trend are drawn on scales on which zero has a place and that grow with the logarithm from 1 on, the trend's to both
 * sides. What policies believe is often the same: each is drawn a few pixels beside the other, and in the upper
 * picture each is a little smaller than the one before, so that all can be seen.
 */
#include "tools/sim_plot.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/gnuplot.h"
#include "tools/sim_plot_label.h"

#define FEW        4 /* inputs whose names are at their points */
#define WIDTH      1400
#define HEIGHT     860  /* of the first picture with its title */
#define BOTH       1500 /* with window and trend */
#define LEFT       90
#define RIGHT      960 /* of the pictures; then comes the legend */
#define NAME_BYTES 24
#define APART      1.9 /* pixels, of lines that are the same */
#define RESTLESS   200 /* changes */
#define FULL       6   /* shapes; then come rings */

static const char *const colours[SIM_RUNS_MAX] = {
	"#7f7f7f", "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#0072b2", "#d0208c", "#222222",
	"#b8a900", "#8c564b", "#9467bd", "#17becf", "#d62728", "#2ca02c", "#ff9da7", "#4e79a7",
};
static const int shapes[SIM_RUNS_MAX] = {7, 5, 9, 11, 13, 15, 6, 4, 8, 10, 12, 14, 1, 2, 3, 65};

/* A lower picture: what, and on which scale. */
struct band {
	const char *title, *scale; /* a function of the script */
	unsigned column;
	double bottom, top; /* pixels */
	double base, first; /* of the logarithm, and where 1 is */
};

static const struct band bands[] = {
	{"window (pages)", "w", 2, 368, 632, 2, 1},
	{"trend (pages a step)", "t", 3, 60, 318, 10, 0.4},
};

static int no_memory(void)
{
	return error_set(ENOMEM, "no memory for a picture");
}

/* NULL: no memory. */
static struct sim_plot_input *add_input(struct sim_plot *p, const char *name)
{
	struct sim_plot_input *more = realloc(p->inputs, (p->ninputs + 1) * sizeof(*more));

	if (!more)
		return NULL;
	p->inputs = more;
	more += p->ninputs;
	memset(more, 0, sizeof(*more));
	more->name = strdup(name);
	p->ninputs += more->name != NULL;
	return more->name ? more : NULL;
}

int sim_plot_add(struct sim_plot *p, const struct sim_report *r)
{
	const struct trace *trace = r->trace;
	struct sim_plot_input *input = add_input(p, r->input);

	if (!input)
		return no_memory();
	for (; p->npolicies < r->n; p->npolicies++) {
		p->policy[p->npolicies] = strdup(r->runs[p->npolicies].options.policy);
		if (!p->policy[p->npolicies])
			return no_memory();
	}
	for (unsigned i = 0; i < r->n; i++) {
		struct sim_result *result = &r->runs[i].result;

		input->point[i].accuracy = sim_accuracy(&result->m);
		input->point[i].coverage = sim_coverage(&result->m);
		input->point[i].known = result->m.adds;
		free(p->samples[i]);
		p->samples[i] = result->samples;
		p->nsamples[i] = result->nsamples;
		result->samples = NULL;
	}
	p->options = r->runs[0].options;
	p->times = trace->header.flags & TRACE_TIMES;
	p->accesses = r->runs[0].result.accesses;
	if (trace->header.n_records)
		p->t_ns = trace->records[trace->header.n_records - 1].t_ns - trace->records[0].t_ns;
	return 0;
}

void sim_plot_free(struct sim_plot *p)
{
	for (unsigned i = 0; i < p->ninputs; i++)
		free(p->inputs[i].name);
	for (unsigned i = 0; i < SIM_RUNS_MAX; i++) {
		free(p->policy[i]);
		free(p->samples[i]);
	}
	free(p->inputs);
	memset(p, 0, sizeof(*p));
}

/* Whether it has a window and a trend that are worth a line. */
static bool believes(const struct sim_plot *p, unsigned policy)
{
	return p->nsamples[policy] && strcmp(p->policy[policy], prefetcher_none.name);
}

static bool has_bands(const struct sim_plot *p)
{
	for (unsigned i = 0; i < p->npolicies; i++)
		if (believes(p, i))
			return true;
	return false;
}

/* Means over the inputs; false if nothing was brought in any. */
static bool mean_of(const struct sim_plot *p, unsigned policy, struct sim_plot_point *ret)
{
	unsigned known = 0;

	memset(ret, 0, sizeof(*ret));
	for (unsigned i = 0; i < p->ninputs; i++) {
		const struct sim_plot_point *point = &p->inputs[i].point[policy];

		known += point->known;
		ret->accuracy += point->known ? point->accuracy : 0;
		ret->coverage += point->coverage;
	}
	ret->known = known;
	ret->accuracy /= known ? known : 1;
	ret->coverage /= p->ninputs;
	return known;
}

static void write_data(FILE *out, const struct sim_plot *p)
{
	for (unsigned k = 0; k < p->npolicies; k++) {
		fprintf(out, "# %s: accuracy, coverage\n$points%u << END\n", p->policy[k], k);
		for (unsigned i = 0; i < p->ninputs; i++)
			if (p->inputs[i].point[k].known)
				fprintf(out, "%.3f %.3f\n", p->inputs[i].point[k].accuracy,
					p->inputs[i].point[k].coverage);
		fprintf(out, "END\n");
		if (!believes(p, k))
			continue;
		fprintf(out, "# %s: time, window, trend\n$samples%u << END\n", p->policy[k], k);
		for (uint32_t i = 0; i < p->nsamples[k]; i++) {
			const struct sim_sample *s = &p->samples[k][i];

			fprintf(out, "%.*f %" PRIu32 " %" PRId64 "\n", p->times ? 6 : 0,
				p->times ? (double)s->t_ns / 1e9 : (double)s->access, s->window,
				s->trend);
		}
		fprintf(out, "END\n");
	}
}

static void write_title(FILE *out, const struct sim_plot *p)
{
	static const char *const keys[] = {"process", "region", "thread", "stream"};
	const struct sim_options *o = &p->options;
	char many[NAME_BYTES];

	snprintf(many, sizeof(many), "%u inputs", p->ninputs);
	fprintf(out, "set label ");
	gnuplot_text(out, p->ninputs == 1 ? p->inputs[0].name : many);
	fprintf(out,
		" at screen %d./W, screen 1-28./H font ',16' front\n"
		"set label 'leap sim: model %s, hits by %s, a history for each %s",
		LEFT, o->runtime ? "runtime" : "simple", o->cache ? "cache" : "marker",
		keys[o->key]);
	if (p->ninputs == 1)
		fprintf(out, ", %" PRIu64 " accesses, %" PRIu64 " pages local%s", p->accesses,
			o->local_pages, o->runtime && o->recorded_limit ? " at first" : "");
	fprintf(out, "' at screen %d./W, screen 1-52./H tc rgb '#555555' front\n", LEFT);
}

/* Of the picture between bottom and top. */
static void write_place(FILE *out, double bottom, double top)
{
	fprintf(out,
		"set lmargin at screen %d./W\nset rmargin at screen %d./W\n"
		"set bmargin at screen %.0f./H\nset tmargin at screen %.0f./H\n",
		LEFT, RIGHT, bottom, top);
}

static void write_names(FILE *out, const struct sim_plot *p, const struct plot_area *area)
{
	unsigned n = 0;
	struct plot_name *names = calloc((size_t)p->npolicies * p->ninputs, sizeof(*names));

	for (unsigned i = 0; names && i < p->ninputs; i++)
		for (unsigned k = 0; k < p->npolicies; k++) {
			const struct sim_plot_point *point = &p->inputs[i].point[k];
			const char *input = strrchr(p->inputs[i].name, '/');

			input = input ? input + 1 : p->inputs[i].name;
			if (point->known)
				names[n++] =
					(struct plot_name){point->accuracy, point->coverage,
							   p->ninputs == 1 ? p->policy[k] : input};
		}
	plot_labels(out, area, names, n);
	free(names);
}

/* Beside the pictures, as labels: a key of gnuplot's has no columns. */
static void write_legend(FILE *out, const struct sim_plot *p, double top)
{
	const char *place = "front at screen %d./W, screen %.0f./H";
	char at[3][NAME_BYTES * 3];
	static const int columns[] = {RIGHT + 48, RIGHT + 305, RIGHT + 420};

	for (unsigned k = 0; k <= p->npolicies; k++) {
		double y = top - 8 - 24 * k;
		struct sim_plot_point mean;

		for (int i = 0; i < 3; i++)
			snprintf(at[i], sizeof(at[i]), place, columns[i], y);
		if (!k) {
			fprintf(out,
				"set label 'policy' %s\nset label 'coverage (%%)' %s right\n"
				"set label 'accuracy (%%)' %s right\n",
				at[0], at[1], at[2]);
			continue;
		}
		fprintf(out,
			"set label '' at screen %d./W, screen %.0f./H point pt %d ps 1.6 lc rgb '%s' "
			"front\nset label ",
			RIGHT + 30, y, shapes[k - 1], colours[k - 1]);
		gnuplot_text(out, p->policy[k - 1]);
		fprintf(out, " %s\n", at[0]);
		if (mean_of(p, k - 1, &mean))
			fprintf(out, "set label '%.1f' %s right\nset label '%.1f' %s right\n",
				mean.coverage, at[1], mean.accuracy, at[2]);
		else
			fprintf(out, "set label 'brought nothing' %s right tc rgb '#777777'\n",
				at[2]);
	}
	if (p->ninputs > 1)
		fprintf(out,
			"set label 'means; accuracy where something was brought' at screen %d./W, "
			"screen %.0f./H tc rgb '#777777' font ',9' front\n",
			RIGHT + 24, top - 8 - 24 * (p->npolicies + 1.0));
}

/* Full ones become smaller; rings around them, larger. */
static double size_of(unsigned policy)
{
	return policy < FULL ? 2.4 - 0.2 * policy : 2.2 + 0.3 * (policy - FULL);
}

static void write_points(FILE *out, const struct sim_plot *p, double height)
{
	struct plot_area area = {LEFT, RIGHT, height - HEIGHT + 70, height - 70, -3, 103};
	bool few = p->ninputs <= FEW;

	write_place(out, area.bottom, area.top);
	write_title(out, p);
	write_legend(out, p, area.top);
	if (few)
		write_names(out, p, &area);
	fprintf(out,
		"set xlabel 'accuracy: pages that were touched, of those prefetched (%%)'\n"
		"set ylabel 'coverage: found prefetched, of touches of pages not local (%%)'\n"
		"set format '%%g'\nset xrange [%g:%g]\nset yrange [%g:%g]\nset xtics 0,10,100\nset ytics 0,10,100\n"
		"plot NaN notitle",
		area.low, area.high, area.low, area.high);
	for (unsigned k = 0; k < p->npolicies; k++) {
		struct sim_plot_point mean;

		if (mean_of(p, k, &mean))
			fprintf(out,
				", $points%u using 1:2 with points pt %d ps %.2f lw 1.5 lc rgb "
				"'%s%s' notitle",
				k, shapes[k], (few ? 1 : 0.6) * size_of(k), few ? "#" : "#30",
				colours[k] + 1);
	}
	fprintf(out, "\nunset label\nunset arrow\n");
}

static double scaled(const struct band *band, double value)
{
	double size = fabs(value);

	size = size >= 1 ? log(size) / log(band->base) + band->first : 0;
	return value < 0 ? -size : size;
}

static void write_tic(FILE *out, const struct band *band, double value, double low, double high)
{
	double y = scaled(band, value);

	if (y >= low && y <= high)
		fprintf(out, ", '%.15g' %.6f", value, y);
}

static void write_tics(FILE *out, const struct band *band, double low, double high)
{
	bool fine = band->base > 2 && high - low < 7; /* room for 2 and 5 between the powers */

	fprintf(out, "set ytics ('0' 0");
	for (double v = 1; scaled(band, v) <= fmax(high, -low); v *= band->base)
		for (int i = 0; i < (fine ? 3 : 1); i++) {
			double value = v * (i == 0 ? 1 : i == 1 ? 2 : 5);

			write_tic(out, band, value, low, high);
			write_tic(out, band, -value, low, high);
		}
	fprintf(out, ")\n");
}

static double value_of(const struct band *band, const struct sim_sample *s)
{
	return band->column == 2 ? (double)s->window : (double)s->trend;
}

/* Changes so often that a line would cover everything: it has dots. */
static bool is_restless(const struct sim_plot *p, unsigned policy, const struct band *band)
{
	const struct sim_sample *s = p->samples[policy];
	uint32_t changes = 0;

	for (uint32_t i = 1; i < p->nsamples[policy]; i++)
		changes += value_of(band, &s[i]) != value_of(band, &s[i - 1]);
	return changes > RESTLESS;
}

static void write_band(FILE *out, const struct sim_plot *p, const struct band *band, bool last)
{
	double low = 0, high = 0, apart;
	unsigned lines = 0, line = 0;

	for (unsigned k = 0; k < p->npolicies; k++) {
		lines += believes(p, k);
		for (uint32_t i = 0; believes(p, k) && i < p->nsamples[k]; i++) {
			double y = scaled(band, value_of(band, &p->samples[k][i]));

			low = fmin(low, y);
			high = fmax(high, y);
		}
	}
	low -= 0.06 * (high - low) + 0.15;
	high += 0.06 * (high - low) + 0.15;
	apart = APART * (high - low) / (band->top - band->bottom);
	write_place(out, band->bottom, band->top);
	write_tics(out, band, low, high);
	fprintf(out, "set ylabel '%s'\nset yrange [%.6f:%.6f]\nset xlabel '%s'\nplot", band->title,
		low, high,
		!last      ? ""
		: p->times ? "seconds"
			   : "accesses");
	for (unsigned k = 0; k < p->npolicies; k++)
		if (believes(p, k)) {
			double by = apart * ((lines - 1) / 2. - line);

			fprintf(out,
				"%s $samples%u using 1:(%s($%u)%+.6f) with %s lc rgb '%s' notitle",
				line ? "," : "", k, band->scale, band->column, by,
				is_restless(p, k, band) ? "points pt 7 ps 0.3" : "steps lw 1.6",
				colours[k]);
			line++;
		}
	fprintf(out, "\n");
}

static void write_bands(FILE *out, const struct sim_plot *p)
{
	static const char *const text[] = {
		"What the instance believed that was asked last, at 2,000",
		"moments. Lines that lie on each other are side by side;",
		"what changes all the time has dots instead of a line.",
	};
	double end = p->times ? (double)p->t_ns / 1e9 : (double)p->accesses;
	unsigned line = 0;

	fprintf(out, "set xtics autofreq\nset format x '%s'\nset xrange [0:%.6f]\n",
		p->times ? "%g" : "%.0f", end > 0 ? end : 1);
	for (int i = 0; i < 3; i++)
		fprintf(out,
			"set label '%s' at screen %d./W, screen %.0f./H tc rgb '#777777' font ',9' "
			"front\n",
			text[i], RIGHT + 24, bands[0].top - 8 - 18 * i);
	for (unsigned k = 0; k < p->npolicies; k++)
		if (believes(p, k)) {
			double y = bands[0].top - 76 - 20 * line++;

			fprintf(out,
				"set arrow from screen %d./W, screen %.0f./H to screen %d./W, screen "
				"%.0f./H nohead lw 3 lc rgb '%s' front\nset label ",
				RIGHT + 22, y, RIGHT + 40, y, colours[k]);
			gnuplot_text(out, p->policy[k]);
			fprintf(out, " at screen %d./W, screen %.0f./H front\n", RIGHT + 48, y);
		}
	write_band(out, p, &bands[0], false);
	fprintf(out, "unset label\nunset arrow\n");
	write_band(out, p, &bands[1], true);
}

int sim_plot_draw(const struct sim_plot *p, const char *png)
{
	bool both = has_bands(p);
	int height = both ? BOTH : HEIGHT;
	FILE *out;
	int err = gnuplot_open(png, WIDTH, (unsigned)height, &out);

	if (err)
		return err;
	write_data(out, p);
	fprintf(out,
		"W = %d.\nH = %d.\nw(v) = v > 0 ? log(v) / log(2) + %g : 0\n"
		"t(v) = v == 0 ? 0 : sgn(v) * (log10(abs(v)) + %g)\n"
		"set border 3 lc rgb '#555555'\nset grid lc rgb '#dddddd' lt 1 lw 0.7\nset tics nomirror "
		"out\nunset key\nset multiplot\n",
		WIDTH, height, bands[0].first, bands[1].first);
	write_points(out, p, height);
	if (both)
		write_bands(out, p);
	fprintf(out, "unset multiplot\n");
	return gnuplot_close(out, png);
}
