/* SPDX-License-Identifier: Apache-2.0 */
/* space.c - see space.h. */
#include <errno.h>

#include "libleap/lock.h"
#include "libleap/util/ranges.h"
#include "preload/preload.h"
#include "preload/space.h"

static struct lock lock = LOCK_INIT(LOCK_RANK_RANGE);
static struct ranges free_space;
static struct ranges marks[MARKS];

static void enter(struct lock_app *saved)
{
	lock_app_enter(saved);
	lock_acquire(&lock);
}

static void leave(struct lock_app *saved)
{
	lock_release(&lock);
	lock_app_leave(saved);
}

int space_init(void *addr, size_t len)
{
	return ranges_add(&free_space, (uintptr_t)addr, (uintptr_t)addr + len) ? 0 : -ENOMEM;
}

static void *reserve(size_t len, size_t align)
{
	struct lock_app saved;
	uintptr_t at;

	enter(&saved);
	at = ranges_fit(&free_space, len, align);
	if (at && !ranges_cut(&free_space, at, at + len))
		at = 0;
	leave(&saved);
	return (void *)at;
}

void *space_reserve(size_t len)
{
	return reserve(len, LEAP_PAGE_BYTES);
}

bool space_reserve_at(void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr, end = start + len;
	struct lock_app saved;
	bool ok;

	enter(&saved);
	ok = ranges_holds(&free_space, start, end) && ranges_cut(&free_space, start, end);
	leave(&saved);
	return ok;
}

/* When memory for the table is out, the addresses stay unused: a leak of address space, not of memory. */
void space_unreserve(void *addr, size_t len)
{
	struct lock_app saved;

	enter(&saved);
	ranges_add(&free_space, (uintptr_t)addr, (uintptr_t)addr + len);
	leave(&saved);
}

void *space_take(size_t len, size_t align)
{
	void *addr = reserve(len, align);

	if (addr && region_commit(preload.region, addr, len)) {
		space_unreserve(addr, len);
		addr = NULL;
	}
	return addr;
}

bool space_take_at(void *addr, size_t len)
{
	if (!space_reserve_at(addr, len))
		return false;
	if (!region_commit(preload.region, addr, len))
		return true;
	space_unreserve(addr, len);
	return false;
}

static void unpin(enum space_mark mark, char *at, char *end)
{
	char *from;

	while (space_unmark_next(mark, &at, end, &from) == 1)
		region_unpin(preload.region, from, (size_t)(at - from));
}

static void remove_pins(char *addr, size_t len)
{
	unpin(MARK_LOCKED, addr, addr + len);
	unpin(MARK_STACK, addr, addr + len);
	unpin(MARK_REGISTERED, addr, addr + len);
	space_unmark(MARK_WIPE, addr, len);
}

void space_plain(void *addr, size_t len)
{
	char *at = addr, *end = at + len, *from;

	while (space_unmark_next(MARK_GUARDED, &at, end, &from) == 1)
		sys_mprotect(from, (size_t)(at - from), PROT_READ | PROT_WRITE);
	remove_pins(addr, len);
}

void space_give(void *addr, size_t len)
{
	space_plain(addr, len);
	region_release(preload.region, addr, len);
	space_unreserve(addr, len);
}

void space_abandon(void *addr, size_t len)
{
	space_unmark(MARK_GUARDED, addr, len);
	remove_pins(addr, len);
	region_abandon(preload.region, addr, len);
}

char *space_part(char *at, char *end, enum space_kind *ret_kind)
{
	uintptr_t edge, free_edge;
	bool is_free, foreign;
	struct lock_app saved;

	if (!preload_ready() || at >= preload.end || end <= preload.start) {
		*ret_kind = SPACE_OUTSIDE;
		return end;
	}
	if (at < preload.start) {
		*ret_kind = SPACE_OUTSIDE;
		return preload.start;
	}
	if (end > preload.end)
		end = preload.end;
	enter(&saved);
	free_edge = ranges_edge(&free_space, (uintptr_t)at, (uintptr_t)end, &is_free);
	edge = ranges_edge(&marks[MARK_FOREIGN], (uintptr_t)at, (uintptr_t)end, &foreign);
	leave(&saved);
	*ret_kind = is_free ? SPACE_FREE : foreign ? SPACE_FOREIGN : SPACE_OURS;
	return (char *)(edge < free_edge ? edge : free_edge);
}

bool space_marked(enum space_mark mark, const void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr;
	struct lock_app saved;
	bool any;

	if (!__atomic_load_n(&marks[mark].count, __ATOMIC_RELAXED))
		return false;
	enter(&saved);
	any = ranges_touches(&marks[mark], start, start + len);
	leave(&saved);
	return any;
}

/* The first part of [*at, end) whose being marked is `marked` is changed to the opposite. */
static int change_next(enum space_mark mark, bool marked, char **at, char *end, char **ret_from)
{
	uintptr_t from = (uintptr_t)*at, to = from, stop = (uintptr_t)end;
	struct ranges *set = &marks[mark];
	bool inside = !marked, ok = true;
	struct lock_app saved;

	enter(&saved);
	while (to < stop && inside != marked) {
		from = to;
		to = ranges_edge(set, from, stop, &inside);
	}
	if (inside == marked)
		ok = marked ? ranges_cut(set, from, to) : ranges_add(set, from, to);
	leave(&saved);
	if (inside != marked)
		return 0;
	*ret_from = (char *)from;
	*at = (char *)to;
	return ok ? 1 : -ENOMEM;
}

int space_mark_next(enum space_mark mark, char **at, char *end, char **ret_from)
{
	return change_next(mark, false, at, end, ret_from);
}

int space_unmark_next(enum space_mark mark, char **at, char *end, char **ret_from)
{
	if (!__atomic_load_n(&marks[mark].count, __ATOMIC_RELAXED))
		return 0;
	return change_next(mark, true, at, end, ret_from);
}

bool space_marked_next(enum space_mark mark, char **at, char *end, char **ret_from)
{
	uintptr_t to = (uintptr_t)*at, stop = (uintptr_t)end;
	bool inside = false;
	struct lock_app saved;

	enter(&saved);
	while (to < stop && !inside) {
		*ret_from = (char *)to;
		to = ranges_edge(&marks[mark], to, stop, &inside);
	}
	leave(&saved);
	*at = (char *)to;
	return inside;
}

int space_mark(enum space_mark mark, void *addr, size_t len)
{
	struct lock_app saved;
	bool ok;

	enter(&saved);
	ok = ranges_add(&marks[mark], (uintptr_t)addr, (uintptr_t)addr + len);
	leave(&saved);
	return ok ? 0 : -ENOMEM;
}

void space_unmark(enum space_mark mark, void *addr, size_t len)
{
	struct lock_app saved;

	if (!__atomic_load_n(&marks[mark].count, __ATOMIC_RELAXED))
		return;
	enter(&saved);
	ranges_cut(&marks[mark], (uintptr_t)addr, (uintptr_t)addr + len);
	leave(&saved);
}

void space_fork_lock(void)
{
	lock_acquire(&lock);
}

void space_fork_unlock(void)
{
	lock_release(&lock);
}
