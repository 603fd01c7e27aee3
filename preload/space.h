/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h - who owns which addresses of the reservation.
 *
 * Each page of it is *free*, *ours* (the program uses it, the pager manages it) or *foreign* (the program placed a
 * mapping of its own there, which the kernel serves). Free ranges are handed out lowest first, so that the part in
 * use stays small.
 *
 * Marks are what the program asked for on parts that are ours:
 *   LOCKED   mlock(): pinned. Locks do not nest, pins do, hence the mark
 *   STACK    the program gave it to a thread as its stack: the part that the kernel writes is pinned
 *   REGISTERED  the kernel or a device was told to use it for long (pins.h): pinned
 *   WIPE     madvise(MADV_WIPEONFORK)
 *   GUARDED  mprotect() to something else than read and write
 *
 * One lock for all, first in the order of the pager's locks; signals are blocked while it is held.
 */
#ifndef LEAP_PRELOAD_SPACE_H
#define LEAP_PRELOAD_SPACE_H

#include <stdbool.h>
#include <stddef.h>

enum space_kind { SPACE_OUTSIDE, SPACE_FREE, SPACE_FOREIGN, SPACE_OURS };
enum space_mark {
	MARK_FOREIGN,
	MARK_LOCKED,
	MARK_STACK,
	MARK_REGISTERED,
	MARK_WIPE,
	MARK_GUARDED,
	MARKS
};

/* Starts with [addr, addr + len) free. -ENOMEM. */
int space_init(void *addr, size_t len);

/* A managed, committed, zeroed range of len bytes at a multiple of align (a power of two); both multiples of
 * pages. NULL when the reservation is used up. */
void *space_take(size_t len, size_t align);
/* Exactly [addr, addr + len), if all of it is free. */
bool space_take_at(void *addr, size_t len);
/* Takes addresses only, nothing is committed; and gives them back. */
bool space_reserve_at(void *addr, size_t len);
void *space_reserve(size_t len);
void space_unreserve(void *addr, size_t len);
/* Gives back a range that is ours: its content, its marks, its addresses. */
void space_give(void *addr, size_t len);
/* The range, which is ours, holds another mapping now: forgets content and marks. The addresses stay taken. */
void space_abandon(void *addr, size_t len);
/* Removes what mlock(), madvise() and mprotect() asked for. */
void space_plain(void *addr, size_t len);

/* End of the first part of [at, end) that is all of one kind. */
char *space_part(char *at, char *end, enum space_kind *ret_kind);

/* Is any of the range marked? */
bool space_marked(enum space_mark mark, const void *addr, size_t len);
/* The first part of [*at, end) that is not marked becomes so: 1 with the part in [*ret_from, *at); 0 when all is marked;
 * -ENOMEM. */
int space_mark_next(enum space_mark mark, char **at, char *end, char **ret_from);
/* The same for removing marks. */
int space_unmark_next(enum space_mark mark, char **at, char *end, char **ret_from);
/* The first marked part of [*at, end): true with the part in [*ret_from, *at). */
bool space_marked_next(enum space_mark mark, char **at, char *end, char **ret_from);
int space_mark(enum space_mark mark, void *addr, size_t len);
void space_unmark(enum space_mark mark, void *addr, size_t len);

void space_fork_lock(void);
void space_fork_unlock(void);

#endif
