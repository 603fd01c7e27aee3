/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c - see maps.h. Lines are read in pieces into the stack; paths behind the inode are skipped. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "libleap/util/maps.h"
#include "libleap/util/proc.h"
#include "libleap/util/sys.h"

struct reader {
	off_t offset;
	size_t at, end;
	char buf[4096];
};

/* Next byte, or -1 at the end. */
static int next(struct reader *r)
{
	if (r->at == r->end) {
		long n = proc_read(PROC_MAPS, r->buf, sizeof(r->buf), r->offset);

		if (n <= 0)
			return -1;
		r->offset += n;
		r->at = 0;
		r->end = (size_t)n;
	}
	return (unsigned char)r->buf[r->at++];
}

/* A number up to `stop`. */
static bool number(struct reader *r, unsigned base, int stop, uint64_t *ret)
{
	uint64_t v = 0;
	int c;

	while ((c = next(r)) != stop) {
		if (c >= '0' && c <= '9')
			v = v * base + (uint64_t)(c - '0');
		else if (base == 16 && c >= 'a' && c <= 'f')
			v = v * base + (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*ret = v;
	return true;
}

/* "START-END PERM OFFSET DEV INODE PATH": false at the end of the file. */
static bool line(struct reader *r, uint64_t *start, uint64_t *end, char *perm, bool *plain)
{
	uint64_t inode, ignored;
	int c;

	if (!number(r, 16, '-', start) || !number(r, 16, ' ', end))
		return false;
	for (int i = 0; i < 4; i++)
		perm[i] = (char)next(r);
	if (next(r) != ' ' || !number(r, 16, ' ', &ignored))
		return false;
	while ((c = next(r)) != ' ')
		if (c < 0)
			return false;
	for (inode = 0; (c = next(r)) >= '0' && c <= '9';)
		inode = inode * 10 + (uint64_t)(c - '0');
	while (c >= 0 && c != '\n')
		c = next(r);
	*plain = !memcmp(perm, "rw-p", 4) && !inode;
	return true;
}

/* Is all of [addr, addr + len) mapped, and does each mapping in it fit? 1, 0, or -errno. */
static int all_fit(const void *addr, size_t len,
		   bool (*fits)(const char *perm, bool plain, int *arg), int *arg)
{
	uint64_t at = (uintptr_t)addr, stop = at + len, start, end;
	struct reader r = {.offset = 0};
	char perm[4];
	bool plain;

	if (proc_fd(PROC_MAPS) < 0)
		return proc_fd(PROC_MAPS);
	while (at < stop && line(&r, &start, &end, perm, &plain)) {
		if (end <= at)
			continue;
		if (start > at || !fits(perm, plain, arg))
			break;
		at = end;
	}
	return at >= stop;
}

static bool fits_plain(const char *perm, bool plain, int *arg)
{
	return plain;
}

int maps_private_anonymous(const void *addr, size_t len)
{
	return all_fit(addr, len, fits_plain, NULL);
}

/* *prot is that of the mappings before, or negative. */
static bool fits_protection(const char *perm, bool plain, int *prot)
{
	int mine = (perm[0] == 'r' ? PROT_READ : 0) | (perm[1] == 'w' ? PROT_WRITE : 0) |
		   (perm[2] == 'x' ? PROT_EXEC : 0);

	if (*prot >= 0 && *prot != mine)
		return false;
	*prot = mine;
	return true;
}

int maps_protection(const void *addr, size_t len)
{
	int prot = -1, all = all_fit(addr, len, fits_protection, &prot);

	if (all < 0)
		return all;
	return all ? prot : -EFAULT;
}
