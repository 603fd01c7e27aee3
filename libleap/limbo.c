/* SPDX-License-Identifier: Apache-2.0 */
/* limbo.c - see limbo.h. */
#include <errno.h>
#include <string.h>

#include "libleap/limbo.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/mem.h"

#define AREA_BYTES ((size_t)LIMBO_SLOTS * EXTENT_BYTES)

/*
 * MOVE needs its destination registered with the same userfaultfd. Not for missing pages, where that is possible: a
 * page that the program dropped behind our back leaves a hole in limbo, and a pager thread that read it would
 * wait for itself. So it is a page of zeroes.
 */
int limbo_register(struct shard *shard)
{
	struct limbo *limbo = &shard->limbo;

	if (!limbo->movable)
		return 0;
	return shard->leap->has_wp ? uffd_register_target(shard->uffd, limbo->area, AREA_BYTES)
				   : uffd_register(shard->uffd, limbo->area, AREA_BYTES, false);
}

int limbo_init(struct shard *shard, bool movable, uint32_t nslots)
{
	struct limbo *limbo = &shard->limbo;
	int err;

	memset(limbo, 0, sizeof(*limbo));
	limbo->area = mem_map_sparse(AREA_BYTES);
	if (!limbo->area)
		return -ENOMEM;
	sys_madvise(limbo->area, AREA_BYTES, MADV_NOHUGEPAGE);
	limbo->movable = movable;
	limbo->nslots = nslots;
	err = limbo_register(shard);
	if (err) {
		mem_unmap(limbo->area, AREA_BYTES);
		limbo->area = NULL;
	}
	return err;
}

void limbo_destroy(struct shard *shard)
{
	mem_unmap(shard->limbo.area, AREA_BYTES);
	shard->limbo.area = NULL;
}

char *limbo_frame(const struct limbo *limbo, uint32_t slot, unsigned i)
{
	return limbo->area + slot * EXTENT_BYTES + ((size_t)i << LEAP_PAGE_SHIFT);
}

void limbo_drop(char *frames, size_t n)
{
	int err = sys_discard(frames, n << LEAP_PAGE_SHIFT);

	if (!err)
		return;
	log_error("internal error: frames at %p cannot be dropped (error %d)", (void *)frames,
		  -err);
	abort_now();
}

static struct limbo_slot *tail_slot(struct limbo *limbo)
{
	return &limbo->slot[limbo->tail % limbo->nslots];
}

/* Lets the tail pass slots that were retired early. */
static void advance(struct limbo *limbo)
{
	while (limbo->tail != limbo->head && !tail_slot(limbo)->extent)
		limbo->tail++;
}

/* Pages of the slot that are in limbo become REMOTE; frames stay for the caller to drop or reuse. */
static void detach(struct shard *shard, uint32_t index)
{
	struct limbo *limbo = &shard->limbo;
	struct limbo_slot *slot = &limbo->slot[index];
	struct page *pages = extent_pages(slot->extent);
	uint64_t retired = 0;

	for (uint64_t m = slot->frames; m; m &= m - 1) {
		struct page *page = &pages[__builtin_ctzll(m)];

		if (page_state(page) != PAGE_LIMBO)
			continue;
		page_move(page, PAGE_REMOTE);
		limbo->pages--;
		shard->remote++;
		retired |= m & -m;
	}
	record_mask(shard, TRACE_RETIRE, slot->extent, retired);
	slot->extent->limbo = 0;
	slot->extent = NULL;
	limbo->frames -= (uint64_t)__builtin_popcountll(slot->frames);
	budget_add(shard->leap, 0, -__builtin_popcountll(slot->frames));
	slot->frames = 0;
}

