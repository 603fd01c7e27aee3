/* SPDX-License-Identifier: Apache-2.0 */
/* evict.c - see evict.h. */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "libleap/evict.h"
#include "libleap/log.h"
#include "libleap/plan.h"
#include "libleap/session.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/hash.h"
#include "libleap/util/mem.h"

/* A write-back request: neighbouring pages of one extent. */
struct evict_write {
	struct io io; /* first: io -> evict_write */
	struct shard *shard;
	struct extent *extent;
	struct donor *donor;
	uint32_t slot; /* of limbo */
	unsigned first, n;
	bool again; /* a write of these pages has failed before */
	struct evict_write *next;
};

#define WRITES_MAX    256 /* in flight for a shard */
#define PICK_TRIES    64  /* extents looked at before giving up */
#define UNEVICT_TRIES 100
#define FRUITLESS_NS  (100 * 1000000ull)

struct evicting {
	struct extent *extent;
	uint32_t slot;
	uint64_t mask;   /* claimed */
	uint64_t moved;  /* taken out */
	uint64_t dirty;  /* to be written */
	uint32_t unused; /* prefetched, never known to be touched */
	uint64_t hash[EXTENT_PAGES];
};

int evict_init(struct shard *shard)
{
	shard->write_pool = mem_map(WRITES_MAX * sizeof(*shard->write_pool));
	if (!shard->write_pool)
		return -ENOMEM;
	for (int i = WRITES_MAX; i-- > 0;) {
		shard->write_pool[i].next = shard->write_free;
		shard->write_free = &shard->write_pool[i];
	}
	return 0;
}

void evict_destroy(struct shard *shard)
{
	mem_unmap(shard->write_pool, WRITES_MAX * sizeof(*shard->write_pool));
	shard->write_pool = NULL;
}

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
	if (__atomic_load_n(&slabs->free_groups, __ATOMIC_RELAXED) < DONORS_AHEAD_GROUPS &&
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

	ev->moved = mover->out(shard, ev->extent, ev->slot, ev->mask, ev->extent->local);
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
		page_set_flags(page, 0, PAGE_PREFETCHED);
		ev->unused++;
	}
	if (ev->hash[i] == hash_of_zero &&
	    hash_page_is_zero(limbo_frame(&shard->limbo, ev->slot, i))) {
		put[i] = page->slot;
		page->slot = 0;
		page_set_flags(page, 0, PAGE_STORED | PAGE_WAITED);
		page_move(page, PAGE_ABSENT);
		budget_add(shard->leap, -1, 0);
		shard->count.evicted_zero++;
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
		if (shard->limbo.movable &&
		    !uffd_move(shard->uffd, addr, frame, LEAP_PAGE_BYTES, false, true, NULL)) {
			*ret_moved = true;
			return 0;
		}
		err = uffd_copy(shard->uffd, addr, frame, LEAP_PAGE_BYTES, true, NULL);
	}
	return err == -EEXIST ? 0 : err;
}

/* Page i goes back into the program: its content could not be stored. */
static void unevict(struct shard *shard, struct extent *e, uint32_t slot, unsigned i)
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
}

/* Slots for the dirty pages that need one; pages that get none go home. */
static void settle_slots(struct shard *shard, struct evicting *ev)
{
	struct slabs *slabs = &shard->leap->slabs;
	struct page *pages = extent_pages(ev->extent);
	uint32_t slots[EXTENT_PAGES] = {0};
	uint64_t need = 0, served;

	for (uint64_t m = ev->dirty; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		if (!pages[i].slot)
			need |= 1ull << i;
	}
	if (!need)
		return;
	ensure_group(shard, ev->extent);
	served = slots_take(slabs, ev->extent->group, need, slots);
	for (uint64_t m = served; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		pages[i].slot = slots[i];
	}
	for (uint64_t m = need & ~served; m; m &= m - 1)
		unevict(shard, ev->extent, ev->slot, (unsigned)__builtin_ctzll(m));
	ev->dirty &= ~(need & ~served);
}

