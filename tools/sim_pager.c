/* SPDX-License-Identifier: Apache-2.0 */
/* sim_pager.c - see sim_pager.h. */
#include "tools/sim_pager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"

#define INDEX_START   1024
#define RECYCLE_WORTH 32
#define RECYCLE_NEAR  1024
#define LIMBO_BATCH   256
#define LIMBO_MAKE    512

static uint64_t count(uint64_t mask)
{
	return (uint64_t)__builtin_popcountll(mask);
}

int pager_init(struct pager *p)
{
	p->index_size = INDEX_START;
	p->room = INDEX_START / 2;
	p->nextents = 1;
	p->index = calloc(p->index_size, sizeof(*p->index));
	p->extents = calloc(p->room, sizeof(*p->extents));
	if (p->index && p->extents)
		return 0;
	pager_free(p);
	return error_set(ENOMEM, "no memory for the simulator's pages");
}

void pager_free(struct pager *p)
{
	free(p->index);
	free(p->extents);
	p->index = NULL;
	p->extents = NULL;
}

static uint32_t *find(const struct pager *p, uint32_t *index, uint32_t size, uint64_t key)
{
	uint32_t i = (uint32_t)(key * 0x9e3779b97f4a7c15ull >> 32) & (size - 1);

	while (index[i] && p->extents[index[i]].key != key)
		i = (i + 1) & (size - 1);
	return &index[i];
}

static bool grow(struct pager *p)
{
	uint32_t size = p->index_size * 2, *index = calloc(size, sizeof(*index));
	void *more = realloc(p->extents, (size_t)size / 2 * sizeof(*p->extents));

	if (more)
		p->extents = more;
	if (!more || !index || !size) {
		free(index);
		error_set(ENOMEM, "no memory for the simulator's pages");
		return false;
	}
	for (uint32_t i = 1; i < p->nextents; i++)
		*find(p, index, size, p->extents[i].key) = i;
	free(p->index);
	p->index = index;
	p->index_size = size;
	p->room = size / 2;
	return true;
}

uint32_t pager_extent(struct pager *p, uint32_t region, uint64_t number)
{
	uint64_t key = (uint64_t)region << PAGER_KEY_BITS | (number + 1);
	uint32_t *place;

	if (key == p->last_key)
		return p->last;
	place = find(p, p->index, p->index_size, key);
	if (!*place) {
		if (p->nextents == p->room) {
			if (!grow(p))
				return 0;
			place = find(p, p->index, p->index_size, key);
		}
		*place = p->nextents++;
		p->extents[*place] = (struct pager_extent){
			.key = key,
			.remote = p->all_remote ? ~0ull : 0,
		};
	}
	p->last_key = key;
	p->last = *place;
	return *place;
}

static void dequeue(struct pager *p, uint32_t extent)
{
	struct pager_extent *e = pager_at(p, extent);

	p->extents[e->prev].next = e->next;
	p->extents[e->next].prev = e->prev;
	e->queued = false;
}

/* Number 0 stands before the first and behind the last. */
static void enqueue(struct pager *p, uint32_t extent)
{
	struct pager_extent *e = pager_at(p, extent), *end = pager_at(p, 0);

	e->prev = end->prev;
	e->next = 0;
	p->extents[e->prev].next = extent;
	end->prev = extent;
	e->queued = true;
}

void pager_prefetched(struct pager *p, uint32_t extent, uint64_t mask, bool are)
{
	struct pager_extent *e = pager_at(p, extent);

	p->untouched -= count(e->prefetched & mask);
	p->untouched += are ? count(mask) : 0;
	e->prefetched = are ? e->prefetched | mask : e->prefetched & ~mask;
}

/* Pages of limbo leave it; by their frames, or as copies. */
static void leave_limbo(struct pager *p, struct pager_extent *e, uint64_t mask, bool frames)
{
	mask &= e->limbo;
	e->limbo &= ~mask;
	if (!frames && e->slot)
		return;
	if (e->slot) {
		mask &= p->slot[e->slot - 1].frames;
		p->slot[e->slot - 1].frames &= ~mask;
	}
	p->frames -= count(mask);
}

