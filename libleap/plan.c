/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - see plan.h. */
#include <errno.h>

#include "libleap/evict.h"
#include "libleap/fetch.h"
#include "libleap/fill.h"
#include "libleap/plan.h"
#include "libleap/prefetch/history.h"
#include "libleap/session.h"
#include "libleap/util/mem.h"

#define SHARE_MIN     8    /* pages that may be untouched at any limit */
#define SHARE_ROOM    1024 /* free pages: nothing has to leave for a prefetch */
#define RECYCLE_WORTH 32   /* pages of an extent */
#define RECYCLE_NEAR  1024 /* pages left in the budget */

static uint64_t vpn(const struct leap_region *region, size_t index)
{
	return ((uintptr_t)region->addr >> LEAP_PAGE_SHIFT) + index;
}

static bool cache_mode(const struct shard *shard)
{
	return shard->leap->config.hits == HITS_CACHE;
}

/* The history, made at first use and anew when the policy was changed. NULL: no prefetching. */
static struct history *history(struct shard *shard, struct leap_region *region,
			       struct region_view *view)
{
	const struct prefetcher_ops *ops =
		__atomic_load_n(&shard->leap->prefetcher, __ATOMIC_ACQUIRE);
	struct leap *leap = shard->leap;
	bool by_stream = leap->config.history_key == HISTORY_STREAM;
	bool one = by_stream || leap->config.history_key == HISTORY_REGION;
	struct prefetch_params params;
	struct prefetch_scope scope = {
		.region = (uint16_t)region->id,
		.first_page = one ? vpn(region, 0) : 0,
		.future = leap->future,
	};

	if (!leap->config.prefetching || region->advice == LEAP_ADVISE_RANDOM)
		return NULL;
	if (view->history && view->ops == ops && view->generation == leap->prefetch_generation)
		return view->history;
	params = views_params(&leap->config);
	mem_free(view->history);
	view->history = mem_alloc(history_bytes(ops, &params, by_stream));
	view->ops = ops;
	view->generation = leap->prefetch_generation;
	if (view->history && history_init(view->history, ops, &params, by_stream, &scope)) {
		mem_free(view->history);
		view->history = NULL;
	}
	return view->history;
}

void plan_forget(struct shard *shard, struct leap_region *region)
{
	mem_free(region->views[shard->index].history);
	region->views[shard->index].history = NULL;
	windows_forget(&shard->windows, region);
}

/* A pattern is cut before its first page outside. */
static bool clip_pattern(struct leap_region *region, size_t begin, size_t end,
			 struct prefetch_plan *plan)
{
	uint32_t count = 0;

	plan->start -= vpn(region, 0);
	for (; count < plan->count; count++) {
		uint64_t index = prefetch_nth(plan, count);

		if (index < begin || index >= end)
			break;
	}
	plan->count = count;
	return count;
}

/* Clips the wish to what this shard serves of the region, in page indexes. */
static bool clip(struct leap_region *region, size_t near, struct prefetch_plan *plan)
{
	size_t end = region_stripe_end(region, near);
	size_t begin = near / REGION_STRIPE_PAGES * REGION_STRIPE_PAGES;
	int64_t first = (int64_t)plan->start - (int64_t)vpn(region, 0);
	int64_t last;

	if (!plan->count || !plan->delta)
		return false;
	if (plan->nsteps > 1)
		return clip_pattern(region, begin, end, plan);
	while (plan->count && (first < (int64_t)begin || first >= (int64_t)end)) {
		int64_t next = first + plan->delta;

		/* only a plan that starts outside and walks in (aligned cluster) is worth following */
		if ((first < (int64_t)begin) != (plan->delta > 0))
			return false;
		first = next;
		plan->count--;
	}
	if (!plan->count)
		return false;
	last = first + (int64_t)(plan->count - 1) * plan->delta;
	if (last >= (int64_t)end)
		plan->count = (uint32_t)(((int64_t)end - 1 - first) / plan->delta) + 1;
	else if (last < (int64_t)begin)
		plan->count = (uint32_t)((first - (int64_t)begin) / -plan->delta) + 1;
	plan->start = (uint64_t)first;
	return true;
}

static bool ask(struct shard *shard, struct leap_region *region, size_t index,
		const struct prefetch_access *access, struct plan_todo *ret_todo)
{
	struct region_view *view = views_find(shard, region, access->thread);
	struct history *state = view ? history(shard, region, view) : NULL;

	*ret_todo = (struct plan_todo){.region = region, .planned_ns = shard->fault_ns};
	if (!state)
		return false;
	history_hint(state, region->advice == LEAP_ADVISE_SEQUENTIAL ? PREFETCH_HINT_SEQUENTIAL
								     : PREFETCH_HINT_NORMAL);
	history_access(state, access, &ret_todo->plan);
	history_peek(state, &shard->trend, &shard->window);
	return clip(region, index, &ret_todo->plan);
}

