/* SPDX-License-Identifier: Apache-2.0 */
/* trace_view.h - a trace for people: a summary in words and figures, and a picture. */
#ifndef LEAP_TOOLS_TRACE_VIEW_H
#define LEAP_TOOLS_TRACE_VIEW_H

#include <stdio.h>

#include "tools/trace_file.h"

/* At most `top` strides and threads are shown. 0 or -ENOMEM with the sentence set. */
int trace_view(FILE *out, const char *name, const struct trace *trace, unsigned top);
/* Draws page numbers over time by gnuplot(1) into a PNG file. 0, or -errno with the sentence set. */
int trace_plot(const char *name, const struct trace *trace, const char *png);

#endif
