/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict_write.c - write-back: from pages that are in limbo with a slot to pages that are stored.
 *
 * A write that fails gets other slots for its pages and is posted again, which may fail in turn; so does a page that is
 * stored when its donor dies before its limbo slot was retired. Both are only noted in the limbo slot
 * (`again`): evict_reap() posts them, in rounds.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "libleap/evict_int.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/uffd/mover.h"
#include "libleap/util/mem.h"

/* A write-back request: neighbouring pages of one extent. */
struct evict_write {
	struct io io; /* first: io -> evict_write */
	struct shard *shard;
	struct extent *extent;
	struct donor *donor;
	uint32_t slot; /* of limbo */
	unsigned first, n;
	bool again; /* these pages have been written to other slots before */
	struct evict_write *next;
};

#define WRITES_MAX 256 /* in flight for a shard */

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

static void write_done(struct io *io)
{
	struct evict_write *w = (struct evict_write *)io;

	w->next = w->shard->write_done;
	w->shard->write_done = w;
}

static struct evict_write *write_get(struct shard *shard)
{
	struct evict_write *w;

	while (!shard->write_free) { /* only new writes wait: evict_reap() posts as far as there are requests */
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

/* The next pages of the mask at or after *bit whose slots are neighbours: how many, from *bit on. Slots of WRITING pages do
 * not change, so they may be read without the lock. */
static unsigned next_run(const struct shard *shard, const struct extent *e, uint64_t mask,
			 unsigned *bit, struct slot_place *ret_place)
{
	const struct page *pages = extent_pages(e);
	unsigned n = mask_run(mask, bit), k = 1;

	if (!n)
		return 0;
	slot_resolve(&shard->leap->slabs, pages[*bit].slot, ret_place);
	while (k < n && pages[*bit + k].slot == pages[*bit].slot + k &&
	       (pages[*bit + k].slot - 1) % LEAP_SLAB_PAGES)
		k++;
	return k;
}

static void flush(struct shard *shard)
{
	for (uint32_t d = 0; d < shard->leap->donors.count; d++)
		if (shard->write[d])
			shard->leap->donors.donor[d].ops->flush(shard->write[d]);
}

void evict_write(struct shard *shard, struct extent *e, uint32_t slot, uint64_t dirty)
{
	struct slot_place place;
	unsigned bit = 0, n;

	for (; (n = next_run(shard, e, dirty, &bit, &place)); bit += n)
		post_write(shard, e, slot, bit, n, &place, false);
	flush(shard);
}

/* A bounded store is full, or other slots did not help either. The donor is asked again when it has room. */
static void send_home(struct shard *shard, struct evict_write *w, uint64_t mask)
{
	char text[300];

	for (uint64_t m = mask; m; m &= m - 1)
		evict_undo(shard, w->extent, w->slot, (unsigned)__builtin_ctzll(m));
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
	struct limbo_slot *slot = &shard->limbo.slot[w->slot];
	struct page *pages = extent_pages(w->extent);
	uint64_t dirty = 0, again;

	shard->count.io_errors++;
	for (unsigned i = w->first; i < w->first + w->n; i++) {
		uint32_t old = pages[i].slot;

		pages[i].slot = 0;
		slots_put(&shard->leap->slabs, &old, 1);
		if (page_state(&pages[i]) == PAGE_LIMBO) {
			dirty |= 1ull << i;
			continue;
		}
		/* touched meanwhile: it is LOCAL and simply not stored */
		page_set_flags(&pages[i], 0, PAGE_WRITING | PAGE_STORED);
		slot->writing &= ~(1ull << i);
	}
	if (w->io.status == -ENOSPC || (w->again && donor_alive(w->donor))) {
		send_home(shard, w, dirty);
		return 0;
	}
	again = evict_find_slots(shard, w->extent, w->slot, dirty);
	slot->writing &= ~(dirty & ~again);
	return again;
}

static void write_ok(struct shard *shard, struct evict_write *w)
{
	struct page *pages = extent_pages(w->extent);

	for (unsigned i = w->first; i < w->first + w->n; i++)
		page_set_flags(&pages[i], PAGE_STORED, PAGE_WRITING);
	shard->limbo.slot[w->slot].writing &= ~mask_range(w->first, w->n);
	shard->count.written += w->n;
}

/* Pages of a limbo slot have new slots. Not written here: what fails would come back here, ever deeper. Lock held. */
static void write_again(struct shard *shard, uint32_t index, uint64_t mask)
{
	struct limbo_slot *slot = &shard->limbo.slot[index];

	if (mask && !slot->again)
		shard->writes_again++;
	slot->again |= mask;
}

static void reap_one(struct shard *shard, struct evict_write *w)
{
	shard->writes_in_flight--;
	if (w->io.status == -EPIPE || w->io.status == -ETIMEDOUT)
		donor_died(shard->leap, w->donor, w->io.status);
	else if (!w->io.status && !donor_alive(w->donor)) /* acknowledged by one that died since */
		w->io.status = -EPIPE;
	lock_acquire(&shard->lock);
	if (w->io.status)
		write_again(shard, w->slot, write_failed(shard, w));
	else
		write_ok(shard, w);
	lock_signal(&shard->event);
	lock_release(&shard->lock);
	w->next = shard->write_free;
	shard->write_free = w;
}

/* The donor that had the only copy of these pages is gone: they need other slots, or go home. Lock held. */
static void rehouse(struct shard *shard, uint32_t index, uint64_t homeless)
{
	struct limbo_slot *slot = &shard->limbo.slot[index];
	struct page *pages = extent_pages(slot->extent);
	uint32_t put[EXTENT_PAGES] = {0};

	for (uint64_t m = homeless; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		put[i] = pages[i].slot;
		pages[i].slot = 0;
		page_set_flags(&pages[i], PAGE_WRITING, PAGE_STORED);
	}
	slots_put(&shard->leap->slabs, put, EXTENT_PAGES);
	homeless = evict_find_slots(shard, slot->extent, index, homeless);
	slot->writing |= homeless;
	write_again(shard, index, homeless);
}

bool evict_deaths_unseen(const struct shard *shard)
{
	return __atomic_load_n(&shard->deaths_seen, __ATOMIC_RELAXED) !=
	       slabs_deaths(&shard->leap->slabs);
}

static void see_to_deaths(struct shard *shard)
{
	uint32_t deaths = slabs_deaths(&shard->leap->slabs);

	lock_acquire(&shard->lock);
	for (uint32_t i = 0; i < shard->limbo.nslots; i++) {
		const struct limbo_slot *slot = &shard->limbo.slot[i];
		uint64_t homeless = slot->extent && !slot->busy ? limbo_homeless(shard, i) : 0;

		if (homeless)
			rehouse(shard, i, homeless);
	}
	__atomic_store_n(&shard->deaths_seen, deaths, __ATOMIC_RELAXED);
	lock_signal(&shard->event);
	lock_release(&shard->lock);
}

/* Posts what is to be written again, as far as there are requests. */
static void post_again(struct shard *shard)
{
	for (uint32_t i = 0; i < shard->limbo.nslots && shard->writes_again; i++) {
		struct limbo_slot *slot = &shard->limbo.slot[i];
		struct slot_place place;
		unsigned bit = 0, n;

		if (!slot->again)
			continue;
		while (shard->write_free &&
		       (n = next_run(shard, slot->extent, slot->again, &bit, &place))) {
			slot->again &= ~mask_range(bit, n);
			post_write(shard, slot->extent, i, bit, n, &place, true);
			bit += n;
		}
		if (!slot->again)
			shard->writes_again--;
	}
	flush(shard);
}

int evict_reap(struct shard *shard)
{
	int n = 0;

	for (uint32_t d = 0; shard->writes_in_flight && d < shard->leap->donors.count; d++) {
		const struct donor *donor = &shard->leap->donors.donor[d];

		if (shard->write[d] && !(donor->ops->flags & TRANSPORT_SYNC))
			donor->ops->poll(shard->write[d]);
	}
	do {
		while (shard->write_done) {
			struct evict_write *w = shard->write_done;

			shard->write_done = w->next;
			reap_one(shard, w);
			n++;
		}
		if (evict_deaths_unseen(shard))
			see_to_deaths(shard);
		if (shard->writes_again)
			post_again(shard);
	} while (shard->write_done);
	return n;
}

void evict_drain(struct shard *shard)
{
	while (shard->writes_in_flight || shard->writes_again || evict_deaths_unseen(shard))
		if (!evict_reap(shard))
			sched_yield();
}
