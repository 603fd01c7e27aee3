/* SPDX-License-Identifier: Apache-2.0 */
/*
 * region_range.c - what application threads do to the content of ranges: dropping, pinning, moving, bringing
 * home. All of it under shard locks with signals blocked, waiting for pages that an evictor or a read
 * works on; the fault threads never wait for it.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/fault.h"
#include "libleap/fetch.h"
#include "libleap/region_int.h"
#include "libleap/session.h"
#include "libleap/uffd/content.h"
#include "libleap/uffd/handler.h"
#include "libleap/uffd/uffd.h"

#define CHUNK_PAGES (16 * EXTENT_PAGES) /* under one lock, with one madvise */
#define WAIT_NS     (10 * 1000000)
#define ASK_TRIES   3000
#define POLL_NS     (100 * 1000)

static bool page_in_work(const struct page *page)
{
	return page_state(page) == PAGE_FILLING || page_state(page) == PAGE_EVICTING ||
	       page_has(page, PAGE_WRITING);
}

/* One wait for whoever works on pages of the shard. Lock held; lets it go meanwhile. Writes are reaped by the evictor,
 * which may sleep; reads, with the front end inline, by whoever faults next. */
static void wait_work(struct shard *shard, uint32_t seen)
{
	evictor_kick(shard->leap);
	if (shard->inline_faults) {
		lock_release(&shard->lock);
		lock_acquire(&shard->role_lock);
		fetch_flush(shard);
		fetch_reap(shard);
		lock_release(&shard->role_lock);
		lock_acquire(&shard->lock);
	}
	lock_wait(&shard->lock, &shard->event, seen, shard->inline_faults ? POLL_NS : WAIT_NS);
}

/* Until nothing in [first, end) is being filled, evicted or written. Lock held; may let it go meanwhile. */
static void wait_idle(struct shard *shard, struct leap_region *r, size_t first, size_t end)
{
	for (size_t i = first; i < end;) {
		const struct extent *e = &r->extents[i / EXTENT_PAGES];
		uint32_t seen = __atomic_load_n(&shard->event, __ATOMIC_ACQUIRE);

		if (!(e->flags & EXTENT_BUSY) && !page_in_work(&r->pages[i])) {
			i++;
			continue;
		}
		wait_work(shard, seen);
		i = first; /* what was idle may have changed */
	}
}

/* A lost page's poison marker outlives MADV_DONTNEED: cover it first. */
static void unpoison(struct shard *shard, struct leap_region *r, size_t index)
{
	static const char zero[LEAP_PAGE_BYTES] __attribute__((aligned(4096)));

	uffd_copy(shard->uffd, region_page_addr(r, index), zero, LEAP_PAGE_BYTES, false, NULL);
	shard->lost--;
}

/* Takes content and slot from one idle page. Lock held. */
static void drop_page(struct shard *shard, struct leap_region *r, size_t index, uint32_t *ret_slot)
{
	struct page *page = &r->pages[index];
	struct extent *e = region_extent(r, index);
	unsigned i = index % EXTENT_PAGES;
	int64_t held = -1;

	if (page_state(page) == PAGE_STAGED)
		fetch_drop_staged(shard, r, index);
	switch (page_state(page)) {
	case PAGE_ABSENT:
		return;
	case PAGE_LOCAL:
		shard_pages_unlocal(shard, e, 1ull << i);
		break;
	case PAGE_LIMBO:
		limbo_forget(shard, e, i, false);
		break;
	case PAGE_REMOTE:
		shard->remote--;
		break;
	case PAGE_LOST:
		unpoison(shard, r, index);
		held = 0;
		break;
	default:
		break;
	}
	*ret_slot = page->slot;
	page->slot = 0;
	page_set_flags(page, 0, PAGE_STORED | PAGE_MARKER | PAGE_WAITED);
	shard_prefetched(shard, page, false);
	page_move(page, PAGE_ABSENT);
	budget_add(r->leap, held, 0);
}