bool plan_miss(struct shard *shard, struct leap_region *region, size_t index, bool write,
	       uint32_t thread, struct plan_todo *ret_todo)
{
	struct prefetch_access access = {
		.kind = PREFETCH_MISS,
		.page = vpn(region, index),
		.thread = thread,
		.write = write,
	};

	return ask(shard, region, index, &access, ret_todo);
}

void plan_hit(struct shard *shard, struct leap_region *region, size_t index, bool write,
	      uint32_t thread)
{
	struct plan_todo ignored;
	struct prefetch_access access = {
		.kind = PREFETCH_HIT,
		.page = vpn(region, index),
		.thread = thread,
		.write = write,
	};

	shard->count.prefetch_hits++;
	ask(shard, region, index, &access, &ignored);
}

static size_t nth(const struct prefetch_plan *plan, uint32_t k)
{
	return (size_t)prefetch_nth(plan, k);
}

bool plan_marker(struct shard *shard, struct leap_region *region, size_t index, bool write,
		 uint32_t thread, struct plan_todo *ret_todo)
{
	struct window *w = window_find(&shard->windows, region, index);
	struct prefetch_plan window;
	struct prefetch_access access = {
		.page = vpn(region, index),
		.thread = thread,
		.write = write,
	};

	page_set_flags(&region->pages[index], 0, PAGE_MARKER);
	if (!w)
		return false;
	window = w->plan;
	window.start += vpn(region, 0);
	prefetch_set_marker(&access, &window);
	access.age_ns = shard->fault_ns - w->planned_ns;
	access.late = page_state(&region->pages[index]) == PAGE_FILLING;
	shard->count.markers++;
	for (uint32_t k = 0; k < w->plan.count; k++) {
		struct page *page = &region->pages[nth(&w->plan, k)];

		shard->count.prefetch_hits += page_has(page, PAGE_PREFETCHED);
		shard_prefetched(shard, page, false);
	}
	window_free(w);
	return ask(shard, region, index, &access, ret_todo);
}

void plan_unused(struct shard *shard, struct leap_region *region, size_t index, uint32_t count)
{
	struct region_view *view = views_of_unused(shard, region);

	shard->count.prefetch_unused += count;
	if (count && view && view->history)
		history_unused(view->history, vpn(region, index), count);
}

/* Chooses the marker at or behind the middle of the window; NULL when all of it is mapped. */
static struct window *place_marker(struct shard *shard, const struct plan_todo *todo)
{
	const struct prefetch_plan *plan = &todo->plan;
	struct leap_region *region = todo->region;
	struct window *w;
	bool old;

	for (uint32_t i = 0; i < plan->count; i++) {
		uint32_t k = (plan->count / 2 + i) % plan->count;
		struct page *page = &region->pages[nth(plan, k)];

		if ((page_state(page) != PAGE_REMOTE && page_state(page) != PAGE_LIMBO) ||
		    page_has(page, PAGE_MARKER))
			continue;
		w = window_new(&shard->windows, &old);
		if (old)
			page_set_flags(&w->region->pages[w->marker], 0, PAGE_MARKER);
		page_set_flags(page, PAGE_MARKER, 0);
		w->region = region;
		w->marker = nth(plan, k);
		w->plan = *plan;
		w->planned_ns = todo->planned_ns;
		record_window(shard, region, w->marker, plan->count, 0);
		return w;
	}
	record_window(shard, region, nth(plan, 0), plan->count, TRACE_RECORD_THERE);
	return NULL;
}

static bool all_sync(const struct shard *shard)
{
	return __atomic_load_n(&shard->leap->all_sync, __ATOMIC_RELAXED);
}

/* What is left to read of the extent's pages in mask; those in limbo are mapped at once. Lock held. */
static uint64_t pick(struct shard *shard, struct extent *e, uint64_t mask, enum fetch_how how)
{
	uint64_t remote = 0, limbo = 0;

	for (uint64_t m = mask; m; m &= m - 1) {
		const struct page *page = &extent_pages(e)[__builtin_ctzll(m)];

		if (page_has(page, PAGE_MARKER))
			continue;
		if (page_state(page) == PAGE_REMOTE)
			remote |= m & -m;
		else if (page_state(page) == PAGE_LIMBO)
			limbo |= m & -m;
	}
	if (how == FETCH_MAP && limbo)
		fetch_rescue_extent(shard, e, limbo);
	return remote;
}

