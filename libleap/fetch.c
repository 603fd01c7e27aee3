/* SPDX-License-Identifier: Apache-2.0 */
/* fetch.c - see fetch.h: reads posted to lanes and their completion. */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "libleap/fetch.h"
#include "libleap/fill.h"
#include "libleap/log.h"
#include "libleap/plan.h"
#include "libleap/session.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/mem.h"

#define FETCHES_MAX 256

struct fetch {
	struct io io; /* first */
	struct shard *shard;
	struct leap_region *region;
	struct donor *donor;
	size_t index; /* first page */
	unsigned n;
	unsigned stage; /* first staging buffer */
	enum fetch_how how;
	struct fetch *next;
};

int fetch_init(struct shard *shard)
{
	shard->fetch_pool = mem_map(FETCHES_MAX * sizeof(*shard->fetch_pool));
	if (!shard->fetch_pool)
		return -ENOMEM;
	for (int i = FETCHES_MAX; i-- > 0;) {
		shard->fetch_pool[i].next = shard->fetch_free;
		shard->fetch_free = &shard->fetch_pool[i];
	}
	return 0;
}

void fetch_destroy(struct shard *shard)
{
	mem_unmap(shard->fetch_pool, FETCHES_MAX * sizeof(*shard->fetch_pool));
	shard->fetch_pool = NULL;
}

static void read_done(struct io *io)
{
	struct fetch *f = (struct fetch *)io;

	f->next = f->shard->fetch_done;
	f->shard->fetch_done = f;
}

/* Posts a read of n pages with neighbouring slots into buffers from `stage` on. There is a free request. */
static void post(struct shard *shard, struct leap_region *region, size_t index, unsigned n,
		 int stage, const struct slot_place *place, enum fetch_how how, struct lane *lane)
{
	struct fetch *f = shard->fetch_free;
	struct extent *e = region_extent(region, index);

	shard->fetch_free = f->next;
	memset(f, 0, sizeof(*f));
	f->shard = shard;
	f->region = region;
	f->donor = place->donor;
	f->index = index;
	f->n = n;
	f->stage = (unsigned)stage;
	f->how = how;
	f->io = (struct io){
		.op = IO_READ,
		.slab = place->slab,
		.page = place->page,
		.npages = n,
		.buf = stage_buf(&shard->stage, (unsigned)stage),
		.done = read_done,
	};
	for (unsigned i = 0; i < n; i++) {
		page_move(&region->pages[index + i], PAGE_FILLING);
		shard->remote--;
	}
	e->filling = (uint16_t)(e->filling + n);
	shard->fetches_in_flight++;
	if (!donor_alive(place->donor) || !lane) {
		f->io.status = -EPIPE;
		read_done(&f->io);
	} else {
		place->donor->ops->submit(lane, &f->io);
	}
}

void fetch_drop_staged(struct shard *shard, struct leap_region *region, size_t index)
{
	struct page *page = &region->pages[index];
	int i = stage_find(&shard->stage, region, index);

	stage_remove(&shard->stage, (unsigned)i);
	stage_put(&shard->stage, (unsigned)i, 1);
	shard->staged--;
	shard->remote++;
	record_pages(shard, TRACE_RETIRE, region, index, 1);
	if (page_has(page, PAGE_PREFETCHED)) {
		record_pages(shard, TRACE_UNUSED, region, index, 1);
		plan_unused(shard, region, index, 1);
	}
	shard_prefetched(shard, page, false);
	page_move(page, PAGE_REMOTE);
}

bool fetch_free_buffer(struct shard *shard)
{
	const struct stage_entry *entry;
	struct slot_place place;

	for (int i = shard->stage.oldest; i >= 0; i = entry->newer) {
		const struct extent *e;

		entry = &shard->stage.entry[i];
		e = region_extent(entry->region, entry->page);
		slot_resolve(&shard->leap->slabs, entry->region->pages[entry->page].slot, &place);
		if (!place.gone) {
			fetch_drop_staged(shard, entry->region, entry->page);
			return true;
		}
		if (e->flags & EXTENT_BUSY) /* mapped now, it would leave with its neighbours */
			continue;
		fetch_map_staged(shard, entry->region, entry->page);
		return true;
	}
	return false;
}

int fetch_take_buffers(struct shard *shard, unsigned *n)
{
	struct stage *stage = &shard->stage;
	int first;

	while (stage->nused + *n > STAGE_PAGES && stage_droppable(stage) &&
	       fetch_free_buffer(shard))
		;
	while ((first = stage_take(stage, *n)) < 0 && *n > 1)
		*n /= 2;
	return first;
}

static bool post_demand(struct shard *shard, struct leap_region *region, size_t index,
			const struct slot_place *place)
{
	int stage = shard->fetch_free ? stage_take(&shard->stage, 1) : -1;

	if (stage >= 0)
		post(shard, region, index, 1, stage, place, FETCH_MAP,
		     shard->demand[place->donor->index]);
	return stage >= 0;
}

