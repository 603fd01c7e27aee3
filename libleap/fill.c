/* SPDX-License-Identifier: Apache-2.0 */
/* fill.c - see fill.h. */
#include <errno.h>
#include <string.h>

#include "libleap/fill.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/hash.h"

#define RECYCLE_MIN 32 /* pages of an extent from which moving 64 frames pays */

static const char zeroes[EXTENT_BYTES] __attribute__((aligned(4096)));

bool fill_verify(const struct page *page, const void *bytes)
{
	return hash_page(bytes) == page->hash;
}

/* The page left REMOTE (or FILLING, which already did) for the program. */
static void account(struct shard *shard, struct leap_region *region, size_t index)
{
	struct page *page = &region->pages[index];

	if (page_state(page) == PAGE_REMOTE)
		shard->remote--;
	if (page_has(page, PAGE_WAITED))
		waiting_end(shard, region, index);
	page_set_flags(page, 0, PAGE_WAITED | PAGE_DEMAND);
	page_move(page, PAGE_LOCAL);
}

#define SAY_AGAIN_NS (60 * 1000000000ull)

/* The page stays where it is and the thread faults again; fault_handle() makes the kernel room first. */
void fill_not_mapped(struct shard *shard, const char *addr, int err)
{
	uint64_t now = clock_ns();

	if (err == -ENOENT) /* the program unmapped it */
		return;
	shard->starved = true;
	if (shard->starved_said_ns && now - shard->starved_said_ns < SAY_AGAIN_NS)
		return;
	shard->starved_said_ns = now;
	log_error("the kernel cannot map a page at %p now (error %d%s): trying again, with less "
		  "memory in use; lower option local, or raise the memory limit of this program",
		  (const void *)addr, -err, err == -ENOMEM ? ", no memory" : "");
}

void fill_install(struct shard *shard, struct leap_region *region, size_t index, const void *bytes,
		  bool wake)
{
	struct page *page = &region->pages[index];
	char *addr = region_page_addr(region, index);
	int err = uffd_copy(shard->uffd, addr, bytes, LEAP_PAGE_BYTES, wake, NULL);

	if (!err || err == -EEXIST) {
		account(shard, region, index);
		shard_pages_local(shard, region_extent(region, index),
				  1ull << (index % EXTENT_PAGES));
	} else {
		fill_not_mapped(shard, addr, err);
		if (page_state(page) != PAGE_REMOTE) {
			page_move(page, PAGE_REMOTE);
			shard->remote++;
			waiting_end(shard, region, index); /* it will fault again */
		}
		page_set_flags(page, 0, PAGE_WAITED | PAGE_DEMAND);
		shard_prefetched(shard, page, false);
	}
	if (err)
		uffd_wake(shard->uffd, addr, LEAP_PAGE_BYTES);
}

static void account_run(struct shard *shard, struct leap_region *region, size_t index, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		account(shard, region, index + i);
	shard_pages_local(shard, region_extent(region, index), mask_range(index % EXTENT_PAGES, n));
}

bool fill_install_run(struct shard *shard, struct leap_region *region, size_t index, unsigned n,
		      const void *bytes)
{
	size_t done = 0;
	int err = uffd_copy(shard->uffd, region_page_addr(region, index), bytes,
			    (size_t)n << LEAP_PAGE_SHIFT, false, &done);

	/* what was mapped before an error is mapped; the rest goes page by page */
	account_run(shard, region, index, (unsigned)(done >> LEAP_PAGE_SHIFT));
	for (unsigned i = (unsigned)(done >> LEAP_PAGE_SHIFT); err && i < n; i++)
		fill_install(shard, region, index + i,
			     (const char *)bytes + ((size_t)i << LEAP_PAGE_SHIFT), true);
	return true;
}

static void ignore_done(struct io *io)
{
	(void)io;
}