/* Pages of mask that were brought or are under way: if it was a policy's guess, whether they are touched is not known yet. */
static void note_prefetched(struct shard *shard, struct extent *e, uint64_t mask, unsigned got,
			    bool guess)
{
	uint64_t brought = 0;

	for (uint64_t m = got ? mask : 0; m; m &= m - 1) {
		struct page *page = &extent_pages(e)[__builtin_ctzll(m)];

		if (page_state(page) != PAGE_LOCAL && page_state(page) != PAGE_FILLING &&
		    page_state(page) != PAGE_STAGED)
			continue;
		brought |= m & -m;
		if (guess)
			shard_prefetched(shard, page, true);
	}
	record_mask(shard, TRACE_ISSUE, e, brought);
	shard->count.prefetched += got;
}

enum room {
	ROOM,         /* there is some, or the evictor makes it */
	ROOM_RECYCLE, /* an extent was taken out, its frames may be used */
	ROOM_NONE,
};

static enum room make_room(struct shard *shard, unsigned want, enum fetch_how how)
{
	struct leap *leap = shard->leap;
	int64_t left = budget_pages(leap) - local_pages_all(leap) - want;
	int err;

	/* close to the budget a whole extent in for a whole extent out keeps its frames */
	if (how == FETCH_MAP && left < RECYCLE_NEAR && want >= RECYCLE_WORTH && all_sync(shard) &&
	    __atomic_load_n(&leap->recycle, __ATOMIC_RELAXED) && lock_try(&shard->evict_lock)) {
		evict_oldest(shard);
		lock_release(&shard->evict_lock);
		return ROOM_RECYCLE;
	}
	if (left >= 0)
		return ROOM;
	err = evict_make_room(shard, want, false);
	if (err == EVICT_FULL)
		return ROOM_NONE;
	if (!err || all_sync(shard))
		return ROOM;
	/* the evictor is at it; do not let prefetch run ahead of it */
	return -left > budget_headroom(leap) ? ROOM_NONE : ROOM;
}

/* Brings part of one extent. Lock not held. False: no room, or out of buffers: stop. */
static bool bring(struct shard *shard, struct extent *e, uint64_t mask, enum fetch_how how,
		  bool guess)
{
	enum room room;
	unsigned want, got = 0;
	uint64_t todo;

	lock_acquire(&shard->lock);
	todo = pick(shard, e, mask, how);
	lock_release(&shard->lock);
	want = (unsigned)__builtin_popcountll(todo);
	if (!todo)
		return true;
	room = make_room(shard, want, how);
	if (room == ROOM_NONE)
		return false;
	lock_acquire(&shard->lock);
	todo = pick(shard, e, mask, how); /* others may have been here meanwhile */
	if (room == ROOM_RECYCLE)
		got = fill_recycled(shard, e, todo);
	if (!got && todo && room == ROOM_RECYCLE) {
		lock_release(&shard->lock);
		if (evict_make_room(shard, want, false) == EVICT_FULL)
			return false;
		lock_acquire(&shard->lock);
	}
	if (!got && todo)
		got = fetch_extent(shard, e, todo, how);
	note_prefetched(shard, e, todo, got, guess);
	lock_release(&shard->lock);
	return !todo || got;
}

/* Marker mode, asynchronous donors: the marker comes too, but stays unmapped. */
static void stage_marker(struct shard *shard, struct leap_region *region, size_t index)
{
	struct extent *e = region_extent(region, index);

	if (all_sync(shard))
		return;
	lock_acquire(&shard->lock);
	if (fetch_extent(shard, e, 1ull << (index % EXTENT_PAGES), FETCH_STAGE))
		record_window(shard, region, index, 1, TRACE_RECORD_STAGED);
	lock_release(&shard->lock);
}

/* The window got shorter than planned: the first page that did not come marks its end. */
static void shorten(struct shard *shard, struct window *w, const struct prefetch_plan *plan,
		    uint32_t brought)
{
	struct page *end;

	lock_acquire(&shard->lock);
	if (!w->region) {
		lock_release(&shard->lock);
		return;
	}
	end = &w->region->pages[nth(plan, brought)];
	w->plan.count = brought ? brought : 1;
	if (brought <= plan->count / 2 && page_state(end) == PAGE_REMOTE) {
		page_set_flags(&w->region->pages[w->marker], 0, PAGE_MARKER);
		page_set_flags(end, PAGE_MARKER, 0);
		w->marker = nth(plan, brought);
		w->plan.count = brought + 1;
	}
	record_pages(shard, TRACE_SHORT, w->region, w->marker, w->plan.count);
	lock_release(&shard->lock);
}

