/* SPDX-License-Identifier: Apache-2.0 */
/* content.c - see content.h. */
#include <errno.h>

#include "libleap/log.h"
#include "libleap/uffd/content.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/proc.h"
#include "libleap/util/sys.h"

#define PAGEMAP_CONTENT (3ull << 62) /* present, or swapped out, or under migration */

static int read_entries(const void *addr, size_t n, uint64_t *entry)
{
	size_t bytes = n * sizeof(entry[0]);
	off_t at = (off_t)(((uintptr_t)addr >> LEAP_PAGE_SHIFT) * sizeof(entry[0]));
	long r = proc_read(PROC_PAGEMAP, entry, bytes, at);

	if (r != (long)bytes)
		return r < 0 ? (int)r : -EIO;
	return 0;
}

int content_find(const void *addr, size_t n, bool *ret_there)
{
	uint64_t entry[CONTENT_PAGES];
	int err = read_entries(addr, n, entry);

	for (size_t i = 0; !err && i < n; i++)
		ret_there[i] = entry[i] & PAGEMAP_CONTENT;
	return err;
}

size_t content_skip(const void *addr, size_t n)
{
	struct page_region found;
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + (n << LEAP_PAGE_SHIFT),
		.vec = (uintptr_t)&found,
		.vec_len = 1,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	long r = sys_ret(syscall(SYS_ioctl, proc_fd(PROC_PAGEMAP), PAGEMAP_SCAN, &scan));

	if (r < 0) /* before Linux 6.7 */
		return 0;
	return r ? (size_t)(found.start - scan.start) >> LEAP_PAGE_SHIFT : n;
}

/* Zeroes cannot be put where a page is. Where they could, they are dropped again. */
static bool probe(int uffd, char *addr)
{
	int err = uffd_zero(uffd, addr, LEAP_PAGE_BYTES);

	if (!err)
		sys_discard(addr, LEAP_PAGE_BYTES);
	else if (err != -EEXIST && err != -ENOENT)
		log_error("the kernel does not say whether a page at %p is there (error %d): it is "
			  "taken for missing",
			  (void *)addr, -err);
	return err == -EEXIST;
}

uint64_t content_mask(int uffd, const void *addr, unsigned n)
{
	uint64_t entry[64], mask = 0;
	bool told = !read_entries(addr, n, entry);

	for (unsigned i = 0; i < n; i++) {
		char *page = (char *)addr + ((size_t)i << LEAP_PAGE_SHIFT);

		if (told ? (entry[i] & PAGEMAP_CONTENT) != 0 : probe(uffd, page))
			mask |= 1ull << i;
	}
	return mask;
}
