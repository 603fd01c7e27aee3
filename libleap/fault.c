/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - see fault.h. */
#include "libleap/fault.h"
#include "libleap/evict.h"
#include "libleap/fetch.h"
#include "libleap/fill.h"
#include "libleap/log.h"
#include "libleap/plan.h"
#include "libleap/session.h"
#include "libleap/uffd/content.h"
#include "libleap/uffd/uffd.h"

#define ZERO_WINDOW_MAX EXTENT_PAGES
#define HINT_PAGES      512  /* brought at once: faults must not wait long */
#define SLACK_PAGES     2048 /* 8 MiB over the budget before a fault waits for room */

struct batch {
	struct plan_todo todo[FAULT_BATCH];
	unsigned ntodo;
	bool told; /* the trace has its first fault */
	uint64_t start_ns;
};

bool fault_decode(const struct uffd_msg *msg, struct fault *ret_fault)
{
	uint64_t flags = msg->arg.pagefault.flags;

	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return false;
	ret_fault->addr = (char *)(uintptr_t)(msg->arg.pagefault.address & ~LEAP_PAGE_MASK);
	ret_fault->wp = (flags & UFFD_PAGEFAULT_FLAG_WP) != 0;
	ret_fault->write = (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
	ret_fault->thread = msg->arg.pagefault.feat.ptid;
	return true;
}

/* How many ABSENT pages from index on may be mapped at once: a run of first touches doubles it. */
static unsigned zero_run(struct shard *shard, struct leap_region *region, size_t index)
{
	size_t end = (index / EXTENT_PAGES + 1) * EXTENT_PAGES;
	size_t limit = region->reserved ? region->high_page : region->npages;
	unsigned n = 1, want;

	if (shard->zero_region == region && shard->zero_next == index) {
		if (shard->zero_window < ZERO_WINDOW_MAX)
			shard->zero_window *= 2;
	} else {
		shard->zero_window = 1;
	}
	want = shard->zero_window;
	if (end > limit)
		end = limit;
	while (n < want && index + n < end && page_word(&region->pages[index + n]) == PAGE_ABSENT)
		n++;
	shard->zero_region = region;
	shard->zero_next = index + n;
	return n;
}

static void serve_absent(struct shard *shard, struct leap_region *region, size_t index)
{
	shard->count.faults_zero++;
	fill_zero(shard, region, index, zero_run(shard, region, index));
}

/* Tells the trace what the fault met. */
static void note(struct shard *shard, struct batch *batch, struct leap_region *region, size_t index,
		 const struct fault *fault)
{
	const struct page *page = &region->pages[index];
	unsigned flags = page_has(page, PAGE_MARKER) ? TRACE_RECORD_MARKER : 0;
	enum trace_op op = TRACE_ACCESS;

	flags |= batch->told ? TRACE_RECORD_SAME : 0;
	switch (page_state(page)) {
	case PAGE_FILLING: /* one that is waited for was told already */
		if (page_has(page, PAGE_WAITED))
			return;
		op = TRACE_LATE_HIT;
		break;
	case PAGE_STAGED:
		op = TRACE_HIT;
		break;
	case PAGE_LIMBO:
		flags |= TRACE_RECORD_LIMBO;
		break;
	case PAGE_ABSENT:
		flags |= TRACE_RECORD_FIRST;
		break;
	case PAGE_REMOTE:
		break;
	default:
		return;
	}
	batch->told = true;
	record_access(shard, op, region, index, fault, flags);
	shard->fault_ns = shard->ring->last_ns; /* policies are told what the trace tells */
}

/* The wish of a miss or a marker, if the policy has one. */
static void consult(struct shard *shard, struct batch *batch, struct leap_region *region,
		    size_t index, const struct fault *fault)
{
	struct plan_todo *todo = &batch->todo[batch->ntodo];
	struct page *page = &region->pages[index];
	bool some;

	if (batch->ntodo == FAULT_BATCH)
		return;
	if (page_has(page, PAGE_MARKER)) {
		some = plan_marker(shard, region, index, fault->write, fault->thread, todo);
	} else if (page_has(page, PAGE_PREFETCHED)) {
		shard_prefetched(shard, page, false);
		plan_hit(shard, region, index, fault->write, fault->thread);
		return;
	} else {
		some = plan_miss(shard, region, index, fault->write, fault->thread, todo);
	}
	batch->ntodo += some;
}

static void serve_local(struct shard *shard, struct leap_region *region, size_t index,
			const struct fault *fault)
{
	char *addr = region_page_addr(region, index);

	shard->count.faults_spurious++;
	if (fault->wp) { /* a write-protection that outlived its eviction */
		shard->count.faults_wp++;
		uffd_wp(shard->uffd, addr, LEAP_PAGE_BYTES, false, true);
	} else {
		if (!content_mask(shard->uffd, addr, 1)) {
			page_lost(shard, region, index, PAGE_GONE);
			return;
		}
	}
	uffd_wake(shard->uffd, addr, LEAP_PAGE_BYTES);
}

static void serve(struct shard *shard, struct batch *batch, struct leap_region *region,
		  size_t index, const struct fault *fault)
{
	struct page *page = &region->pages[index];

	if (__builtin_expect(shard->ring != NULL, 0))
		note(shard, batch, region, index, fault);
	switch (page_state(page)) {
	case PAGE_ABSENT:
		serve_absent(shard, region, index);
		break;
	case PAGE_LOCAL:
		serve_local(shard, region, index, fault);
		break;
	case PAGE_FILLING:
		page_set_flags(page, PAGE_WAITED | PAGE_DEMAND, 0);
		if (page_has(page, PAGE_MARKER) ||
		    (page_has(page, PAGE_PREFETCHED) && shard->leap->config.hits == HITS_CACHE))
			consult(shard, batch, region, index, fault);
		break;
	case PAGE_STAGED:
		shard->count.faults_staged++;
		consult(shard, batch, region, index, fault);
		fetch_map_staged(shard, region, index);
		break;
	case PAGE_LIMBO:
		shard->count.faults_limbo++;
		consult(shard, batch, region, index, fault);
		fetch_rescue(shard, region_extent(region, index), (unsigned)(index % EXTENT_PAGES));
		break;
	case PAGE_REMOTE:
		consult(shard, batch, region, index, fault);
		fetch_demand(shard, region, index);
		break;
	case PAGE_LOST:
		page_lost(shard, region, index, NULL);
		break;
	default: /* EVICTING: its extent is BUSY, seen by the caller */
		uffd_wake(shard->uffd, region_page_addr(region, index), LEAP_PAGE_BYTES);
		break;
	}
}

static void fault_one(struct shard *shard, struct batch *batch, const struct fault *fault)
{
	struct leap_region *region = region_find(shard->leap, fault->addr);
	struct extent *e;
	size_t index;
	bool remote;

	shard->count.faults++;
	if (!region) { /* destroyed meanwhile */
		uffd_wake(shard->uffd, fault->addr, LEAP_PAGE_BYTES);
		return;
	}
	index = region_page_index(region, fault->addr);
	e = region_extent(region, index);
	if (e->flags & EXTENT_BUSY) {
		if (fault->wp)
			shard->count.faults_wp++;
		e->flags |= EXTENT_WAITED;
		return;
	}
	remote = page_state(&region->pages[index]) == PAGE_REMOTE;
	serve(shard, batch, region, index, fault);
	if (page_state(&region->pages[index]) == PAGE_FILLING)
		waiting_add(shard, region, index, batch->start_ns);
	else
		waiting_served(shard, batch->start_ns, remote);
}

/* Far over the budget, a fault waits for room; beyond the ceiling it fails. False: refuse the batch. */
static bool admit(struct shard *shard, unsigned n)
{
	struct leap *leap = shard->leap;

	if (local_pages_all(leap) + n <= budget_pages(leap) + SLACK_PAGES)
		return true;
	shard->count.over_limit++;
	if (evict_make_room(shard, n, true) != EVICT_FULL)
		return true;
	return local_pages_all(leap) + n <= ceiling_pages(leap);
}

/* Only new pages are refused: one that is remote keeps its place there and can go out again. */
static void refuse(struct shard *shard, struct batch *batch, const struct fault *fault)
{
	struct leap_region *region = region_find(shard->leap, fault->addr);
	size_t index = region ? region_page_index(region, fault->addr) : 0;

	if (region && page_state(&region->pages[index]) == PAGE_ABSENT)
		page_lost(
			shard, region, index,
			"it is new, no donor takes more pages, and the local limit is exceeded by "
			"its ceiling (add a donor, or raise local or ceiling)");
	else
		fault_one(shard, batch, fault);
}

void fault_handle(struct shard *shard, const struct fault *faults, unsigned n)
{
	struct batch batch = {.start_ns = clock_ns()};
	bool admitted = admit(shard, n);

	lock_acquire(&shard->lock);
	shard->fault_ns = batch.start_ns - shard->leap->start_ns;
	record_limit(shard);
	for (unsigned i = 0; i < n; i++) {
		if (admitted)
			fault_one(shard, &batch, &faults[i]);
		else
			refuse(shard, &batch, &faults[i]);
	}
	lock_release(&shard->lock);
	fetch_flush(shard);
	for (unsigned i = 0; i < batch.ntodo; i++)
		plan_execute(shard, &batch.todo[i]);
	if (shard->starved) {
		shard->starved = false;
		evict_for_kernel(shard);
	}
	/* room for what comes next, while the program runs */
	if (local_pages_all(shard->leap) + budget_headroom(shard->leap) >
	    budget_pages(shard->leap)) {
		if (__atomic_load_n(&shard->leap->all_sync, __ATOMIC_RELAXED))
			evict_make_room(shard, FAULT_BATCH, false);
		else
			evictor_kick(shard->leap);
	}
}

bool fault_hint(struct shard *shard, struct leap_region *region, size_t page, size_t count)
{
	if (shard->hint_head - shard->hint_tail == SHARD_HINTS)
		return false;
	shard->hints[shard->hint_head++ % SHARD_HINTS] = (struct shard_hint){region, page, count};
	return true;
}

/* The first part of what was asked for. Lock held. */
static bool next_hint(struct shard *shard, struct shard_hint *ret_hint)
{
	struct shard_hint *hint = &shard->hints[shard->hint_tail % SHARD_HINTS];

	if (shard->hint_head == shard->hint_tail)
		return false;
	*ret_hint = *hint;
	if (hint->count > HINT_PAGES) {
		ret_hint->count = HINT_PAGES;
		hint->page += HINT_PAGES;
		hint->count -= HINT_PAGES;
	} else {
		shard->hint_tail++;
	}
	return true;
}

int fault_hints(struct shard *shard)
{
	struct shard_hint hint;
	bool some;

	lock_acquire(&shard->lock);
	some = next_hint(shard, &hint);
	if (some && hint.region && hint.count)
		record_pages(shard, TRACE_HINT, hint.region, hint.page, (uint32_t)hint.count);
	lock_release(&shard->lock);
	if (!some)
		return 0;
	if (hint.region && hint.count) {
		plan_range(shard, hint.region, hint.page, hint.count);
	} else if (hint.region) {
		struct fault fault = {.addr = region_page_addr(hint.region, hint.page)};

		fault_handle(shard, &fault, 1);
		lock_signal(&shard->event);
	}
	return 1;
}