/* What is staged from now on is this plan's own, and so is what it wants and is staged already. Lock held. */
static void fence(struct shard *shard, const struct plan_todo *todo)
{
	struct stage *stage = &shard->stage;

	stage_fence(stage);
	for (uint32_t k = 0; stage->nstaged && k < todo->plan.count; k++) {
		size_t index = nth(&todo->plan, k);

		if (page_state(&todo->region->pages[index]) == PAGE_STAGED)
			stage_renew(stage, (unsigned)stage_find(stage, todo->region, index));
	}
}

/* How many more pages may be prefetched although nobody has touched so many of the last ones. */
static int64_t share_left(struct shard *shard)
{
	const struct leap *leap = shard->leap;
	int64_t budget, share, untouched = 0;

	record_limit(shard);
	budget = shard->ring ? shard->ring->limit : budget_pages(leap);
	if (budget - local_pages_all(leap) >= SHARE_ROOM)
		return INT64_MAX;
	share = budget * __atomic_load_n(&leap->config.prefetch_share, __ATOMIC_RELAXED) / 100;
	for (unsigned s = 0; s < leap->nshards; s++)
		untouched += (int64_t)__atomic_load_n(&leap->shards[s].untouched, __ATOMIC_RELAXED);
	return (share < SHARE_MIN ? SHARE_MIN : share) - untouched;
}

/* Cuts the plan where its pages would be more than their share. In cache mode those that have waited longest make room. Lock
 * held. */
static void cut(struct shard *shard, struct plan_todo *todo, enum fetch_how how)
{
	struct prefetch_plan *plan = &todo->plan;
	int64_t left = share_left(shard);
	uint32_t k = 0;

	for (; left < plan->count && k < plan->count; k++) {
		if (page_state(&todo->region->pages[nth(plan, k)]) != PAGE_REMOTE)
			continue;
		if (left <= 0 && how == FETCH_STAGE && stage_droppable(&shard->stage))
			left += fetch_free_buffer(shard);
		if (left <= 0)
			break;
		left--;
	}
	if (left >= plan->count || k == plan->count)
		return;
	record_window(shard, todo->region, nth(plan, 0), plan->count << TRACE_CUT_SHIFT | k,
		      TRACE_RECORD_CUT);
	plan->count = k;
}

void plan_execute(struct shard *shard, struct plan_todo *todo)
{
	const struct prefetch_plan *plan = &todo->plan;
	struct leap_region *region = todo->region;
	enum fetch_how how = cache_mode(shard) ? FETCH_STAGE : FETCH_MAP;
	struct window *w = NULL;
	size_t marker = 0;
	uint32_t k = 0;

	lock_acquire(&shard->lock);
	if (region->dying)
		goto unlock;
	fence(shard, todo);
	cut(shard, todo, how);
	if (!plan->count)
		goto unlock;
	if (how == FETCH_MAP) {
		w = place_marker(shard, todo);
		if (!w)
			goto unlock;
		marker = w->marker;
	} else {
		record_window(shard, region, nth(plan, 0), plan->count, 0);
	}
	lock_release(&shard->lock);
	while (k < plan->count) {
		size_t ext = nth(plan, k) / EXTENT_PAGES;
		uint64_t mask = 0;
		uint32_t next = k;

		for (; next < plan->count && nth(plan, next) / EXTENT_PAGES == ext; next++)
			mask |= 1ull << (nth(plan, next) % EXTENT_PAGES);
		if (!bring(shard, region_extent(region, ext * EXTENT_PAGES), mask, how, true))
			break;
		fetch_flush(shard);
		k = next;
	}
	if (w && k < plan->count)
		shorten(shard, w, plan, k);
	else if (w)
		stage_marker(shard, region, marker);
	fetch_flush(shard);
	return;
unlock:
	lock_release(&shard->lock);
}

void plan_range(struct shard *shard, struct leap_region *region, size_t index, size_t count)
{
	size_t end = index + count;

	lock_acquire(&shard->lock);
	stage_fence(&shard->stage);
	lock_release(&shard->lock);
	while (index < end) {
		size_t ext = index / EXTENT_PAGES, stop = (ext + 1) * EXTENT_PAGES;
		uint64_t mask = 0;

		for (; index < stop && index < end; index++)
			mask |= 1ull << (index % EXTENT_PAGES);
		if (!bring(shard, region_extent(region, ext * EXTENT_PAGES), mask, FETCH_MAP,
			   false))
			return;
		fetch_flush(shard);
	}
}