uint64_t limbo_homeless(const struct shard *shard, uint32_t index)
{
	const struct slabs *slabs = &shard->leap->slabs;
	const struct limbo_slot *slot = &shard->limbo.slot[index];
	const struct page *pages = extent_pages(slot->extent);
	uint64_t homeless = 0;

	for (uint64_t m = slot->frames; m && slabs_deaths(slabs); m &= m - 1) {
		const struct page *page = &pages[__builtin_ctzll(m)];
		struct slot_place place;

		if (page_state(page) != PAGE_LIMBO || !page_has(page, PAGE_STORED))
			continue;
		slot_resolve(slabs, page->slot, &place);
		if (place.gone)
			homeless |= m & -m;
	}
	return homeless;
}

static bool retirable(const struct shard *shard, uint32_t index)
{
	const struct limbo_slot *slot = &shard->limbo.slot[index];

	return !slot->busy && !slot->writing && !limbo_homeless(shard, index);
}

int limbo_take(struct shard *shard, struct extent *e, uint32_t *ret_slot)
{
	struct limbo *limbo = &shard->limbo;
	uint32_t index;

	if (limbo->head - limbo->tail == limbo->nslots) {
		/* make room for several at once: one call drops neighbours with one flush */
		limbo_shrink(shard, limbo->frames > 512 ? limbo->frames - 512 : 0);
		if (limbo->head - limbo->tail == limbo->nslots)
			return -EBUSY;
	}
	index = limbo->head++ % limbo->nslots;
	limbo->slot[index] = (struct limbo_slot){.extent = e, .busy = true};
	e->limbo = index + 1;
	*ret_slot = index;
	return 0;
}

static void drop_frames(struct limbo *limbo, uint32_t first, uint32_t count)
{
	if (limbo->movable && count)
		limbo_drop(limbo_frame(limbo, first, 0), (size_t)count * EXTENT_PAGES);
}

int limbo_retire_extent(struct shard *shard, struct extent *e)
{
	struct limbo *limbo = &shard->limbo;
	uint32_t index = e->limbo - 1;
	bool had_frames;

	if (!retirable(shard, index))
		return -EBUSY;
	had_frames = limbo->slot[index].frames;
	detach(shard, index);
	if (had_frames)
		drop_frames(limbo, index, 1);
	advance(limbo);
	return 0;
}

uint64_t limbo_shrink(struct shard *shard, uint64_t max_frames)
{
	struct limbo *limbo = &shard->limbo;
	uint64_t before = limbo->frames;
	uint32_t run_first = 0, run = 0;

	advance(limbo);
	while (limbo->frames > max_frames && limbo->tail != limbo->head) {
		uint32_t index = limbo->tail % limbo->nslots;
		struct limbo_slot *slot = &limbo->slot[index];

		if (slot->extent) {
			bool had_frames = slot->frames;

			if (!retirable(shard, index))
				break;
			detach(shard, index);
			if (had_frames && run && run_first + run == index) {
				run++;
			} else if (had_frames) {
				drop_frames(limbo, run_first, run);
				run_first = index;
				run = 1;
			}
		}
		limbo->tail++;
	}
	drop_frames(limbo, run_first, run);
	advance(limbo);
	return before - limbo->frames;
}

char *limbo_recycle(struct shard *shard)
{
	struct limbo *limbo = &shard->limbo;
	struct limbo_slot *slot;
	uint32_t index;

	advance(limbo);
	if (!limbo->movable || limbo->tail == limbo->head)
		return NULL;
	index = (limbo->head - 1) % limbo->nslots;
	slot = &limbo->slot[index];
	if (!slot->extent || !retirable(shard, index) || slot->frames != ~0ull)
		return NULL;
	detach(shard, index);
	limbo->head--;
	return limbo_frame(limbo, index, 0);
}

void limbo_forget(struct shard *shard, struct extent *e, unsigned i, bool frame_moved)
{
	struct limbo *limbo = &shard->limbo;
	struct limbo_slot *slot = &limbo->slot[e->limbo - 1];

	limbo->pages--;
	if (!frame_moved)
		return;
	slot->frames &= ~(1ull << i);
	limbo->frames--;
	budget_add(shard->leap, 0, -1);
}