/* Staged pages of the mask give up their buffers. */
static void unstage(struct pager *p, uint32_t extent, uint64_t mask)
{
	struct pager_extent *e = pager_at(p, extent);

	mask &= e->staged;
	e->staged &= ~mask;
	for (unsigned i = p->staged; mask && i-- > 0;) {
		if (p->stage[i].extent != extent || !(p->stage[i].bit & mask))
			continue;
		mask &= ~p->stage[i].bit;
		p->staged--;
		memmove(&p->stage[i], &p->stage[i + 1], (p->staged - i) * sizeof(p->stage[0]));
	}
}

static void put_staged(struct pager *p, uint32_t extent, uint64_t bit)
{
	struct pager_extent *e = pager_at(p, extent);

	p->stage[p->staged].extent = extent;
	p->stage[p->staged].bit = bit;
	p->stage[p->staged++].number = p->inserted++;
	e->staged |= bit;
	e->remote &= ~bit;
}

void pager_renew(struct pager *p, uint32_t extent, uint64_t bit)
{
	if (!(pager_at(p, extent)->staged & bit))
		return;
	unstage(p, extent, bit);
	put_staged(p, extent, bit);
}

/* Staged pages become remote again. The policy hears of one at a time. */
static void drop_staged(struct pager *p, uint32_t extent, uint64_t mask)
{
	struct pager_extent *e = pager_at(p, extent);

	mask &= e->staged;
	unstage(p, extent, mask);
	e->remote |= mask;
	mask &= e->prefetched;
	pager_prefetched(p, extent, mask, false);
	for (; mask; mask &= mask - 1)
		p->unused_staged(p->context, extent, mask & -mask);
}

bool pager_drop_oldest(struct pager *p)
{
	if (!p->staged || p->stage[0].number >= p->fence)
		return false;
	drop_staged(p, p->stage[0].extent, p->stage[0].bit);
	return true;
}

uint64_t pager_stage(struct pager *p, uint32_t extent, uint64_t mask)
{
	uint64_t done = 0;

	for (; mask; mask &= mask - 1) {
		if (p->staged == PAGER_STAGE_PAGES && !pager_drop_oldest(p))
			break;
		put_staged(p, extent, mask & -mask);
		done |= mask & -mask;
	}
	return done;
}

void pager_map(struct pager *p, uint32_t extent, uint64_t mask)
{
	struct pager_extent *e = pager_at(p, extent);

	leave_limbo(p, e, mask, true);
	unstage(p, extent, mask);
	p->local += count(mask & ~e->local);
	e->remote &= ~mask;
	e->local |= mask;
	if (mask && !e->queued)
		enqueue(p, extent);
}

void pager_drop(struct pager *p, uint32_t extent, uint64_t mask)
{
	struct pager_extent *e = pager_at(p, extent);

	leave_limbo(p, e, mask, false);
	unstage(p, extent, mask);
	p->local -= count(e->local & mask);
	e->local &= ~mask;
	e->remote &= ~mask;
	pager_prefetched(p, extent, mask, false);
	e->marker &= ~mask;
	if (!e->local && e->queued)
		dequeue(p, extent);
}

/* Pages of the slot that are in limbo become remote; the frames are free. */
static void detach(struct pager *p, uint32_t slot)
{
	struct pager_extent *e = pager_at(p, p->slot[slot].extent);

	e->remote |= e->limbo;
	e->limbo = 0;
	e->slot = 0;
	p->frames -= count(p->slot[slot].frames);
	p->slot[slot].extent = 0;
	p->slot[slot].frames = 0;
}

/* Retires from the tail until at most `most` frames are held. */
static uint64_t shrink(struct pager *p, uint64_t most)
{
	uint64_t before = p->frames;

	while (p->tail != p->head &&
	       (p->frames > most || !p->slot[p->tail % PAGER_LIMBO_SLOTS].extent)) {
		if (p->slot[p->tail % PAGER_LIMBO_SLOTS].extent)
			detach(p, p->tail % PAGER_LIMBO_SLOTS);
		p->tail++;
	}
	return before - p->frames;
}

