/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content.h - which pages of a range have content: in memory or swapped out, as the kernel's page tables say.
 *
 * mincore() does not see what is swapped out, and looking at a page that has none would fault.
 */
#ifndef LEAP_CONTENT_H
#define LEAP_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENT_PAGES 512 /* most that are asked about at once */

/* Answers for n <= CONTENT_PAGES pages from addr on; 0 or -errno (where /proc is not mounted). Opens nothing (proc.h). */
int content_find(const void *addr, size_t n, bool *ret_there);
/* How many of the first of n pages have no content for certain: 0 on kernels that have no quick answer. */
size_t content_skip(const void *addr, size_t n);
/*
 * Which of n <= 64 pages of memory that is registered with this userfaultfd have content, as a mask. Always an answer:
 * without /proc by trying to map zeroes there, which are dropped again. Nobody else may use these pages meanwhile.
 */
uint64_t content_mask(int uffd, const void *addr, unsigned n);

#endif
