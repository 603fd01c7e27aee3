/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c - see progress.h. */
#include "tools/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "libleap/util/sys.h"

#define QUIET_NS 2000000000ull /* steps that take no longer say nothing */

void progress_init(struct progress *p, bool forced)
{
	p->redraw = isatty(STDERR_FILENO);
	p->on = p->redraw || forced;
	p->next_ns = UINT64_MAX;
}

void progress_start(struct progress *p, uint64_t total, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(p->what, sizeof(p->what), format, ap);
	va_end(ap);
	p->total = total;
	p->start_ns = clock_ns();
	p->next_ns = p->on ? p->start_ns + QUIET_NS : UINT64_MAX;
}

void progress_draw(struct progress *p, uint64_t now_ns, uint64_t done)
{
	double s = (double)(now_ns - p->start_ns) / 1e9;
	double share = p->total ? (double)done / (double)p->total : 0;

	fprintf(stderr, "%s%s: %3.0f%%, %.0f s%s", p->redraw ? "\r" : "", p->what, 100 * share, s,
		p->redraw ? " " : "");
	if (share > 0.02)
		fprintf(stderr, ", about %.0f s left", s / share - s);
	fputs(p->redraw ? "\033[K" : "\n", stderr);
	p->next_ns = now_ns + (p->redraw ? 250000000 : 1000000000);
}

void progress_end(struct progress *p)
{
	if (p->on && p->redraw)
		fputs("\r\033[K", stderr);
	p->next_ns = UINT64_MAX;
}