/* The extent holds nothing any more: its group may serve another. */
static void maybe_drop_group(struct leap_region *r, struct extent *e)
{
	const struct page *pages = extent_pages(e);

	if (!e->group)
		return;
	for (unsigned i = 0; i < extent_npages(e); i++)
		if (pages[i].slot)
			return;
	group_drop(&r->leap->slabs, e->group);
	e->group = 0;
}

static void drop_chunk(struct shard *shard, struct leap_region *r, size_t first, size_t end)
{
	for (size_t at = first; at < end;) {
		size_t stop = (at / EXTENT_PAGES + 1) * EXTENT_PAGES;
		struct extent *e = region_extent(r, at);
		uint32_t slots[EXTENT_PAGES] = {0};

		stop = stop < end ? stop : end;
		record_pages(shard, TRACE_DROP, r, at, (uint32_t)(stop - at));
		for (; at < stop; at++)
			drop_page(shard, r, at, &slots[at % EXTENT_PAGES]);
		slots_put(&r->leap->slabs, slots, EXTENT_PAGES);
		maybe_drop_group(r, e);
	}
	sys_discard(region_page_addr(r, first), (end - first) << LEAP_PAGE_SHIFT);
}

/* The stripe is not armed: the kernel's alone. Arming takes the shard lock: under it nothing can change. */
static bool drop_unarmed(struct shard *shard, struct leap_region *r, size_t first, size_t stop)
{
	bool armed;

	lock_acquire(&shard->lock);
	armed = region_page_armed(r, first);
	if (!armed)
		sys_discard(region_page_addr(r, first), (stop - first) << LEAP_PAGE_SHIFT);
	lock_release(&shard->lock);
	return !armed;
}

/* Pages of an armed stripe from first on, up to stop at most; returns where it came to. Parts that were never used are passed
 * over at once: their tables are not even looked at. */
static size_t drop_armed(struct shard *shard, struct leap_region *r, size_t first, size_t stop)
{
	bool used;
	size_t end = first;

	lock_acquire(&shard->lock);
	used = region_extent_used(r, first);
	while (end < stop && (!used || end - first < CHUNK_PAGES) &&
	       region_extent_used(r, end) == used)
		end = (end / EXTENT_PAGES + 1) * EXTENT_PAGES;
	if (end > stop)
		end = stop;
	if (used) {
		wait_idle(shard, r, first, end);
		drop_chunk(shard, r, first, end);
	} else {
		sys_discard(region_page_addr(r, first), (end - first) << LEAP_PAGE_SHIFT);
	}
	lock_release(&shard->lock);
	return end;
}

void region_drop(struct leap_region *r, size_t first, size_t n)
{
	size_t end = first + n;

	while (first < end) {
		size_t stop = region_stripe_end(r, first);
		struct shard *shard = region_shard(r, first);

		if (stop > end)
			stop = end;
		if (region_page_armed(r, first) || !drop_unarmed(shard, r, first, stop))
			stop = drop_armed(shard, r, first, stop);
		first = stop;
	}
}

void region_forget(struct leap_region *r)
{
	for (size_t x = 0; x < r->nextents; x++) {
		struct extent *e = &r->extents[x];
		size_t first = x * EXTENT_PAGES;
		struct shard *shard = region_shard(r, first);
		uint32_t slots[EXTENT_PAGES] = {0};

		if (!region_page_armed(r, first)) {
			x = (first / REGION_STRIPE_PAGES + 1) *
				    (REGION_STRIPE_PAGES / EXTENT_PAGES) -
			    1;
			continue;
		}
		if (!region_extent_used(r, first))
			continue;
		lock_acquire(&shard->lock);
		wait_idle(shard, r, first, first + extent_npages(e));
		record_pages(shard, TRACE_DROP, r, first, extent_npages(e));
		for (unsigned i = 0; i < extent_npages(e); i++)
			drop_page(shard, r, first + i, &slots[i]);
		if (e->limbo)
			limbo_retire_extent(shard, e);
		slots_put(&r->leap->slabs, slots, EXTENT_PAGES);
		group_drop(&r->leap->slabs, e->group);
		e->group = 0;
		lock_release(&shard->lock);
	}
}

