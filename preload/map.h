/* SPDX-License-Identifier: Apache-2.0 */
/* map.h - between the files that serve memory calls: map.c, map_fixed.c, remap.c, advise.c, mlock.c. */
#ifndef LEAP_PRELOAD_MAP_H
#define LEAP_PRELOAD_MAP_H

#include <stddef.h>
#include <sys/types.h>
#include "libleap/util/sys.h"
#include "preload/space.h"

/* len rounded up to pages; 0 when that overflows. */
static inline size_t map_round(size_t len)
{
	return (len + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK;
}

/* Sets errno. */
int map_fail(int err);

/* A call of the program on a range of whole pages, made for each part of one kind in turn. */
struct map_call {
	int (*fn)(const struct map_call *call, char *from, char *to, enum space_kind kind);
	char *addr; /* of the whole call */
	union {
		int number; /* an advice, a protection */
		unsigned flags;
		unsigned char *vec;
	};
};
/* 0; -1 with errno of the first part that failed. A part's ENOMEM is told only after the others were served, as the
 * kernel does with holes, unless stop is set. */
int map_each(const struct map_call *call, size_t len, bool stop);

/* mmap() with MAP_FIXED or MAP_FIXED_NOREPLACE on a range that touches the reservation. */
void *map_fixed(void *addr, size_t len, int prot, int flags, int fd, off_t off);
/* [from, to), inside the reservation, becomes fresh memory of ours, readable and writable, whatever it was. */
int map_fresh(char *from, char *to);
/*
 * [from, to), inside the reservation, is about to become foreign. Afterwards map_foreign_end() tells whether the
 * program's mapping was made; if not, everything is as before.
 */
int map_foreign_begin(char *from, char *to);
void map_foreign_end(char *from, char *to, bool made);
/* A foreign part is unmapped: its addresses are free again. */
int map_reclaim(char *from, char *to);

/* Marks the range and pins the pages that get the mark: -ENOMEM; and the reverse. */
int map_pin(enum space_mark mark, char *from, char *to);
void map_unpin(enum space_mark mark, char *from, char *to);
static inline int map_lock(char *from, char *to)
{
	return map_pin(MARK_LOCKED, from, to);
}
static inline void map_unlock(char *from, char *to)
{
	map_unpin(MARK_LOCKED, from, to);
}

#endif
