/* SPDX-License-Identifier: Apache-2.0 */
/* map.h - between map.c and map_fixed.c. */
#ifndef LEAP_PRELOAD_MAP_H
#define LEAP_PRELOAD_MAP_H

#include <stddef.h>
#include <sys/types.h>

/* len rounded up to pages; 0 when that overflows. */
size_t map_round(size_t len);
/* mmap() with MAP_FIXED or MAP_FIXED_NOREPLACE on a range that touches the reservation. */
void *map_fixed(void *addr, size_t len, int prot, int flags, int fd, off_t off);
/* The program unmaps [from, to), all inside the reservation: allocated parts are given back, free
 * parts skipped. */
void map_release(char *from, char *to);

#endif