/* Asks the fault thread for the page as if it had been touched: the program may have made it unreadable. */
static int ask_for(struct shard *shard, struct leap_region *r, size_t index)
{
	enum page_state state;
	struct lock_app saved;

	lock_app_enter(&saved);
	lock_acquire(&shard->lock);
	for (int tries = 0; tries < ASK_TRIES; tries++) {
		uint32_t seen = __atomic_load_n(&shard->event, __ATOMIC_ACQUIRE);

		state = page_state(&r->pages[index]);
		if (state == PAGE_LOCAL || state == PAGE_ABSENT || state == PAGE_LOST)
			break;
		fault_hint(shard, r, index, 0);
		shard_kick(shard);
		lock_wait(&shard->lock, &shard->event, seen, WAIT_NS);
	}
	state = page_state(&r->pages[index]);
	lock_release(&shard->lock);
	lock_app_leave(&saved);
	return state == PAGE_LOCAL || state == PAGE_ABSENT ? 0 : -EIO;
}

int region_touch(struct leap_region *r, size_t index)
{
	char byte, *addr = region_page_addr(r, index);
	struct iovec local = {&byte, 1}, remote = {addr, 1};
	struct shard *shard = region_shard(r, index);

	if (shard->inline_faults)
		return inline_serve(r, addr) ? 0 : -EIO;
	/* by way of the kernel: a lost page is an error code there, not a signal */
	if (!r->leap->user_only &&
	    sys_ret(syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0)) == 1)
		return 0;
	return ask_for(shard, r, index);
}

/* A thread that waited is awake before the states of its page and the figures are written: they are after this. */
static void settle(struct leap *leap)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	shards_lock_all(leap);
	shards_unlock_all(leap);
	lock_app_leave(&saved);
}

static bool is_mapped(const char *page)
{
	unsigned char there;

	return sys_ret(syscall(SYS_mincore, page, LEAP_PAGE_BYTES, &there)) != -ENOMEM;
}

/* Does the page have content although it is not local? Then the program mapped other memory there, which is not registered. */
static bool is_replaced(struct leap_region *r, size_t index)
{
	const struct page *page = &r->pages[index];
	struct shard *shard = region_shard(r, index);
	struct lock_app saved;
	bool replaced;

	lock_app_enter(&saved);
	lock_acquire(&shard->lock);
	wait_idle(shard, r, index, index + 1);
	replaced = page_state(page) != PAGE_LOCAL && page_state(page) != PAGE_ABSENT &&
		   page_state(page) != PAGE_LOST &&
		   content_mask(shard->uffd, region_page_addr(r, index), 1);
	lock_release(&shard->lock);
	lock_app_leave(&saved);
	return replaced;
}

/* The program unmapped the page, or mapped another one in its place: nobody can come for its content. */
static void drop_unmapped(struct leap_region *r, size_t index)
{
	struct shard *shard = region_shard(r, index);
	struct lock_app saved;
	uint32_t slot = 0;

	lock_app_enter(&saved);
	lock_acquire(&shard->lock);
	wait_idle(shard, r, index, index + 1);
	drop_page(shard, r, index, &slot);
	slots_put(&r->leap->slabs, &slot, 1);
	lock_release(&shard->lock);
	lock_app_leave(&saved);
}

int region_bring_home(struct leap_region *r, size_t first, size_t n)
{
	bool touched = false;

	for (size_t i = first; i < first + n; i++) {
		enum page_state state = page_state(&r->pages[i]);

		if (!region_page_armed(r, i)) {
			i = region_stripe_end(r, i) - 1;
			continue;
		}
		if (state == PAGE_LOCAL || state == PAGE_ABSENT)
			continue;
		if (!is_mapped(region_page_addr(r, i))) {
			drop_unmapped(r, i);
			continue;
		}
		if (region_touch(r, i))
			return error_set(EIO,
					 page_state(&r->pages[i]) == PAGE_LOST
						 ? "the page at %p is lost"
						 : "the page at %p cannot be brought home: is it "
						   "still mapped?",
					 (void *)region_page_addr(r, i));
		if (is_replaced(r, i))
			drop_unmapped(r, i);
		touched = true;
	}
	if (touched)
		settle(r->leap);
	return 0;
}

