/* SPDX-License-Identifier: Apache-2.0 */
/* rings.h - what the io_uring rings among the program's descriptors hold pinned, as /proc tells it. */
#ifndef LEAP_RINGS_H
#define LEAP_RINGS_H

#include <stdbool.h>
#include <stdint.h>
#include "libleap/util/ranges.h"

struct rings {
	struct ranges buffers; /* whole pages */
	long pinned;           /* pages, in all */
	bool device;           /* something else is open that may pin */
};

/*
 * Reads what all rings hold, and calls count() in between; what changed meanwhile is read again. -EAGAIN: it goes on
 * changing, or a ring is in use all the time; -ENOMEM; other -errno: the kernel does not tell. rings_end() in any case.
 */
int rings_look(struct rings *rings, long (*count)(void));
/* How many of the pinned pages the rings do not account for. */
long rings_left(const struct rings *rings);
/* Which pages of mask, page i at base + i pages, are in a buffer. */
uint64_t rings_hold(const struct rings *rings, const char *base, uint64_t mask);
void rings_end(struct rings *rings);

#endif
