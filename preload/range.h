/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.h - which addresses of the reservation are free.
 *
 * A sorted array of free ranges; the lowest that fits is taken, so that the part of the reservation in use stays
 * small. Its lock ranks before all locks of the pager; signals are blocked while it is held.
 */
#ifndef LEAP_PRELOAD_RANGE_H
#define LEAP_PRELOAD_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts with [addr, addr + len) free. -ENOMEM. */
int range_init(void *addr, size_t len);
/* Takes len bytes at a multiple of align (a power of two); both multiples of pages. NULL when none fits. */
void *range_take(size_t len, size_t align);
/* Takes exactly [addr, addr + len) if all of it is free. */
bool range_take_at(void *addr, size_t len);
/* Gives any range back; parts that are free already are ignored. */
void range_give(void *addr, size_t len);
/* First free address at or after addr, and how much is free there; false when nothing is behind. */
bool range_next_free(const void *addr, char **ret_addr, size_t *ret_len);

void range_fork_lock(void);
void range_fork_unlock(void);

#endif
