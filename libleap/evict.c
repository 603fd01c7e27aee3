/* SPDX-License-Identifier: Apache-2.0 */
/* evict.c - see evict.h. */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "libleap/evict_int.h"
#include "libleap/log.h"
#include "libleap/plan.h"
#include "libleap/session.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/hash.h"
#include "libleap/util/mem.h"

#define PICK_TRIES    64 /* extents looked at before giving up */
#define UNEVICT_TRIES 100
#define FRUITLESS_NS  (100 * 1000000ull)

struct evicting {
	struct extent *extent;
	uint32_t slot;
	uint64_t mask;   /* claimed */
	uint64_t moved;  /* taken out */
	uint64_t gone;   /* had no content any more */
	uint64_t dirty;  /* to be written */
	uint64_t unused; /* prefetched, never known to be touched */
	uint64_t zero;   /* nothing to be stored */
	uint64_t hash[EXTENT_PAGES];
};

uint64_t evict_limbo_target(const struct shard *shard)
{
	const struct leap *leap = shard->leap;
	int64_t share = budget_pages(leap) * leap->config.limbo_percent / 100 / leap->nshards;

	return share < 2 * EXTENT_PAGES ? 2 * EXTENT_PAGES : (uint64_t)share;
}

/* May the page go out although the donors take no new pages? It has a place, or a copy that may be its content. */
static bool has_place(const struct leap *leap, const struct page *page)
{
	struct slot_place place;

	if (!page->slot)
		return false;
	slot_resolve(&leap->slabs, page->slot, &place);
	return !place.gone && (!place.frozen || page_has(page, PAGE_STORED));
}

/* Pages of the extent that may be taken out. */
static uint64_t evictable(const struct leap *leap, const struct extent *e)
{
	const struct page *pages = extent_pages(e);
	bool full = evict_full(leap);
	uint64_t mask = e->local;

	for (uint64_t m = mask; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		if (page_pinned(&pages[i]) || page_has(&pages[i], PAGE_WRITING) ||
		    (full && !has_place(leap, &pages[i])))
			mask &= ~(1ull << i);
	}
	return mask;
}

/* A group that may be written, for the extent's dirty pages. 0 when none: single slots are tried then. */
static void ensure_group(struct shard *shard, struct extent *e)
{
	struct slabs *slabs = &shard->leap->slabs;

	if (e->group && group_writable(slabs, e->group))
		return;
	group_drop(slabs, e->group);
	e->group = group_take(slabs);
	if (slabs_short(slabs, DONORS_AHEAD_GROUPS) &&
	    !__atomic_exchange_n(&shard->leap->grow_asked, true, __ATOMIC_ACQ_REL))
		keeper_kick(shard->leap);
}

static int claim(struct shard *shard, struct extent *e, struct evicting *ev)
{
	int err;

	if (e->flags & EXTENT_BUSY || e->filling || e->region->dying)
		return EVICT_AGAIN;
	ev->mask = evictable(shard->leap, e);
	if (!ev->mask)
		return EVICT_AGAIN;
	if (e->limbo && limbo_retire_extent(shard, e))
		return EVICT_AGAIN;
	err = limbo_take(shard, e, &ev->slot);
	if (err)
		return EVICT_AGAIN;
	ev->extent = e;
	for (uint64_t m = ev->mask; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		page_move(&extent_pages(e)[i], PAGE_EVICTING);
	}
	shard_pages_unlocal(shard, e, ev->mask);
	e->flags |= EXTENT_BUSY;
	return 0;
}

/* Out of the address space, then hashed: nobody else can touch the frames any more. */
static void take_out(struct shard *shard, struct evicting *ev)
{
	const struct mover_ops *mover = shard->limbo.movable ? &mover_move : &mover_wp;

	ev->moved = mover->out(shard, ev->extent, ev->slot, ev->mask, ev->extent->local, &ev->gone);
	for (uint64_t m = ev->moved; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		ev->hash[i] = hash_page(limbo_frame(&shard->limbo, ev->slot, i));
	}
}