/* Reads n neighbouring slots of a donor that answers at once. */
static int read_now(struct shard *shard, const struct slot_place *place, unsigned n, void *buf)
{
	struct io io = {
		.op = IO_READ,
		.slab = place->slab,
		.page = place->page,
		.npages = n,
		.buf = buf,
		.done = ignore_done,
	};
	struct lane *lane = shard->demand[place->donor->index];

	if (!lane)
		return -EPIPE;
	place->donor->ops->submit(lane, &io);
	place->donor->ops->flush(lane);
	return io.status;
}

/* Where n neighbouring slots can be read in place, or NULL. */
static const char *peek_now(const struct slot_place *place, unsigned n)
{
	const struct transport_ops *ops = place->donor->ops;
	const char *first;

	if (!(ops->flags & TRANSPORT_PEEK))
		return NULL;
	first = ops->peek(place->donor->port, place->slab, place->page);
	for (unsigned i = 1; first && i < n; i++)
		if (ops->peek(place->donor->port, place->slab, place->page + i) !=
		    first + ((size_t)i << LEAP_PAGE_SHIFT))
			return NULL;
	return first;
}

void fill_demand(struct shard *shard, struct leap_region *region, size_t index,
		 const struct slot_place *place)
{
	struct page *page = &region->pages[index];
	const char *bytes = peek_now(place, 1);
	int stage = -1, err = 0;

	if (!bytes) {
		stage = stage_take(&shard->stage, 1);
		while (stage < 0 && fetch_free_buffer(shard))
			stage = stage_take(&shard->stage, 1);
		if (stage < 0) { /* cannot happen: nothing else holds buffers here */
			uffd_wake(shard->uffd, region_page_addr(region, index), LEAP_PAGE_BYTES);
			return;
		}
		bytes = stage_buf(&shard->stage, (unsigned)stage);
		err = read_now(shard, place, 1, (void *)bytes);
	}
	if (err) {
		page_lost(shard, region, index, "its donor died");
	} else if (!fill_verify(page, bytes)) {
		shard->count.io_errors++;
		page_lost(shard, region, index, "its donor returned other bytes than were stored");
	} else {
		shard->count.read++;
		fill_install(shard, region, index, bytes, true);
	}
	if (stage >= 0)
		stage_put(&shard->stage, (unsigned)stage, 1);
}

static unsigned verified(const struct page *pages, unsigned n, const char *bytes)
{
	unsigned k = 0;

	while (k < n && fill_verify(&pages[k], bytes + ((size_t)k << LEAP_PAGE_SHIFT)))
		k++;
	return k;
}

/* Pages of a run become STAGED, each keeps its buffer; up to one that is not right, which is told when it is touched. */
static unsigned stage_run(struct shard *shard, struct extent *e, unsigned i, unsigned n,
			  unsigned stage)
{
	size_t index = extent_first_page(e) + i;
	struct page *pages = &e->region->pages[index];
	unsigned good = verified(pages, n, stage_buf(&shard->stage, stage));

	for (unsigned k = 0; k < good; k++) {
		page_move(&pages[k], PAGE_FILLING);
		page_move(&pages[k], PAGE_STAGED);
		stage_insert(&shard->stage, stage + k, e->region, index + k);
		shard->remote--;
		shard->staged++;
	}
	if (good < n)
		stage_put(&shard->stage, stage + good, n - good);
	return good;
}

unsigned fill_run(struct shard *shard, struct extent *e, unsigned i, unsigned n,
		  const struct slot_place *place, enum fetch_how how)
{
	const char *bytes = how == FETCH_MAP ? peek_now(place, n) : NULL;
	size_t index = extent_first_page(e) + i;
	unsigned good;
	int stage = -1;

	if (!bytes) {
		stage = fetch_take_buffers(shard, &n);
		if (stage < 0)
			return 0;
		bytes = stage_buf(&shard->stage, (unsigned)stage);
		if (read_now(shard, place, n, (void *)bytes)) {
			stage_put(&shard->stage, (unsigned)stage, n);
			return 0;
		}
	}
	shard->count.read += n;
	if (how == FETCH_STAGE)
		return stage_run(shard, e, i, n, (unsigned)stage);
	good = verified(&e->region->pages[index], n, bytes);
	if (good)
		fill_install_run(shard, e->region, index, good, bytes);
	if (stage >= 0)
		stage_put(&shard->stage, (unsigned)stage, n);
	return good;
}

