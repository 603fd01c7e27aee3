/* SPDX-License-Identifier: Apache-2.0 */
/* maps.h - what the kernel says of this process's mappings (/proc/self/maps). */
#ifndef LEAP_UTIL_MAPS_H
#define LEAP_UTIL_MAPS_H

#include <stddef.h>

/* Is every byte of [addr, addr + len) private anonymous read-write memory? 1, 0, or -errno when the kernel
 * does not tell. */
int maps_private_anonymous(const void *addr, size_t len);

/* The protection (PROT_*) of [addr, addr + len) if it is all mapped and the same all over; -EFAULT if not, -errno when the kernel
 * does not tell. */
int maps_protection(const void *addr, size_t len);

#endif
