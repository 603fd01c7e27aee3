/* SPDX-License-Identifier: Apache-2.0 */
/* sim_plot_label.h - names beside points of a picture, of which none covers another or a point. */
#ifndef LEAP_TOOLS_SIM_PLOT_LABEL_H
#define LEAP_TOOLS_SIM_PLOT_LABEL_H

#include <stdio.h>

/* Where the axes are: percentages are drawn from low to high. Pixels, from the left and from below. */
struct plot_area {
	double left, right, bottom, top;
	double low, high;
};

struct plot_name {
	double x, y; /* per cent */
	const char *text;
};

/*
 * Writes gnuplot's commands. Points that lie on each other have one label with all their names. The script
 * has the picture's size in the variables W and H.
 */
void plot_labels(FILE *script, const struct plot_area *area, const struct plot_name *names,
		 unsigned n);

#endif