void fill_zero(struct shard *shard, struct leap_region *region, size_t index, unsigned n)
{
	struct extent *e = region_extent(region, index);
	char *addr = region_page_addr(region, index);
	size_t done = 0;
	unsigned got;
	int err = uffd_copy(shard->uffd, addr, zeroes, (size_t)n << LEAP_PAGE_SHIFT, true, &done);

	got = (unsigned)(done >> LEAP_PAGE_SHIFT);
	if (err == -EEXIST && got < n && got == 0)
		got = 1; /* there already: count it */
	for (unsigned i = 0; i < got; i++) {
		page_set_flags(&region->pages[index + i], 0, PAGE_WAITED);
		page_move(&region->pages[index + i], PAGE_LOCAL);
	}
	if (got) {
		shard_pages_local(shard, e, mask_range(index % EXTENT_PAGES, got));
		record_pages(shard, TRACE_NEW, region, index, got);
		budget_add(shard->leap, got, 0);
	}
	if (!got)
		fill_not_mapped(shard, addr, err);
	if (err)
		uffd_wake(shard->uffd, addr, LEAP_PAGE_BYTES);
}

/* Copies the run into frames. Pages that verify, counted from the first. */
static unsigned load_frames(struct shard *shard, struct extent *e, unsigned i, unsigned n,
			    char *frames)
{
	const struct page *pages = &extent_pages(e)[i];
	char *to = frames + ((size_t)i << LEAP_PAGE_SHIFT);
	struct slot_place place;
	unsigned k = 1;
	const char *from;

	slot_resolve(&shard->leap->slabs, pages[0].slot, &place);
	while (k < n && pages[k].slot == pages[0].slot + k && (pages[k].slot - 1) % LEAP_SLAB_PAGES)
		k++;
	if (place.gone || !(place.donor->ops->flags & TRANSPORT_SYNC))
		return 0;
	from = peek_now(&place, k);
	if (!from)
		return read_now(shard, &place, k, to) ? 0 : verified(pages, k, to);
	for (n = 0; n < k; n++) {
		memcpy(to + ((size_t)n << LEAP_PAGE_SHIFT), from + ((size_t)n << LEAP_PAGE_SHIFT),
		       LEAP_PAGE_BYTES);
		if (!fill_verify(&pages[n], to + ((size_t)n << LEAP_PAGE_SHIFT)))
			break;
	}
	return n;
}

unsigned fill_recycled(struct shard *shard, struct extent *e, uint64_t mask)
{
	unsigned bit = 0, n;
	uint64_t loaded = 0, moved;
	char *frames;

	if (__builtin_popcountll(mask) < RECYCLE_MIN || e->flags & EXTENT_BUSY)
		return 0;

	frames = limbo_recycle(shard);
	if (!frames)
		return 0;
	while ((n = mask_run(mask, &bit))) {
		unsigned k = load_frames(shard, e, bit, n, frames);

		loaded |= k ? mask_range(bit, k) : 0;
		bit += k ? k : 1;
	}
	moved = mover_in(shard, extent_addr(e), frames, loaded, false);
	for (bit = 0; (n = mask_run(moved, &bit)); bit += n)
		account_run(shard, e->region, extent_first_page(e) + bit, n);
	shard->count.read += (uint64_t)__builtin_popcountll(moved);

	if (moved != ~0ull)
		limbo_drop(frames, EXTENT_PAGES);
	return (unsigned)__builtin_popcountll(moved);
}
