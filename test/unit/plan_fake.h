/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_fake.h - for tests of plan.c, which is included here: a region, and a policy, fetch, an evictor and a
 * budget that do as the test says and note what they are asked.
 */
#ifndef LEAP_DEBUG_CHECKS
#define LEAP_DEBUG_CHECKS
#endif
#include "libleap/plan.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define STRIPE   REGION_STRIPE_PAGES
#define NPAGES   (STRIPE + 1000)
#define NEXTENTS ((NPAGES + EXTENT_PAGES - 1) / EXTENT_PAGES)
#define BASE     0x7f0000000ull /* page number of the region's first page */

static struct leap leap;
static struct shard shard;
static struct leap_region region;
static struct region_view view;
static struct page pages[NPAGES];
static struct extent extents[NEXTENTS];

/* What the stubs are told, and what they are to do. */
static struct {
	struct prefetch_plan plan; /* the policy's answer, in page numbers */
	struct prefetch_access heard;
	struct prefetch_plan window; /* heard.window */
	unsigned asked, inits, init_fails, hints;
	enum prefetch_hint hint; /* the last one */
	uint32_t unused;

	int64_t budget, headroom;
	int evict_answer;
	unsigned evicted, evict_calls;

	size_t brought[4096]; /* pages, in order */
	enum fetch_how how[4096];
	unsigned nbrought, calls, stop_after; /* calls of fetch_extent() that succeed */
	uint64_t rescued;
	unsigned recycled, can_recycle;
} fake;

void recorder_emit_mask(struct recorder_ring *ring, enum trace_op op, const struct extent *e,
			uint64_t mask)
{
	fail_msg("nothing is recorded here");
}

void recorder_emit(struct recorder_ring *ring, enum trace_op op, const struct leap_region *r,
		   size_t index, uint32_t tid, unsigned flags)
{
	fail_msg("nothing is recorded here");
}

void recorder_emit_limit(struct recorder_ring *ring, const struct leap *l)
{
	fail_msg("nothing is recorded here");
}

static size_t policy_bytes(const struct prefetch_params *params)
{
	return 16 + params->window_max;
}

static int policy_init(void *state, const struct prefetch_params *params)
{
	assert_int_equal(*(char *)state, 0); /* zeroed, as promised */
	*(char *)state = 1;
	fake.inits++;
	return fake.init_fails ? -EINVAL : 0;
}

static void policy_access(void *state, const struct prefetch_access *access,
			  struct prefetch_plan *plan)
{
	assert_int_equal(*(char *)state, 1);
	assert_int_equal(plan->count, 0);
	fake.heard = *access;
	if (access->window)
		fake.window = *access->window;
	fake.asked++;
	*plan = fake.plan;
}

static void policy_unused(void *state, uint32_t count)
{
	fake.unused += count;
}

static void policy_peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	*ret_trend = -42;
	*ret_window = 17;
}

static void policy_hint(void *state, enum prefetch_hint hint)
{
	assert_int_equal(*(char *)state, 1);
	fake.hints++;
	fake.hint = hint;
}

static const struct prefetcher_ops policy = {
	.size = sizeof(policy),
	.name = "fake",
	.state_bytes = policy_bytes,
	.init = policy_init,
	.access = policy_access,
	.unused = policy_unused,
	.peek = policy_peek,
	.hint = policy_hint,
};
static struct prefetcher_ops other_policy;

size_t region_stripe_end(const struct leap_region *r, size_t index)
{
	size_t end = (index / STRIPE + 1) * STRIPE;

	return end < r->npages ? end : r->npages;
}

int64_t budget_pages(const struct leap *l)
{
	return fake.budget;
}

int64_t budget_headroom(const struct leap *l)
{
	return fake.headroom;
}

int evict_oldest(struct shard *s)
{
	lock_assert_held(&s->evict_lock);
	fake.evicted++;
	return 64;
}

int evict_make_room(struct shard *s, unsigned n, bool hard)
{
	assert_false(hard);
	fake.evict_calls++;
	return fake.evict_answer;
}