static uint32_t take_slot(struct pager *p)
{
	if (p->head - p->tail == PAGER_LIMBO_SLOTS)
		shrink(p, p->frames > LIMBO_MAKE ? p->frames - LIMBO_MAKE : 0);
	return p->head++ % PAGER_LIMBO_SLOTS;
}

static void tell_unused(struct pager *p, struct pager_extent *e, uint64_t mask)
{
	uint64_t unused = e->prefetched & mask;

	pager_prefetched(p, (uint32_t)(e - p->extents), unused, false);
	if (unused)
		p->unused(p->context, (uint32_t)(e - p->extents), unused);
}

void pager_evict(struct pager *p, uint32_t extent, uint64_t mask)
{
	struct pager_extent *e = pager_at(p, extent);

	if (e->slot)
		detach(p, e->slot - 1);
	mask &= e->local;
	e->local &= ~mask;
	e->limbo |= mask;
	p->local -= count(mask);
	p->frames += count(mask);
	p->evicted += count(mask);
	if (!e->local && e->queued)
		dequeue(p, extent);
	tell_unused(p, e, mask);
}

void pager_retire(struct pager *p, uint32_t extent, uint64_t mask)
{
	struct pager_extent *e = pager_at(p, extent);

	drop_staged(p, extent, mask);
	mask &= e->limbo;
	leave_limbo(p, e, mask, true);
	e->remote |= mask;
}

/* The oldest extent goes to limbo. False: there is none. */
static bool evict_oldest(struct pager *p)
{
	uint32_t extent = pager_at(p, 0)->next, slot;
	struct pager_extent *e = pager_at(p, extent);

	if (!extent)
		return false;
	if (e->slot)
		detach(p, e->slot - 1);
	slot = take_slot(p);
	p->slot[slot].extent = extent;
	p->slot[slot].frames = e->local;
	e->slot = slot + 1;
	e->remote |= e->limbo; /* as recorded, without a slot */
	p->frames -= count(e->limbo);
	e->limbo = e->local;
	e->local = 0;
	p->local -= count(e->limbo);
	p->frames += count(e->limbo);
	p->evicted += count(e->limbo);
	dequeue(p, extent);
	tell_unused(p, e, e->limbo);
	return true;
}

static uint64_t limbo_target(const struct pager *p)
{
	uint64_t share = p->limit * p->percent / 100;

	return share < 2 * PAGER_EXTENT_PAGES ? 2 * PAGER_EXTENT_PAGES : share;
}

/* Frees frames: from limbo while it is over its share, else by evicting one more extent. */
static bool step(struct pager *p)
{
	uint64_t target = limbo_target(p);

	if (p->frames > target && shrink(p, target > LIMBO_BATCH ? target - LIMBO_BATCH : 0))
		return true;
	return evict_oldest(p) || shrink(p, 0);
}

void pager_make_room(struct pager *p, uint64_t n)
{
	while (pager_over(p, n) && step(p))
		;
}

enum pager_room pager_room_for(struct pager *p, unsigned want)
{
	if (p->recycles && pager_over(p, want + RECYCLE_NEAR - 1) && want >= RECYCLE_WORTH) {
		evict_oldest(p);
		return PAGER_ROOM_RECYCLE;
	}
	pager_make_room(p, want);
	return PAGER_ROOM;
}

bool pager_recycle(struct pager *p, uint64_t mask)
{
	uint32_t slot = (p->head - 1) % PAGER_LIMBO_SLOTS;

	shrink(p, UINT64_MAX);
	if (count(mask) < RECYCLE_WORTH || p->tail == p->head || !p->slot[slot].extent ||
	    p->slot[slot].frames != ~0ull)
		return false;
	detach(p, slot);
	p->head--;
	return true;
}

uint64_t pager_headroom(const struct pager *p)
{
	uint64_t room = p->limit / 64;

	return room < 64 ? 64 : room > 2048 ? 2048 : room;
}
