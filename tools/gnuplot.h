/* SPDX-License-Identifier: Apache-2.0 */
/* gnuplot.h - gnuplot(1), which draws our pictures: started, written to, and what went wrong in a sentence. */
#ifndef LEAP_TOOLS_GNUPLOT_H
#define LEAP_TOOLS_GNUPLOT_H

#include <stdio.h>

/* Whether the file can be written; it is left as it is. 0, or -errno with the sentence set. */
int gnuplot_check(const char *png);
/* Starts it on a picture of that size. Its commands are written to *ret_script. 0, or -errno with the sentence set. */
int gnuplot_open(const char *png, unsigned width, unsigned height, FILE **ret_script);
/* Has it draw and waits. 0, or -errno with the sentence set: gnuplot is not there, or could not. */
int gnuplot_close(FILE *script, const char *png);
/* A text as a string of gnuplot's, in which nothing is special. */
void gnuplot_text(FILE *script, const char *text);

#endif
