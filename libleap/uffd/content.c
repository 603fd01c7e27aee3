/* SPDX-License-Identifier: Apache-2.0 */
/* content.c - see content.h. */
#include <errno.h>

#include "libleap/uffd/content.h"
#include "libleap/util/proc.h"
#include "libleap/util/sys.h"

#define PAGEMAP_CONTENT (3ull << 62) /* present, or swapped out */

int content_find(const void *addr, size_t n, bool *ret_there)
{
	uint64_t entry[CONTENT_PAGES];
	size_t bytes = n * sizeof(entry[0]);
	off_t at = (off_t)(((uintptr_t)addr >> LEAP_PAGE_SHIFT) * sizeof(entry[0]));
	long r = proc_read(PROC_PAGEMAP, entry, bytes, at);

	if (r != (long)bytes)
		return r < 0 ? (int)r : -EIO;
	for (size_t i = 0; i < n; i++)
		ret_there[i] = entry[i] & PAGEMAP_CONTENT;
	return 0;
}