/* Returns how many of the n pages were posted: as many as there are buffers for. */
static unsigned post_prefetch(struct shard *shard, struct leap_region *region, size_t index,
			      unsigned n, const struct slot_place *place, enum fetch_how how)
{
	int stage = shard->fetch_free ? fetch_take_buffers(shard, &n) : -1;

	if (stage < 0)
		return 0;
	post(shard, region, index, n, stage, place, how, shard->prefetch[place->donor->index]);
	return n;
}

void fetch_demand(struct shard *shard, struct leap_region *region, size_t index)
{
	struct page *page = &region->pages[index];
	struct slot_place place;

	slot_resolve(&shard->leap->slabs, page->slot, &place);
	shard->count.faults_remote++;
	if (place.donor->ops->flags & TRANSPORT_SYNC) {
		fill_demand(shard, region, index, &place);
		return;
	}
	if (place.gone) {
		page_lost(shard, region, index, "its donor died");
		return;
	}
	page_set_flags(page, PAGE_DEMAND | PAGE_WAITED, 0);
	shard_prefetched(shard, page, false);
	while (!post_demand(shard, region, index, &place)) {
		if (shard->fetch_free && fetch_free_buffer(shard))
			continue;
		/* every buffer or request is in flight: wait for some to land */
		lock_release(&shard->lock);
		fetch_flush(shard);
		fetch_reap(shard);
		lock_acquire(&shard->lock);
		if (page_state(page) == PAGE_REMOTE &&
		    !(region->extents[index / EXTENT_PAGES].flags & EXTENT_BUSY))
			continue;
		/* dropped, or an evictor took its neighbours: the thread faults again */
		page_set_flags(page, 0, PAGE_DEMAND | PAGE_WAITED);
		uffd_wake(shard->uffd, region_page_addr(region, index), LEAP_PAGE_BYTES);
		return;
	}
}

unsigned fetch_extent(struct shard *shard, struct extent *e, uint64_t mask, enum fetch_how how)
{
	struct page *pages = extent_pages(e);
	unsigned bit = 0, n, total = 0;

	if (e->flags & EXTENT_BUSY)
		return 0;
	for (uint64_t m = mask; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		if (page_state(&pages[i]) != PAGE_REMOTE)
			mask &= ~(1ull << i);
	}
	while ((n = mask_run(mask, &bit))) {
		struct slot_place place;
		unsigned k = 1;

		slot_resolve(&shard->leap->slabs, pages[bit].slot, &place);
		if (place.gone) { /* reported when it is touched */
			bit++;
			continue;
		}
		while (k < n && pages[bit + k].slot == pages[bit].slot + k &&
		       (pages[bit + k].slot - 1) % LEAP_SLAB_PAGES)
			k++;
		if (place.donor->ops->flags & TRANSPORT_SYNC)
			k = fill_run(shard, e, bit, k, &place, how);
		else
			k = post_prefetch(shard, e->region, extent_first_page(e) + bit, k, &place,
					  how);
		if (!k)
			break;
		total += k;
		bit += k;
	}
	return total;
}

void fetch_flush(struct shard *shard)
{
	struct leap *leap = shard->leap;

	for (uint32_t d = 0; shard->fetches_in_flight && d < leap->donors.count; d++) {
		const struct transport_ops *ops = leap->donors.donor[d].ops;

		if (!shard->demand[d] || ops->flags & TRANSPORT_SYNC)
			continue;
		ops->flush(shard->demand[d]);
		ops->flush(shard->prefetch[d]);
	}
}

/* One page of a completed read. Returns true if it was left STAGED (keeps its buffer). */
static bool complete_page(struct shard *shard, struct fetch *f, unsigned i)
{
	struct page *page = &f->region->pages[f->index + i];
	const char *buf = stage_buf(&shard->stage, f->stage + i);

	if (f->io.status) {
		/* somebody waits: tell; otherwise the next touch will */
		if (page_has(page, PAGE_WAITED)) {
			page_lost(shard, f->region, f->index + i,
				  f->io.status == -ETIMEDOUT ? "its donor does not answer"
							     : "its donor died");
			return false;
		}
		page_move(page, PAGE_REMOTE);
		page_set_flags(page, 0, PAGE_DEMAND);
		shard_prefetched(shard, page, false);
		shard->remote++;
		return false;
	}
	if (!fill_verify(page, buf)) {
		shard->count.io_errors++;
		page_lost(shard, f->region, f->index + i,
			  "its donor returned other bytes than were stored");
		return false;
	}
	shard->count.read++;
	if (f->how == FETCH_STAGE && !page_has(page, PAGE_WAITED)) {
		page_move(page, PAGE_STAGED);
		stage_insert(&shard->stage, f->stage + i, f->region, f->index + i);
		shard->staged++;
		return true;
	}
	fill_install(shard, f->region, f->index + i, buf, page_has(page, PAGE_WAITED));
	return false;
}

