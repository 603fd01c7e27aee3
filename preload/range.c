/* SPDX-License-Identifier: Apache-2.0 */
/* range.c - see range.h. */
#include <errno.h>
#include <string.h>

#include "libleap/lock.h"
#include "libleap/util/mem.h"
#include "preload/range.h"

struct range {
	uintptr_t start, end;
};

static struct lock lock = LOCK_INIT(LOCK_RANK_RANGE);
static struct range *list;
static size_t count, cap;

static bool grow(void)
{
	size_t more = cap ? cap * 2 : 4096;
	struct range *bigger = mem_map(more * sizeof(*bigger));

	if (!bigger)
		return false;
	if (count)
		memcpy(bigger, list, count * sizeof(*list));
	mem_unmap(list, cap * sizeof(*list));
	list = bigger;
	cap = more;
	return true;
}

/* First range that ends behind addr. */
static size_t find(uintptr_t addr)
{
	size_t lo = 0, hi = count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (list[mid].end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void remove_at(size_t i)
{
	memmove(&list[i], &list[i + 1], (--count - i) * sizeof(*list));
}

static bool insert_at(size_t i, uintptr_t start, uintptr_t end)
{
	if (count == cap && !grow())
		return false; /* the addresses stay unused: a leak of address space, not of memory */
	memmove(&list[i + 1], &list[i], (count++ - i) * sizeof(*list));
	list[i] = (struct range){start, end};
	return true;
}

/* Cuts [start, end) out of free range i. */
static void cut(size_t i, uintptr_t start, uintptr_t end)
{
	uintptr_t tail_end = list[i].end;

	if (list[i].start == start && list[i].end == end) {
		remove_at(i);
	} else if (list[i].start == start) {
		list[i].start = end;
	} else {
		list[i].end = start;
		if (end < tail_end)
			insert_at(i + 1, end, tail_end);
	}
}

int range_init(void *addr, size_t len)
{
	if (!grow())
		return -ENOMEM;
	insert_at(0, (uintptr_t)addr, (uintptr_t)addr + len);
	return 0;
}

void *range_take(size_t len, size_t align)
{
	uintptr_t at = 0;
	sigset_t saved;

	lock_app_enter(&saved);
	lock_acquire(&lock);
	for (size_t i = 0; i < count; i++) {
		uintptr_t start = (list[i].start + align - 1) & ~(align - 1);

		if (start >= list[i].start && start < list[i].end && list[i].end - start >= len) {
			cut(i, start, start + len);
			at = start;
			break;
		}
	}
	lock_release(&lock);
	lock_app_leave(&saved);
	return (void *)at;
}

bool range_take_at(void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr, end = start + len;
	sigset_t saved;
	bool ok;
	size_t i;

	lock_app_enter(&saved);
	lock_acquire(&lock);
	i = find(start);
	ok = i < count && list[i].start <= start && list[i].end >= end;
	if (ok)
		cut(i, start, end);
	lock_release(&lock);
	lock_app_leave(&saved);
	return ok;
}

/* [start, end) touches no free range: adds it, joining neighbours. */
static void add(uintptr_t start, uintptr_t end)
{
	size_t i = find(start);
	bool left = i > 0 && list[i - 1].end == start, right = i < count && list[i].start == end;

	if (left && right) {
		list[i - 1].end = list[i].end;
		remove_at(i);
	} else if (left) {
		list[i - 1].end = end;
	} else if (right) {
		list[i].start = start;
	} else {
		insert_at(i, start, end);
	}
}

void range_give(void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr, end = start + len;
	sigset_t saved;

	lock_app_enter(&saved);
	lock_acquire(&lock);
	while (start < end) {
		size_t i = find(start);
		uintptr_t stop = end;

		if (i < count && list[i].start <= start) {
			start = list[i].end;
			continue;
		}
		if (i < count && list[i].start < stop)
			stop = list[i].start;
		add(start, stop);
		start = stop;
	}
	lock_release(&lock);
	lock_app_leave(&saved);
}

bool range_next_free(const void *addr, char **ret_addr, size_t *ret_len)
{
	uintptr_t at = (uintptr_t)addr;
	sigset_t saved;
	bool found;
	size_t i;

	lock_app_enter(&saved);
	lock_acquire(&lock);
	i = find(at);
	found = i < count;
	if (found) {
		uintptr_t start = list[i].start > at ? list[i].start : at;

		*ret_addr = (char *)start;
		*ret_len = list[i].end - start;
	}
	lock_release(&lock);
	lock_app_leave(&saved);
	return found;
}

void range_fork_lock(void)
{
	lock_acquire(&lock);
}

void range_fork_unlock(void)
{
	lock_release(&lock);
}