static void settle(struct shard *shard, struct evicting *ev)
{
	struct limbo_slot *slot = &shard->limbo.slot[ev->slot];
	struct extent *e = ev->extent;
	uint64_t stay = ev->mask & ~ev->moved;
	uint32_t put[EXTENT_PAGES] = {0};

	slot->busy = false;
	slot->frames = ev->moved;
	shard->limbo.frames += (uint64_t)__builtin_popcountll(ev->moved);
	budget_add(shard->leap, 0, __builtin_popcountll(ev->moved));
	for (uint64_t m = stay; m; m &= m - 1)
		page_move(&extent_pages(e)[__builtin_ctzll(m)], PAGE_LOCAL);
	shard_pages_local(shard, e, stay);
	ev->dirty = 0;
	ev->unused = 0;
	for (uint64_t m = ev->moved; m; m &= m - 1)
		settle_page(shard, ev, (unsigned)__builtin_ctzll(m), put);
	plan_unused(shard, e->region, ev->unused);
	slots_put(&shard->leap->slabs, put, EXTENT_PAGES);
	settle_slots(shard, ev);
	slot->writing = ev->dirty;
	shard->count.evicted += (uint64_t)__builtin_popcountll(ev->moved);
	e->flags &= ~(EXTENT_BUSY | EXTENT_COLD);
	if (e->flags & EXTENT_WAITED) {
		e->flags &= ~EXTENT_WAITED;
		uffd_wake(shard->uffd, extent_addr(e), (size_t)extent_npages(e) << LEAP_PAGE_SHIFT);
	}
	lock_signal(&shard->event);
}

static void write_done(struct io *io)
{
	struct evict_write *w = (struct evict_write *)io;

	w->next = w->shard->write_done;
	w->shard->write_done = w;
}

static struct evict_write *write_get(struct shard *shard)
{
	struct evict_write *w;

	while (!shard->write_free) {
		if (!evict_reap(shard))
			sched_yield();
	}
	w = shard->write_free;
	shard->write_free = w->next;
	return w;
}

/* Posts [first, first + n) of the extent's limbo slot, whose slots are neighbours on one donor. */
static void post_write(struct shard *shard, struct extent *e, uint32_t slot, unsigned first,
		       unsigned n, const struct slot_place *place, bool again)
{
	struct evict_write *w = write_get(shard);
	struct lane *lane = shard->write[place->donor->index];

	memset(w, 0, sizeof(*w));
	w->shard = shard;
	w->extent = e;
	w->donor = place->donor;
	w->slot = slot;
	w->first = first;
	w->n = n;
	w->again = again;
	w->io = (struct io){
		.op = IO_WRITE,
		.slab = place->slab,
		.page = place->page,
		.npages = n,
		.buf = limbo_frame(&shard->limbo, slot, first),
		.done = write_done,
	};
	shard->writes_in_flight++;
	if (!donor_alive(place->donor) || !lane) {
		w->io.status = -EPIPE;
		write_done(&w->io);
		return;
	}
	place->donor->ops->submit(lane, &w->io);
}

/* Slots of WRITING pages do not change, so they may be read without the lock. */
static void post_writes(struct shard *shard, struct extent *e, uint32_t slot, uint64_t dirty,
			bool again)
{
	const struct slabs *slabs = &shard->leap->slabs;
	const struct page *pages = extent_pages(e);
	unsigned bit = 0, n;

	while ((n = mask_run(dirty, &bit))) {
		struct slot_place place;
		unsigned k = 1;

		slot_resolve(slabs, pages[bit].slot, &place);
		while (k < n && pages[bit + k].slot == pages[bit].slot + k &&
		       (pages[bit + k].slot - 1) % LEAP_SLAB_PAGES)
			k++;
		post_write(shard, e, slot, bit, k, &place, again);
		bit += k;
	}
	for (uint32_t d = 0; d < shard->leap->donors.count; d++)
		if (shard->write[d])
			shard->leap->donors.donor[d].ops->flush(shard->write[d]);
}

