/* SPDX-License-Identifier: Apache-2.0 */
/* stage.c - see stage.h. */
#include <errno.h>

#include "libleap/stage.h"
#include "libleap/util/mem.h"

#define NONE (-1)

int stage_init(struct stage *stage)
{
	stage->area = mem_map_sparse((size_t)STAGE_PAGES << 12);
	if (!stage->area)
		return -ENOMEM;
	for (int i = 0; i < STAGE_PAGES; i++)
		stage->bucket[i] = NONE;
	stage->oldest = stage->newest = NONE;
	return 0;
}

void stage_destroy(struct stage *stage)
{
	mem_unmap(stage->area, (size_t)STAGE_PAGES << 12);
	stage->area = NULL;
}

static bool is_used(const struct stage *stage, unsigned i)
{
	return stage->used[i / 64] & (1ull << (i % 64));
}

static void mark(struct stage *stage, unsigned first, unsigned n, bool used)
{
	for (unsigned i = first; i < first + n; i++) {
		if (used)
			stage->used[i / 64] |= 1ull << (i % 64);
		else
			stage->used[i / 64] &= ~(1ull << (i % 64));
	}
	stage->nused += used ? n : -n;
}

/* First run of n free buffers in [from, to), or -1. */
static int find_run(const struct stage *stage, unsigned from, unsigned to, unsigned n)
{
	unsigned len = 0;

	for (unsigned i = from; i < to; i++) {
		len = is_used(stage, i) ? 0 : len + 1;
		if (len == n)
			return (int)(i + 1 - n);
	}
	return -1;
}

static int find_one(const struct stage *stage)
{
	for (unsigned w = 0; w < STAGE_PAGES / 64; w++)
		if (~stage->used[w])
			return (int)(w * 64) + __builtin_ctzll(~stage->used[w]);
	return -1;
}

int stage_take(struct stage *stage, unsigned n)
{
	int first;

	if (stage->nused + n > STAGE_PAGES)
		return -1;
	first = n == 1 ? find_one(stage) : find_run(stage, stage->hint, STAGE_PAGES, n);
	if (first < 0)
		first = find_run(stage, 0, STAGE_PAGES, n);
	if (first < 0)
		return -1;
	mark(stage, (unsigned)first, n, true);
	if ((unsigned)first + n > stage->high)
		stage->high = (unsigned)first + n;
	if (n > 1)
		stage->hint = (unsigned)first + n < STAGE_PAGES ? (unsigned)first + n : 0;
	if (!stage->nstaged && stage->nused == n)
		stage->hint = 0; /* keep to the low, warm buffers */
	return first;
}

void stage_put(struct stage *stage, unsigned first, unsigned n)
{
	mark(stage, first, n, false);
	if (stage->nused == 0)
		stage->hint = 0;
}

static unsigned bucket_of(const struct leap_region *region, size_t page)
{
	uint64_t h =
		((uintptr_t)region >> 4) * 0x9e3779b97f4a7c15ull + page * 0xc2b2ae3d27d4eb4full;

	return (unsigned)(h >> 40) % STAGE_PAGES;
}

void stage_insert(struct stage *stage, unsigned i, struct leap_region *region, size_t page)
{
	struct stage_entry *e = &stage->entry[i];
	unsigned b = bucket_of(region, page);

	e->region = region;
	e->page = page;
	e->next = stage->bucket[b];
	stage->bucket[b] = (int32_t)i;
	e->older = stage->newest;
	e->newer = NONE;
	e->number = stage->inserted++;
	if (stage->newest != NONE)
		stage->entry[stage->newest].newer = (int32_t)i;
	else
		stage->oldest = (int32_t)i;
	stage->newest = (int32_t)i;
	stage->nstaged++;
}

int stage_find(const struct stage *stage, const struct leap_region *region, size_t page)
{
	int i = stage->bucket[bucket_of(region, page)];

	while (i != NONE && (stage->entry[i].region != region || stage->entry[i].page != page))
		i = stage->entry[i].next;
	return i;
}

void stage_remove(struct stage *stage, unsigned i)
{
	struct stage_entry *e = &stage->entry[i];
	int32_t *link = &stage->bucket[bucket_of(e->region, e->page)];

	while (*link != (int32_t)i)
		link = &stage->entry[*link].next;
	*link = e->next;
	if (e->older != NONE)
		stage->entry[e->older].newer = e->newer;
	else
		stage->oldest = e->newer;
	if (e->newer != NONE)
		stage->entry[e->newer].older = e->older;
	else
		stage->newest = e->older;
	e->region = NULL;
	stage->nstaged--;
}

void stage_renew(struct stage *stage, unsigned i)
{
	struct leap_region *region = stage->entry[i].region;

	stage_remove(stage, i);
	stage_insert(stage, i, region, stage->entry[i].page);
}