/* Neighbours that go the plain way are mapped with one call. Returns how many were. */
static unsigned complete_run(struct shard *shard, struct fetch *f, unsigned from)
{
	struct page *pages = &f->region->pages[f->index];
	unsigned n = 0;

	if (f->io.status || f->how == FETCH_STAGE)
		return 0;
	while (from + n < f->n && !page_has(&pages[from + n], PAGE_WAITED) &&
	       fill_verify(&pages[from + n], stage_buf(&shard->stage, f->stage + from + n)))
		n++;
	if (n < 2)
		return 0;
	if (!fill_install_run(shard, f->region, f->index + from, n,
			      stage_buf(&shard->stage, f->stage + from)))
		return 0;
	shard->count.read += n;
	return n;
}

static void complete(struct shard *shard, struct fetch *f)
{
	struct extent *e = region_extent(f->region, f->index);

	if (f->io.status == -EPIPE || f->io.status == -ETIMEDOUT)
		donor_died(shard->leap, f->donor, f->io.status);
	lock_acquire(&shard->lock);
	if (!f->io.status && !page_has(&f->region->pages[f->index], PAGE_DEMAND))
		record_pages(shard, TRACE_DONE, f->region, f->index, f->n);
	e->filling = (uint16_t)(e->filling - f->n);
	for (unsigned i = 0; i < f->n;) {
		unsigned n = complete_run(shard, f, i);

		if (n) {
			stage_put(&shard->stage, f->stage + i, n);
			i += n;
			continue;
		}
		if (!complete_page(shard, f, i))
			stage_put(&shard->stage, f->stage + i, 1);
		i++;
	}
	lock_signal(&shard->event);
	lock_release(&shard->lock);
	shard->fetches_in_flight--;
	f->next = shard->fetch_free;
	shard->fetch_free = f;
}

int fetch_reap(struct shard *shard)
{
	struct leap *leap = shard->leap;
	int n = 0;

	for (uint32_t d = 0; shard->fetches_in_flight && d < leap->donors.count; d++) {
		const struct transport_ops *ops = leap->donors.donor[d].ops;

		if (!shard->demand[d] || ops->flags & TRANSPORT_SYNC)
			continue;
		ops->poll(shard->demand[d]);
		ops->poll(shard->prefetch[d]);
	}
	while (shard->fetch_done) {
		struct fetch *f = shard->fetch_done;

		shard->fetch_done = f->next;
		complete(shard, f);
		n++;
	}
	return n;
}

void fetch_drain(struct shard *shard)
{
	while (shard->fetches_in_flight) {
		fetch_flush(shard);
		if (!fetch_reap(shard))
			sched_yield();
	}
}

void fetch_map_staged(struct shard *shard, struct leap_region *region, size_t index)
{
	int i = stage_find(&shard->stage, region, index);

	stage_remove(&shard->stage, (unsigned)i);
	shard->staged--;
	fill_install(shard, region, index, stage_buf(&shard->stage, (unsigned)i), true);
	stage_put(&shard->stage, (unsigned)i, 1);
}

/* Page i left its limbo frame for the program: by its frame (moved) or as a copy. */
static void rescued(struct shard *shard, struct extent *e, unsigned i, bool moved)
{
	struct page *page = &extent_pages(e)[i];

	page_set_flags(page, 0, PAGE_WAITED);
	page_move(page, PAGE_LOCAL);
	limbo_forget(shard, e, i, moved);
	shard_pages_local(shard, e, 1ull << i);
}

void fetch_rescue(struct shard *shard, struct extent *e, unsigned i)
{
	char *addr = extent_addr(e) + ((size_t)i << LEAP_PAGE_SHIFT);
	char *frame = limbo_frame(&shard->limbo, e->limbo - 1, i);
	bool moved = false;
	int err = 0;

	/* a frame that is being sent must stay: map a copy */
	if (shard->limbo.movable && !page_has(&extent_pages(e)[i], PAGE_WRITING))
		moved = mover_in(shard, addr, frame, 1, true);
	if (!moved)
		err = uffd_copy(shard->uffd, addr, frame, LEAP_PAGE_BYTES, true, NULL);
	if (err)
		uffd_wake(shard->uffd, addr, LEAP_PAGE_BYTES);
	if (!err || err == -EEXIST)
		rescued(shard, e, i, moved);
	else
		fill_not_mapped(shard, addr, err);
}

unsigned fetch_rescue_extent(struct shard *shard, struct extent *e, uint64_t mask)
{
	const struct page *pages = extent_pages(e);
	unsigned bit = 0, n;

	if (!e->limbo || !shard->limbo.movable || e->flags & EXTENT_BUSY)
		return 0;
	for (uint64_t m = mask; m; m &= m - 1) {
		const struct page *page = &pages[__builtin_ctzll(m)];

		if (page_state(page) != PAGE_LIMBO || page_has(page, PAGE_WRITING))
			mask &= ~(m & -m);
	}
	mask = mover_in(shard, extent_addr(e), limbo_frame(&shard->limbo, e->limbo - 1, 0), mask,
			false);
	for (; (n = mask_run(mask, &bit)); bit += n) {
		for (unsigned i = 0; i < n; i++)
			rescued(shard, e, bit + i, true);
		record_pages(shard, TRACE_RESCUE, e->region, extent_first_page(e) + bit, n);
	}
	return (unsigned)__builtin_popcountll(mask);
}
