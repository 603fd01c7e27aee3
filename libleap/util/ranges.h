/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ranges.h - a set of addresses, kept as sorted ranges that do not touch each other. Not locked: the owner does that.
 * Its memory is the pager's.
 */
#ifndef LEAP_UTIL_RANGES_H
#define LEAP_UTIL_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
	uintptr_t start, end;
};

/* All zero is the empty set. */
struct ranges {
	struct range *list;
	size_t count, cap;
};

/* Adds [start, end); what is there already is joined. False when memory is out: nothing changed. */
bool ranges_add(struct ranges *set, uintptr_t start, uintptr_t end);
/* Takes [start, end) out, whatever of it is there. False when memory is out: nothing changed. */
bool ranges_cut(struct ranges *set, uintptr_t start, uintptr_t end);
/* Is all of [start, end) there? Any of it? */
bool ranges_holds(const struct ranges *set, uintptr_t start, uintptr_t end);
bool ranges_touches(const struct ranges *set, uintptr_t start, uintptr_t end);
/* End of the first part of [at, end) that is all in the set or all outside; *ret_inside tells which. */
uintptr_t ranges_edge(const struct ranges *set, uintptr_t at, uintptr_t end, bool *ret_inside);
/* Lowest multiple of align (a power of two) where len bytes are in the set; 0 when there is none. */
uintptr_t ranges_fit(const struct ranges *set, size_t len, size_t align);
/* Forgets everything. */
void ranges_clear(struct ranges *set);

#endif
