/* SPDX-License-Identifier: Apache-2.0 */
/* ranges.c - see ranges.h. */
#include <string.h>

#include "libleap/util/mem.h"
#include "libleap/util/ranges.h"

#define FIRST_CAP 256

/* Room for one more range. */
static bool ensure_room(struct ranges *set)
{
	size_t cap = set->cap ? set->cap * 2 : FIRST_CAP;
	struct range *list;

	if (set->count < set->cap)
		return true;
	list = mem_map(cap * sizeof(*list));
	if (!list)
		return false;
	if (set->count)
		memcpy(list, set->list, set->count * sizeof(*list));
	mem_unmap(set->list, set->cap * sizeof(*list));
	set->list = list;
	set->cap = cap;
	return true;
}

/* First range that ends behind addr. */
static size_t find(const struct ranges *set, uintptr_t addr)
{
	size_t lo = 0, hi = set->count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (set->list[mid].end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* Puts n ranges of new[] in the place of those from first up to before behind. Room was ensured. */
static void splice(struct ranges *set, size_t first, size_t behind, const struct range *new,
		   size_t n)
{
	memmove(&set->list[first + n], &set->list[behind],
		(set->count - behind) * sizeof(*set->list));
	if (n)
		memcpy(&set->list[first], new, n * sizeof(*new));
	set->count = set->count - (behind - first) + n;
}

bool ranges_add(struct ranges *set, uintptr_t start, uintptr_t end)
{
	struct range joined = {start, end};
	size_t first, behind;

	if (start >= end)
		return true;
	if (!ensure_room(set))
		return false;
	first = start ? find(set, start - 1) : 0; /* one that ends at start is joined */
	for (behind = first; behind < set->count && set->list[behind].start <= end; behind++) {
		if (set->list[behind].start < joined.start)
			joined.start = set->list[behind].start;
		if (set->list[behind].end > joined.end)
			joined.end = set->list[behind].end;
	}
	splice(set, first, behind, &joined, 1);
	return true;
}

bool ranges_cut(struct ranges *set, uintptr_t start, uintptr_t end)
{
	struct range rest[2];
	size_t first, behind, n = 0;

	if (start >= end)
		return true;
	if (!ensure_room(set))
		return false;
	first = find(set, start);
	for (behind = first; behind < set->count && set->list[behind].start < end; behind++) {
		if (set->list[behind].start < start)
			rest[n++] = (struct range){set->list[behind].start, start};
		if (set->list[behind].end > end)
			rest[n++] = (struct range){end, set->list[behind].end};
	}
	splice(set, first, behind, rest, n);
	return true;
}

bool ranges_holds(const struct ranges *set, uintptr_t start, uintptr_t end)
{
	size_t i = find(set, start);

	return i < set->count && set->list[i].start <= start && set->list[i].end >= end;
}

bool ranges_touches(const struct ranges *set, uintptr_t start, uintptr_t end)
{
	size_t i = find(set, start);

	return i < set->count && set->list[i].start < end;
}

uintptr_t ranges_edge(const struct ranges *set, uintptr_t at, uintptr_t end, bool *ret_inside)
{
	size_t i = find(set, at);
	uintptr_t edge = end;

	*ret_inside = i < set->count && set->list[i].start <= at;
	if (i < set->count)
		edge = *ret_inside ? set->list[i].end : set->list[i].start;
	return edge < end ? edge : end;
}

uintptr_t ranges_fit(const struct ranges *set, size_t len, size_t align)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct range *r = &set->list[i];
		uintptr_t at = (r->start + align - 1) & ~(align - 1);

		if (at >= r->start && at < r->end && r->end - at >= len)
			return at;
	}
	return 0;
}

void ranges_clear(struct ranges *set)
{
	mem_unmap(set->list, set->cap * sizeof(*set->list));
	memset(set, 0, sizeof(*set));
}