unsigned fetch_extent(struct shard *s, struct extent *e, uint64_t mask, enum fetch_how how)
{
	unsigned n = 0;

	lock_assert_held(&s->lock);
	assert_true(mask);
	if (fake.calls++ >= fake.stop_after)
		return 0;
	for (uint64_t m = mask; m; m &= m - 1, n++) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		assert_int_equal(page_state(&extent_pages(e)[i]), PAGE_REMOTE);
		fake.brought[fake.nbrought] = extent_first_page(e) + i;
		fake.how[fake.nbrought++] = how;
		page_move(&extent_pages(e)[i], PAGE_FILLING);
		page_move(&extent_pages(e)[i], how == FETCH_MAP ? PAGE_LOCAL : PAGE_STAGED);
	}
	return n;
}

/* The oldest staged page is dropped. */
bool fetch_free_buffer(struct shard *s)
{
	struct page *page = &pages[s->stage.entry[s->stage.oldest].page];

	stage_remove(&s->stage, (unsigned)s->stage.oldest);
	shard_prefetched(s, page, false);
	page_move(page, PAGE_REMOTE);
	return true;
}

void fetch_flush(struct shard *s)
{
}

unsigned fetch_rescue_extent(struct shard *s, struct extent *e, uint64_t mask)
{
	lock_assert_held(&s->lock);
	fake.rescued |= mask;
	for (uint64_t m = mask; m; m &= m - 1)
		page_move(&extent_pages(e)[__builtin_ctzll(m)], PAGE_LOCAL);
	return (unsigned)__builtin_popcountll(mask);
}

unsigned fill_recycled(struct shard *s, struct extent *e, uint64_t mask)
{
	unsigned n = 0;

	if (!fake.can_recycle)
		return 0;
	for (uint64_t m = mask; m; m &= m - 1, n++)
		page_move(&extent_pages(e)[__builtin_ctzll(m)], PAGE_LOCAL);
	fake.recycled += n;
	return n;
}

static void all_remote(void)
{
	for (size_t i = 0; i < NPAGES; i++)
		pages[i] = (struct page){.word = PAGE_REMOTE | PAGE_STORED, .slot = 1};
	shard.untouched = 0;
}

static int set_up(void **state)
{
	memset(&fake, 0, sizeof(fake));
	memset(&leap, 0, sizeof(leap));
	memset(&shard, 0, sizeof(shard));
	memset(&view, 0, sizeof(view));
	region = (struct leap_region){
		.leap = &leap,
		.addr = (char *)(BASE << LEAP_PAGE_SHIFT),
		.npages = NPAGES,
		.pages = pages,
		.extents = extents,
		.nextents = NEXTENTS,
		.views = &view,
	};
	for (size_t i = 0; i < NEXTENTS; i++)
		extents[i].region = &region;
	all_remote();
	other_policy = policy;
	lock_init(&shard.lock, LOCK_RANK_SHARD, 0);
	lock_init(&shard.evict_lock, LOCK_RANK_EVICT, 0);
	assert_int_equal(stage_init(&shard.stage), 0);
	shard.leap = &leap;
	leap.prefetcher = &policy;
	leap.config.prefetching = true;
	leap.config.history_size = 32;
	leap.config.history_split = 8;
	leap.config.prefetch_share = 100;
	leap.all_sync = true;
	leap.shards = &shard;
	leap.nshards = 1;
	fake.budget = 1000000;
	fake.stop_after = 1000000;
	return 0;
}

static int tear_down(void **state)
{
	stage_destroy(&shard.stage);
	plan_forget(&shard, &region);
	assert_null(view.history);
	mem_free(shard.views.process.history);
	return 0;
}

static bool miss(size_t index, int64_t start, int64_t delta, uint32_t count, struct plan_todo *todo)
{
	bool some;

	fake.plan = (struct prefetch_plan){
		.start = BASE + (uint64_t)start, .delta = delta, .count = count};
	lock_acquire(&shard.lock);
	some = plan_miss(&shard, &region, index, true, 77, todo);
	lock_release(&shard.lock);
	return some;
}

/* A miss, and its window brought. */
static void bring_window(size_t index, int64_t start, int64_t delta, uint32_t count)
{
	struct plan_todo todo;

	assert_true(miss(index, start, delta, count, &todo));
	plan_execute(&shard, &todo);
}

static bool touch_marker(size_t index, struct plan_todo *todo)
{
	bool some;

	lock_acquire(&shard.lock);
	some = plan_marker(&shard, &region, index, false, 5, todo);
	lock_release(&shard.lock);
	return some;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
