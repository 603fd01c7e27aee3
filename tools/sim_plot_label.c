/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_plot_label.c - see sim_plot_label.h.
 *
 * Each label tries places around its point, further and further away, and takes the first that is free; a thin line
 * leads to it from there. One that finds none is left out.
 */
#include "tools/sim_plot_label.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tools/gnuplot.h"

#define LABELS_MAX  64
#define NAMES_MAX   64
#define LINE_CHARS  36  /* names go on in the next line */
#define CHAR_WIDTH  7.6 /* pixels of the font */
#define LINE_HEIGHT 17.0
#define POINT       11.0 /* half a point's size */
#define TOGETHER    14.0 /* points that lie on each other */
#define DIRECTIONS  16
#define RINGS       14

struct box {
	double left, right, bottom, top;
};

struct label {
	double x, y; /* of the point, pixels */
	const char *name[NAMES_MAX];
	unsigned n, ends[NAMES_MAX], lines;
	size_t chars; /* of the longest line */
	struct box at;
};

struct labels {
	const struct plot_area *area;
	const struct plot_name *names; /* all, with those that share a label */
	unsigned nnames;
	struct label label[LABELS_MAX];
	unsigned n, placed;
};

static bool meet(const struct box *a, const struct box *b)
{
	return a->left < b->right && b->left < a->right && a->bottom < b->top && b->bottom < a->top;
}

static double pixel(double value, const struct plot_area *a, double from, double to)
{
	return from + (value - a->low) / (a->high - a->low) * (to - from);
}

static void add_name(struct label *l, const char *name)
{
	for (unsigned i = 0; i < l->n; i++)
		if (!strcmp(l->name[i], name))
			return;
	if (l->n < NAMES_MAX)
		l->name[l->n++] = name;
}

/* Divides the names into lines: ends[] says before which name each line ends. */
static void divide(struct label *l)
{
	size_t chars = 0;

	for (unsigned i = 0; i < l->n; i++) {
		size_t more = strlen(l->name[i]) + strlen(", ");

		if (chars && chars + more > LINE_CHARS) {
			l->ends[l->lines++] = i;
			chars = 0;
		}
		chars += more;
		if (chars > l->chars)
			l->chars = chars;
	}
	l->ends[l->lines++] = l->n;
}

static double pixel_x(const struct labels *s, unsigned name)
{
	return pixel(s->names[name].x, s->area, s->area->left, s->area->right);
}

static double pixel_y(const struct labels *s, unsigned name)
{
	return pixel(s->names[name].y, s->area, s->area->bottom, s->area->top);
}

static void collect(struct labels *s)
{
	for (unsigned i = 0; i < s->nnames; i++) {
		double x = pixel_x(s, i), y = pixel_y(s, i);
		struct label *l = NULL;

		for (unsigned k = 0; k < s->n && !l; k++)
			if (fabs(s->label[k].x - x) < TOGETHER &&
			    fabs(s->label[k].y - y) < TOGETHER)
				l = &s->label[k];
		if (!l && s->n == LABELS_MAX)
			continue;
		if (!l) {
			l = &s->label[s->n++];
			l->x = x;
			l->y = y;
		}
		add_name(l, s->names[i].text);
	}
}

static bool is_free(const struct labels *s, const struct box *box)
{
	const struct plot_area *a = s->area;

	if (box->left < a->left || box->right > a->right || box->bottom < a->bottom ||
	    box->top > a->top)
		return false;
	for (unsigned i = 0; i < s->nnames; i++) {
		double x = pixel_x(s, i), y = pixel_y(s, i);
		struct box point = {x - POINT, x + POINT, y - POINT, y + POINT};

		if (meet(box, &point))
			return false;
	}
	for (unsigned i = 0; i < s->placed; i++)
		if (meet(box, &s->label[i].at))
			return false;
	return true;
}

/* The box whose nearest point is so far away in that direction. */
static struct box box_at(const struct label *l, double distance, double angle)
{
	double width = (double)l->chars * CHAR_WIDTH, height = l->lines * LINE_HEIGHT;
	double x, y;

	x = l->x + cos(angle) * (distance + width / 2);
	y = l->y + sin(angle) * (distance + height / 2);
	return (struct box){x - width / 2, x + width / 2, y - height / 2, y + height / 2};
}

/* False: there is no place. */
static bool place(const struct labels *s, struct label *l)
{
	for (int ring = 0; ring < RINGS; ring++)
		for (int i = 0; i < DIRECTIONS; i++) {
			int k = i % 2 ? -(i + 1) / 2 : i / 2; /* the sides before above and below */
			double angle = k * 2 * M_PI / DIRECTIONS;

			l->at = box_at(l, POINT + 3 + ring * 14, angle);
			if (is_free(s, &l->at))
				return true;
		}
	return false;
}

static void write_label(FILE *out, const struct label *l)
{
	double x = fmin(fmax(l->x, l->at.left), l->at.right);
	double y = fmin(fmax(l->y, l->at.bottom), l->at.top);

	if (hypot(x - l->x, y - l->y) > 2 * POINT)
		fprintf(out,
			"set arrow from screen %.1f/W, screen %.1f/H to screen %.1f/W, screen %.1f/H "
			"nohead back lw 0.7 lc rgb '#999999'\n",
			l->x, l->y, x, y);
	for (unsigned line = 0, i = 0; line < l->lines; line++) {
		fprintf(out, "set label ''");
		for (; i < l->ends[line]; i++) {
			fprintf(out, ".");
			gnuplot_text(out, l->name[i]);
			fprintf(out, "%s", i + 1 < l->n ? ".', '" : "");
		}
		fprintf(out, " at screen %.1f/W, screen %.1f/H center front tc rgb '#333333'\n",
			(l->at.left + l->at.right) / 2, l->at.top - (line + 0.5) * LINE_HEIGHT);
	}
}

void plot_labels(FILE *script, const struct plot_area *area, const struct plot_name *names,
		 unsigned n)
{
	struct labels *s = calloc(1, sizeof(*s));

	if (!s) /* a picture without names is a picture still */
		return;
	s->area = area;
	s->names = names;
	s->nnames = n;
	collect(s);
	for (unsigned i = 0; i < s->n; i++) {
		struct label l = s->label[i];

		divide(&l);
		if (!place(s, &l))
			continue;
		s->label[i] = s->label[s->placed];
		s->label[s->placed++] = l;
	}
	for (unsigned i = 0; i < s->placed; i++)
		write_label(script, &s->label[i]);
	free(s);
}