/* Page i is in a limbo frame; decides what it is. Slots to give up are collected in put[]. */
static void settle_page(struct shard *shard, struct evicting *ev, unsigned i, uint32_t *put)
{
	struct slabs *slabs = &shard->leap->slabs;
	struct page *page = &extent_pages(ev->extent)[i];
	struct slot_place place = {.gone = true};

	if (page_has(page, PAGE_PREFETCHED)) {
		shard_prefetched(shard, page, false);
		ev->unused |= 1ull << i;
	}
	if (ev->hash[i] == hash_of_zero &&
	    hash_page_is_zero(limbo_frame(&shard->limbo, ev->slot, i))) {
		put[i] = page->slot;
		page->slot = 0;
		page_set_flags(page, 0, PAGE_STORED | PAGE_WAITED);
		page_move(page, PAGE_ABSENT);
		budget_add(shard->leap, -1, 0);
		shard->count.evicted_zero++;
		ev->zero |= 1ull << i;
		return;
	}
	if (page->slot)
		slot_resolve(slabs, page->slot, &place);
	page_move(page, PAGE_LIMBO);
	shard->limbo.pages++;
	if (page_has(page, PAGE_STORED) && !place.gone && page->hash == ev->hash[i]) {
		shard->count.evicted_clean++;
		return;
	}
	page->hash = ev->hash[i];
	page_set_flags(page, PAGE_WRITING, PAGE_STORED);
	ev->dirty |= 1ull << i;
	if (page->slot && (place.gone || place.frozen)) {
		put[i] = page->slot;
		page->slot = 0;
	}
}

/* Maps the frame of page i again, by moving or copying it. */
static int map_frame(struct shard *shard, char *addr, char *frame, bool *ret_moved)
{
	int err = -EAGAIN;

	*ret_moved = false;
	for (int tries = 0; tries < UNEVICT_TRIES && err && err != -EEXIST; tries++) {
		if (tries)
			sched_yield();
		if (shard->limbo.movable && mover_in(shard, addr, frame, 1, true)) {
			*ret_moved = true;
			return 0;
		}
		err = uffd_copy(shard->uffd, addr, frame, LEAP_PAGE_BYTES, true, NULL);
	}
	return err == -EEXIST ? 0 : err;
}

void evict_undo(struct shard *shard, struct extent *e, uint32_t slot, unsigned i)
{
	struct page *page = &extent_pages(e)[i];
	char *addr = extent_addr(e) + ((size_t)i << LEAP_PAGE_SHIFT);
	bool moved;
	int err = map_frame(shard, addr, limbo_frame(&shard->limbo, slot, i), &moved);

	uffd_wake(shard->uffd, addr, LEAP_PAGE_BYTES);
	page_set_flags(page, 0, PAGE_WRITING | PAGE_STORED | PAGE_WAITED);
	limbo_forget(shard, e, i, moved);
	if (err) {
		page_lost(shard, e->region, extent_first_page(e) + i,
			  "no donor takes it, and the kernel cannot map it");
		return;
	}
	page_move(page, PAGE_LOCAL);
	shard_pages_local(shard, e, 1ull << i);
	record_mask(shard, TRACE_NEW, e, 1ull << i);
}

uint64_t evict_find_slots(struct shard *shard, struct extent *e, uint32_t slot, uint64_t dirty)
{
	struct slabs *slabs = &shard->leap->slabs;
	struct page *pages = extent_pages(e);
	uint32_t slots[EXTENT_PAGES] = {0};
	uint64_t need = 0, served;

	for (uint64_t m = dirty; m; m &= m - 1)
		if (!pages[__builtin_ctzll(m)].slot)
			need |= m & -m;
	if (!need)
		return dirty;
	ensure_group(shard, e);
	served = slots_take(slabs, e->group, need, slots);
	for (uint64_t m = served; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		pages[i].slot = slots[i];
	}
	for (uint64_t m = need & ~served; m; m &= m - 1)
		evict_undo(shard, e, slot, (unsigned)__builtin_ctzll(m));
	return dirty & ~(need & ~served);
}