/* Adds +1 or -1 to the pins of each page; returns for how many: it stops at one whose count is at its end. */
static size_t change_pins(struct leap_region *r, size_t first, size_t n, bool up)
{
	struct lock_app saved;
	int64_t change = 0;
	bool room = true;
	size_t i;

	lock_app_enter(&saved);
	for (i = first; i < first + n && room; i += room) {
		struct shard *shard = region_shard(r, i);
		uint32_t seen;

		lock_acquire(&shard->lock);
		while (seen = __atomic_load_n(&shard->event, __ATOMIC_ACQUIRE),
		       page_state(&r->pages[i]) == PAGE_EVICTING)
			lock_wait(&shard->lock, &shard->event, seen, WAIT_NS);
		room = !up || !page_pins_full(&r->pages[i]);
		if (up && room) {
			change += !page_pinned(&r->pages[i]);
			__atomic_fetch_add(&r->pages[i].word, PAGE_PIN_ONE, __ATOMIC_RELAXED);
		} else if (!up && page_pinned(&r->pages[i])) {
			__atomic_fetch_sub(&r->pages[i].word, PAGE_PIN_ONE, __ATOMIC_RELAXED);
			change -= !page_pinned(&r->pages[i]);
		}
		lock_release(&shard->lock);
	}
	lock_app_leave(&saved);
	__atomic_fetch_add(&r->pinned, change, __ATOMIC_RELAXED);
	__atomic_fetch_add(&r->leap->pinned, change, __ATOMIC_RELAXED);
	return i - first;
}

/* How many of the pages are not pinned yet. Others may pin and unpin meanwhile: the limit is no exact one. */
static size_t count_unpinned(const struct leap_region *r, size_t first, size_t n)
{
	size_t count = 0;

	for (size_t i = first; i < first + n; i++)
		count += !page_pinned(&r->pages[i]);
	return count;
}

/* Pages that the program unmapped are dropped; returns how many pages of the rest have content that is not pinned. */
static size_t count_content(struct leap_region *r)
{
	unsigned char there[CHUNK_PAGES];
	size_t count = 0;

	for (size_t first = 0, end; first < r->npages; first = end) {
		end = first + CHUNK_PAGES < r->npages ? first + CHUNK_PAGES : r->npages;
		bool whole = sys_ret(syscall(SYS_mincore, region_page_addr(r, first),
					     (end - first) << LEAP_PAGE_SHIFT, there)) != -ENOMEM;

		for (size_t i = first; i < end; i++) {
			if (!region_page_armed(r, i) || page_state(&r->pages[i]) == PAGE_ABSENT)
				continue;
			if (whole || is_mapped(region_page_addr(r, i)))
				count += !page_pinned(&r->pages[i]);
			else
				drop_unmapped(r, i);
		}
	}
	return count;
}

/* `more` pages are to be held that are not pinned yet. */
static int pin_pages(struct leap_region *r, size_t first, size_t n, size_t more)
{
	size_t done;
	int64_t pinned = __atomic_load_n(&r->leap->pinned, __ATOMIC_RELAXED) + (int64_t)more;
	int err;

	if (more && pinned > budget_pages(r->leap))
		return error_set(ENOMEM,
				 "%zu more pages cannot be pinned: the local limit allows %ld in "
				 "all; raise it (option local)",
				 more, (long)budget_pages(r->leap));
	done = change_pins(r, first, n, true);
	if (done < n) {
		change_pins(r, first, done, false);
		return error_set(
			EOVERFLOW,
			"the page at %p is pinned %u times, which is the most that is counted: "
			"unpin what is pinned",
			(void *)region_page_addr(r, first + done), PAGE_PINS_MAX);
	}
	err = region_bring_home(r, first, n);
	if (err)
		change_pins(r, first, n, false);
	return err;
}

