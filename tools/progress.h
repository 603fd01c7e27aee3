/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - one line on stderr that says how far a long step is; only on a terminal, or when it
 * was asked for (then a line a second, for logs).
 */
#ifndef LEAP_TOOLS_PROGRESS_H
#define LEAP_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on, redraw;
	char what[96];
	uint64_t start_ns, next_ns, total;
};

void progress_init(struct progress *p, bool forced);
void progress_start(struct progress *p, uint64_t total, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void progress_draw(struct progress *p, uint64_t now_ns, uint64_t done);
/* Wipes the line. */
void progress_end(struct progress *p);

/* Cheap while nothing is due. */
static inline void progress_at(struct progress *p, uint64_t now_ns, uint64_t done)
{
	if (__builtin_expect(now_ns >= p->next_ns, 0))
		progress_draw(p, now_ns, done);
}

#endif