static void settle(struct shard *shard, struct evicting *ev)
{
	struct limbo_slot *slot = &shard->limbo.slot[ev->slot];
	struct extent *e = ev->extent;
	uint64_t stay = ev->mask & ~ev->moved & ~ev->gone;
	uint32_t put[EXTENT_PAGES] = {0};

	slot->busy = false;
	slot->frames = ev->moved;
	shard->limbo.frames += (uint64_t)__builtin_popcountll(ev->moved);
	budget_add(shard->leap, 0, __builtin_popcountll(ev->moved));
	for (uint64_t m = stay; m; m &= m - 1)
		page_move(&extent_pages(e)[__builtin_ctzll(m)], PAGE_LOCAL);
	shard_pages_local(shard, e, stay);
	for (uint64_t m = ev->gone; m; m &= m - 1)
		page_gone(shard, e->region, extent_first_page(e) + (unsigned)__builtin_ctzll(m));
	ev->dirty = ev->unused = ev->zero = 0;
	for (uint64_t m = ev->moved; m; m &= m - 1)
		settle_page(shard, ev, (unsigned)__builtin_ctzll(m), put);
	record_mask(shard, TRACE_EVICT, e, ev->moved);
	record_mask(shard, TRACE_UNUSED, e, ev->unused);
	record_mask(shard, TRACE_DROP, e, ev->zero);
	if (ev->unused)
		plan_unused(shard, e->region,
			    extent_first_page(e) + (unsigned)__builtin_ctzll(ev->unused),
			    (uint32_t)__builtin_popcountll(ev->unused));
	slots_put(&shard->leap->slabs, put, EXTENT_PAGES);
	ev->dirty = evict_find_slots(shard, e, ev->slot, ev->dirty);
	slot->writing = ev->dirty;
	shard->count.evicted += (uint64_t)__builtin_popcountll(ev->moved);
	e->flags &= ~(EXTENT_BUSY | EXTENT_COLD);
	if (e->flags & EXTENT_WAITED) {
		e->flags &= ~EXTENT_WAITED;
		uffd_wake(shard->uffd, extent_addr(e), (size_t)extent_npages(e) << LEAP_PAGE_SHIFT);
	}
	lock_signal(&shard->event);
}

/* Finishes a claimed eviction. Pages taken out, or EVICT_FULL when all of them had to go home. */
static int finish(struct shard *shard, struct evicting *ev)
{
	unsigned want = (unsigned)__builtin_popcountll(ev->mask), out;
	uint64_t before;

	take_out(shard, ev);
	lock_acquire(&shard->lock);
	before = shard->local;
	settle(shard, ev);
	out = want - (unsigned)(shard->local - before);
	lock_release(&shard->lock);
	if (ev->dirty) {
		evict_write(shard, ev->extent, ev->slot, ev->dirty);
		evict_reap(shard);
	}
	if (out)
		return (int)out;
	return ev->moved ? EVICT_FULL : EVICT_AGAIN;
}

int evict_extent(struct shard *shard, struct extent *e)
{
	struct evicting ev;
	int err;

	lock_assert_held(&shard->evict_lock);
	lock_acquire(&shard->lock);
	err = claim(shard, e, &ev);
	lock_release(&shard->lock);
	return err ? err : finish(shard, &ev);
}

static uint64_t came_home(const struct shard *shard)
{
	return shard->count.read + shard->count.faults_limbo;
}

/* Was all of the queue looked at lately, and no page came home since that has a place to go to? */
static bool fruitless(const struct shard *shard)
{
	return shard->fruitless == came_home(shard) && clock_ns() < shard->fruitless_until_ns;
}

int evict_oldest(struct shard *shard)
{
	bool full = evict_full(shard->leap);
	struct extent *first = NULL;
	struct evicting ev;
	uint64_t tries = PICK_TRIES;
	int err = EVICT_AGAIN;

	lock_assert_held(&shard->evict_lock);
	lock_acquire(&shard->lock);
	if (full)
		tries = fruitless(shard) ? 0 : UINT64_MAX; /* a few of all may have a place */
	for (; tries > 0 && shard->queue.head && shard->queue.head != first; tries--) {
		struct extent *e = shard->queue.head;

		err = claim(shard, e, &ev);
		if (!err)
			break;
		first = first ? first : e;
		shard_queue_remove(shard, e);
		shard_queue_tail(shard, e);
	}
	if (err && tries && full) {
		shard->fruitless = came_home(shard);
		shard->fruitless_until_ns = clock_ns() + FRUITLESS_NS;
	}
	lock_release(&shard->lock);
	return err ? err : finish(shard, &ev);
}