/* A bounded store is full, or other slots did not help either. The donor is asked again when it has room. */
static void send_home(struct shard *shard, struct evict_write *w, uint64_t mask)
{
	char text[300];

	for (uint64_t m = mask; m; m &= m - 1)
		unevict(shard, w->extent, w->slot, (unsigned)__builtin_ctzll(m));
	shard->limbo.slot[w->slot].writing &= ~mask;
	__atomic_store_n(&w->donor->full, true, __ATOMIC_RELAXED);
	__atomic_store_n(&shard->leap->no_writes, true, __ATOMIC_RELAXED);
	if (!evict_found_full(shard->leap))
		return;
	uri_format(&w->donor->uri, text, sizeof(text));
	log_warn("donor %s does not take pages (%s): they stay local beyond the limit", text,
		 w->io.status == -ENOSPC ? "its store is full" : "writes fail");
}

/* The write failed: the pages need other slots, or go home. Returns pages to write again. */
static uint64_t write_failed(struct shard *shard, struct evict_write *w)
{
	struct slabs *slabs = &shard->leap->slabs;
	struct evicting ev = {.extent = w->extent, .slot = w->slot};
	struct page *pages = extent_pages(w->extent);

	shard->count.io_errors++;
	for (unsigned i = w->first; i < w->first + w->n; i++) {
		uint32_t old = pages[i].slot;

		pages[i].slot = 0;
		slots_put(slabs, &old, 1);
		if (page_state(&pages[i]) == PAGE_LIMBO) {
			ev.dirty |= 1ull << i;
			continue;
		}
		/* touched meanwhile: it is LOCAL and simply not stored */
		page_set_flags(&pages[i], 0, PAGE_WRITING | PAGE_STORED);
		shard->limbo.slot[w->slot].writing &= ~(1ull << i);
	}
	if (w->io.status == -ENOSPC || (w->again && donor_alive(w->donor))) {
		send_home(shard, w, ev.dirty);
		return 0;
	}
	uint64_t all = ev.dirty;

	settle_slots(shard, &ev);
	shard->limbo.slot[w->slot].writing &= ~(all & ~ev.dirty);
	return ev.dirty;
}

static void write_ok(struct shard *shard, struct evict_write *w)
{
	struct page *pages = extent_pages(w->extent);

	for (unsigned i = w->first; i < w->first + w->n; i++)
		page_set_flags(&pages[i], PAGE_STORED, PAGE_WRITING);
	shard->limbo.slot[w->slot].writing &= ~mask_range(w->first, w->n);
	shard->count.written += w->n;
}

static void reap_one(struct shard *shard, struct evict_write *w)
{
	uint64_t again = 0;

	shard->writes_in_flight--;
	if (w->io.status == -EPIPE || w->io.status == -ETIMEDOUT)
		donor_died(shard->leap, w->donor, w->io.status);
	lock_acquire(&shard->lock);
	if (w->io.status)
		again = write_failed(shard, w);
	else
		write_ok(shard, w);
	lock_signal(&shard->event);
	lock_release(&shard->lock);
	w->next = shard->write_free;
	shard->write_free = w;
	if (again)
		post_writes(shard, w->extent, w->slot, again, true);
}

int evict_reap(struct shard *shard)
{
	int n = 0;

	for (uint32_t d = 0; shard->writes_in_flight && d < shard->leap->donors.count; d++) {
		const struct donor *donor = &shard->leap->donors.donor[d];

		if (shard->write[d] && !(donor->ops->flags & TRANSPORT_SYNC))
			donor->ops->poll(shard->write[d]);
	}
	while (shard->write_done) {
		struct evict_write *w = shard->write_done;

		shard->write_done = w->next;
		reap_one(shard, w);
		n++;
	}
	return n;
}

void evict_drain(struct shard *shard)
{
	while (shard->writes_in_flight)
		if (!evict_reap(shard))
			sched_yield();
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
		post_writes(shard, ev->extent, ev->slot, ev->dirty, false);
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
