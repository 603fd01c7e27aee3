/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remap.c - mremap().
 *
 * Managed memory is moved by the pager: the content is carried over and the old range given back. Memory whose protection
 * was changed keeps it; while it is moved it is readable and writable at its old place.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "libleap/util/maps.h"
#include "preload/map.h"
#include "preload/preload.h"

struct remap {
	char *old, *want; /* want: MREMAP_FIXED */
	size_t old_len, new_len;
	int flags;
	int prot;
};

/* What the kernel refuses whatever is mapped. */
static int check(const struct remap *r)
{
	uintptr_t bad = (uintptr_t)r->old;

	if (r->flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) || !r->new_len ||
	    !r->old_len)
		return EINVAL;
	if (r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) && !(r->flags & MREMAP_MAYMOVE))
		return EINVAL;
	if (r->flags & MREMAP_DONTUNMAP && r->old_len != r->new_len)
		return EINVAL;
	if (r->flags & MREMAP_FIXED) {
		bad |= (uintptr_t)r->want;
		if (r->want < r->old + r->old_len && r->old < r->want + r->new_len)
			return EINVAL;
	}
	return bad & LEAP_PAGE_MASK ? EINVAL : 0;
}

static long raw_mremap(const struct remap *r)
{
	return syscall(SYS_mremap, r->old, r->old_len, r->new_len, r->flags, r->want);
}

/* New memory, readable and writable, gets the protection of the old. */
static void guard(char *addr, size_t len, int prot)
{
	if (prot == (PROT_READ | PROT_WRITE))
		return;
	if (managed(addr, len))
		space_mark(MARK_GUARDED, addr, len);
	sys_mprotect(addr, len, prot);
}

/* The content is in its new place: its locks and its protection follow. */
static void *moved(const struct remap *r, char *to, bool locked, bool wiped)
{
	if (!(r->flags & MREMAP_DONTUNMAP))
		space_give(r->old, r->old_len);
	if (wiped)
		space_mark(MARK_WIPE, to, r->new_len);
	if (locked)
		map_lock(to, to + r->new_len);
	guard(to, r->new_len, r->prot);
	return to;
}

/* To [to, to + new_len), which is ours and fresh. */
static void *move_inside(const struct remap *r, char *to)
{
	bool locked = space_marked(MARK_LOCKED, r->old, r->old_len);
	bool wiped = space_marked(MARK_WIPE, r->old, r->old_len);

	region_move(preload.region, r->old, to, r->old_len < r->new_len ? r->old_len : r->new_len);
	return moved(r, to, locked, wiped);
}

static void *move_outside(const struct remap *r)
{
	size_t keep = r->old_len < r->new_len ? r->old_len : r->new_len;

	if (syscall(SYS_mmap, r->want, r->new_len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == -1)
		return NULL;
	memcpy(r->want, r->old, keep);
	if (r->flags & MREMAP_DONTUNMAP)
		region_discard(preload.region, r->old, r->old_len);
	return moved(r, r->want, false, false);
}

static void *move_readable(const struct remap *r)
{
	char *to = r->want;

	if (!(r->flags & MREMAP_FIXED)) {
		to = space_take(r->new_len, LEAP_PAGE_BYTES);
		return to ? move_inside(r, to) : NULL;
	}
	if (!managed(to, r->new_len))
		return move_outside(r);
	if (to < preload.start || to + r->new_len > preload.end || map_fresh(to, to + r->new_len))
		return NULL;
	return move_inside(r, to);
}

static void *move(const struct remap *r)
{
	bool guarded = r->prot != (PROT_READ | PROT_WRITE);
	void *to;

	/* the kernel or a device would go on with the frames, not with the copy */
	if (space_marked(MARK_REGISTERED, r->old, r->old_len))
		return NULL;
	if (guarded && sys_mprotect(r->old, r->old_len, PROT_READ | PROT_WRITE))
		return NULL;
	to = move_readable(r);
	if (guarded && (!to || r->flags & MREMAP_DONTUNMAP))
		sys_mprotect(r->old, r->old_len, r->prot);
	return to;
}

static void *resize_ours(const struct remap *r)
{
	if (r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		return move(r);
	if (r->new_len < r->old_len)
		space_give(r->old + r->new_len, r->old_len - r->new_len);
	if (r->new_len <= r->old_len)
		return r->old;
	if (space_take_at(r->old + r->old_len, r->new_len - r->old_len)) {
		if (space_marked(MARK_LOCKED, r->old, r->old_len))
			map_lock(r->old + r->old_len, r->old + r->new_len);
		guard(r->old + r->old_len, r->new_len - r->old_len, r->prot);
		return r->old;
	}
	return r->flags & MREMAP_MAYMOVE ? move(r) : NULL;
}

/* The kernel's mapping, from or to addresses of the reservation. Holes it leaves are free again. */
static long remap_foreign(const struct remap *r, bool from_us)
{
	bool to_us = r->flags & MREMAP_FIXED && managed(r->want, r->new_len);
	char *end = r->want + r->new_len;
	long p;

	if (to_us &&
	    (r->want < preload.start || end > preload.end || map_foreign_begin(r->want, end))) {
		errno = ENOMEM;
		return -1;
	}
	/* what is there goes first, as in the kernel: afterwards it would be the moved content */
	if (to_us)
		map_foreign_end(r->want, end, true);
	p = raw_mremap(r);
	if (p == -1 && to_us)
		map_reclaim(r->want, end);
	if (p == -1 || !from_us || r->flags & MREMAP_DONTUNMAP)
		return p;
	if ((char *)p != r->old)
		map_reclaim(r->old, r->old + r->old_len);
	else if (r->new_len < r->old_len)
		map_reclaim(r->old + r->new_len, r->old + r->old_len);
	return p;
}

/* Like the kernel: one mapping, thus one protection. */
static int find_protection(struct remap *r)
{
	r->prot = PROT_READ | PROT_WRITE;
	if (space_marked(MARK_GUARDED, r->old, r->old_len))
		r->prot = maps_protection(r->old, r->old_len);
	return r->prot < 0 ? EFAULT : 0;
}

static void *remap(struct remap *r)
{
	enum space_kind kind;
	void *p = NULL;
	int err = check(r);

	if (!err && space_part(r->old, r->old + r->old_len, &kind) != r->old + r->old_len)
		err = EFAULT;
	if (!err && kind == SPACE_FREE)
		err = EFAULT;
	if (!err && kind == SPACE_OURS)
		err = find_protection(r);
	if (!err && kind != SPACE_OURS)
		return (void *)remap_foreign(r, kind == SPACE_FOREIGN);
	if (!err) {
		p = resize_ours(r);
		err = ENOMEM;
	}
	if (!p)
		errno = err;
	return p ? p : MAP_FAILED;
}

EXPORT void *mremap(void *old, size_t old_len, size_t new_len, int flags, ...)
{
	struct remap r = {.old = old,
			  .old_len = map_round(old_len),
			  .new_len = map_round(new_len),
			  .flags = flags};

	if (flags & MREMAP_FIXED) {
		va_list ap;

		va_start(ap, flags);
		r.want = va_arg(ap, void *);
		va_end(ap);
	}
	if (in_runtime() || (!managed(old, r.old_len ? r.old_len : 1) &&
			     !(flags & MREMAP_FIXED && managed(r.want, r.new_len))))
		return (void *)syscall(SYS_mremap, old, old_len, new_len, flags, r.want);
	return remap(&r);
}