int region_pin_pages(struct leap_region *r, size_t first, size_t n)
{
	return pin_pages(r, first, n, count_unpinned(r, first, n));
}

int region_pin_content(struct leap_region *r)
{
	return pin_pages(r, 0, r->npages, count_content(r));
}

size_t region_keep(struct leap_region *r, size_t first, size_t n)
{
	n = change_pins(r, first, n, true);
	for (size_t i = first; i < first + n; i++)
		if (region_page_armed(r, i) && page_state(&r->pages[i]) != PAGE_LOCAL)
			region_touch(r, i);
	return n;
}

void region_unpin_pages(struct leap_region *r, size_t first, size_t n)
{
	change_pins(r, first, n, false);
}

/* Pages that stayed since no donor gives them a place. Lock held. */
static bool without_place(const struct extent *e)
{
	const struct page *pages = extent_pages(e);

	for (uint64_t m = e->local; m; m &= m - 1) {
		const struct page *page = &pages[__builtin_ctzll(m)];

		if (!page->slot && !page_pinned(page))
			return true;
	}
	return false;
}

int region_evict_pages(struct leap_region *r, size_t first, size_t n)
{
	char why[DONORS_WHY_BYTES];
	struct lock_app saved;
	int full = 0;

	lock_app_enter(&saved);
	for (size_t x = first / EXTENT_PAGES; x <= (first + n - 1) / EXTENT_PAGES && !full; x++) {
		struct extent *e = &r->extents[x];
		struct shard *shard = region_shard(r, x * EXTENT_PAGES);
		int out;

		if (!region_page_armed(r, x * EXTENT_PAGES) ||
		    !region_extent_used(r, x * EXTENT_PAGES))
			continue;
		lock_acquire(&shard->evict_lock);
		evict_drain(shard);
		out = evict_extent(shard, e);
		if (out == EVICT_FULL && donors_grow(r->leap) == 0)
			out = evict_extent(shard, e);
		evict_drain(shard);
		lock_acquire(&shard->lock);
		/* a write may have failed for want of room after all */
		full = out == EVICT_FULL || (evict_full(r->leap) && without_place(e));
		if (e->limbo)
			limbo_retire_extent(shard, e);
		lock_release(&shard->lock);
		lock_release(&shard->evict_lock);
	}
	lock_app_leave(&saved);
	if (!full)
		return 0;
	donors_why(r->leap, why, sizeof(why));
	return error_set(ENOSPC, "%s", why);
}

void region_cold(struct leap_region *r, size_t first, size_t n)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	for (size_t x = first / EXTENT_PAGES; x <= (first + n - 1) / EXTENT_PAGES; x++) {
		struct extent *e = &r->extents[x];
		struct shard *shard = region_shard(r, x * EXTENT_PAGES);

		if (!region_page_armed(r, x * EXTENT_PAGES) ||
		    !region_extent_used(r, x * EXTENT_PAGES))
			continue;
		lock_acquire(&shard->lock);
		if (e->flags & EXTENT_QUEUED) {
			shard_queue_remove(shard, e);
			shard_queue_front(shard, e);
			e->flags |= EXTENT_COLD;
		}
		lock_release(&shard->lock);
	}
	lock_app_leave(&saved);
}

void region_hint(struct leap_region *r, size_t first, size_t n)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	while (n) {
		size_t end = region_stripe_end(r, first), part = end - first < n ? end - first : n;
		struct shard *shard = region_shard(r, first);

		if (region_page_armed(r, first)) {
			lock_acquire(&shard->lock);
			fault_hint(shard, r, first, part);
			lock_release(&shard->lock);
			shard_kick(shard);
		}
		first += part;
		n -= part;
	}
	lock_app_leave(&saved);
}
