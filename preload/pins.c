/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pins.c - see pins.h. Two ways of keeping a page: a count while the call is made, which others' calls on the same page
 * do not disturb; and then a mark of the range (space.h), which does not nest and ends with the memory. That a buffer
 * is unregistered ends no mark: requests may still be under way that write to it.
 */
#include <errno.h>
#include <string.h>

#include "libleap/log.h"
#include "libleap/util/mem.h"
#include "preload/map.h"
#include "preload/pins.h"
#include "preload/preload.h"

#define ARRAY_MAX ((uint64_t)1 << 14) /* the kernel takes no more */

bool pins_copy(void *to, uint64_t from, size_t len)
{
	struct iovec local = {to, len}, remote = {(void *)(uintptr_t)from, len};

	if (!from)
		return false;
	if (syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len)
		return true;
	if (errno != ENOSYS && errno != EPERM)
		return false;
	memcpy(to, (void *)(uintptr_t)from, len); /* a sandbox that forbids the call */
	return true;
}

void pins_add(struct pins *p, uint64_t addr, uint64_t len)
{
	if (preload_ready() && !in_runtime())
		p->few[p->n++] = (struct iovec){(void *)(uintptr_t)addr, (size_t)len};
}

int pins_array(struct pins *p, uint64_t iov, uint64_t n)
{
	if (!iov || !n || n > ARRAY_MAX || !preload_ready() || in_runtime())
		return 0;
	p->bytes = (size_t)n * sizeof(struct iovec);
	p->many = mem_map(p->bytes);
	if (!p->many)
		return -ENOMEM;
	p->n = pins_copy(p->many, iov, p->bytes) ? (size_t)n : 0;
	return 0;
}

static void whole_pages(const struct iovec *range, char **ret_from, char **ret_to)
{
	uintptr_t from = (uintptr_t)range->iov_base, to = from + range->iov_len;

	*ret_from = *ret_to = NULL;
	if (!managed(range->iov_base, range->iov_len))
		return;
	*ret_from = (char *)(from & ~LEAP_PAGE_MASK);
	*ret_to = (char *)((to + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK);
	if (*ret_from < preload.start)
		*ret_from = preload.start;
	if (*ret_to > preload.end || *ret_to < *ret_from)
		*ret_to = preload.end;
}

/* Calls fn for each part that is ours; *ret_at is where it failed, or the end. */
static int each_part(const struct iovec *range, int (*fn)(char *from, char *to), char **ret_at)
{
	char *at, *to;
	int err = 0;

	whole_pages(range, &at, &to);
	while (at < to && !err) {
		enum space_kind kind;
		char *edge = space_part(at, to, &kind);

		if (kind == SPACE_OURS)
			err = fn(at, edge);
		if (!err)
			at = edge;
	}
	*ret_at = at;
	return err;
}

static int hold_part(char *from, char *to)
{
	return region_pin(preload.region, from, (size_t)(to - from));
}

static int mark_part(char *from, char *to)
{
	return map_pin(MARK_REGISTERED, from, to);
}

static void drop(const struct iovec *range)
{
	char *from, *to;

	whole_pages(range, &from, &to);
	if (from < to)
		region_unpin(preload.region, from, (size_t)(to - from));
}

/* All or nothing. */
static int hold(const struct pins *p, const struct iovec *ranges)
{
	for (size_t i = 0; i < p->n; i++) {
		char *at;
		int err = each_part(&ranges[i], hold_part, &at);
		struct iovec part = {ranges[i].iov_base, (size_t)(at - (char *)ranges[i].iov_base)};

		if (!err)
			continue;
		if (at > (char *)ranges[i].iov_base)
			drop(&part);
		while (i--)
			drop(&ranges[i]);
		return err;
	}
	return 0;
}

static void forget(struct pins *p)
{
	mem_unmap(p->many, p->bytes);
	p->many = NULL;
	p->n = 0;
}

int pins_begin(struct pins *p)
{
	int err = hold(p, p->many ? p->many : p->few);

	if (!err)
		return 0;
	forget(p);
	if (runtime_sees_pins(preload.leap)) /* the kernel's own pins do */
		return 0;
	log_warn("memory that the program registers with the kernel or a device must stay local, "
		 "and the limit has no room for it: raise it (option local)");
	return -ENOMEM;
}

void pins_end(struct pins *p, bool made)
{
	const struct iovec *ranges = p->many ? p->many : p->few;
	int saved = errno;
	char *at;

	for (size_t i = 0; i < p->n; i++)
		if (!made || !each_part(&ranges[i], mark_part, &at))
			drop(&ranges[i]); /* else the count stays in the mark's place */
	forget(p);
	errno = saved;
}
