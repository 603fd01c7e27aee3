/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/evict_write.c libleap/limbo.c libleap/slab.c libleap/page.c libleap/util/mem.c libleap/util/fmt.c libleap/lock.c libleap/log.c */
/*
 * Write-back: what becomes of pages whose write succeeds, fails, fails again, or was answered by a donor that is dead,
 * and of pages that are stored when their donor dies. Two donors, which answer when the test says so.
 */
#ifndef LEAP_DEBUG_CHECKS
#define LEAP_DEBUG_CHECKS
#endif
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/evict_int.h"
#include "libleap/session.h"

#define EXTENTS   8
#define SLOTS     16
#define WRITES    256        /* that a shard has in flight at most */
#define PENDING   1          /* no status of a request */
#define DEPTH_MAX (32 << 10) /* bytes of stack, of the 256 KiB that a pager thread has */

struct lane {
	int answer;
	unsigned n;
	struct io *io[WRITES];
};

void recorder_emit_mask(struct recorder_ring *ring, enum trace_op op, const struct extent *e,
			uint64_t mask)
{
	fail_msg("nothing is recorded here");
}

static struct leap leap;
static struct shard shard;
static struct leap_region region;
static struct page pages[EXTENTS * EXTENT_PAGES];
static struct extent extents[EXTENTS];
static struct lane lanes[2];
static bool scattered; /* new slots are no neighbours */
static unsigned undone, died;
static char *bottom;

/*
 * What evict_write.c needs of others
 */
int uffd_register(int fd, void *addr, size_t len, bool wp)
{
	return 0;
}

int uffd_register_target(int fd, void *addr, size_t len)
{
	return 0;
}

size_t uri_format(const struct donor_uri *uri, char *buf, size_t size)
{
	buf[0] = '\0';
	return 0;
}

bool evict_found_full(struct leap *l)
{
	return false;
}

void donor_died(struct leap *l, struct donor *donor, int err)
{
	if (!donor->alive)
		return;
	donor->alive = false;
	died++;
	slabs_donor_gone(&l->slabs, donor);
}

void evict_undo(struct shard *s, struct extent *e, uint32_t slot, unsigned i)
{
	struct page *page = &extent_pages(e)[i];

	assert_int_equal(page_state(page), PAGE_LIMBO);
	page_set_flags(page, 0, PAGE_WRITING | PAGE_STORED);
	limbo_forget(s, e, i, true);
	page_move(page, PAGE_LOCAL);
	undone++;
}

uint64_t evict_find_slots(struct shard *s, struct extent *e, uint32_t slot, uint64_t dirty)
{
	uint32_t slots[EXTENT_PAGES] = {0}, order[EXTENT_PAGES] = {0};
	uint64_t served = slots_take(&s->leap->slabs, 0, dirty, slots);
	unsigned n = 0;

	for (uint64_t m = served; m; m &= m - 1)
		order[n++] = slots[__builtin_ctzll(m)];
	for (uint64_t m = served; m; m &= m - 1)
		extent_pages(e)[__builtin_ctzll(m)].slot =
			scattered ? order[--n] : slots[__builtin_ctzll(m)];
	for (uint64_t m = dirty & ~served; m; m &= m - 1)
		evict_undo(s, e, slot, (unsigned)__builtin_ctzll(m));
	return served;
}

/*
 * Donors
 */
static void fake_submit(struct lane *lane, struct io *io)
{
	size_t depth = (size_t)(bottom - (char *)__builtin_frame_address(0));

	assert_in_range(depth, 1, DEPTH_MAX);
	assert_in_range(lane->n, 0, WRITES - 1);
	assert_int_equal(io->op, IO_WRITE);
	lane->io[lane->n++] = io;
}

static void fake_flush(struct lane *lane)
{
}

static int fake_poll(struct lane *lane)
{
	unsigned n = lane->n;

	if (lane->answer == PENDING)
		return 0;
	lane->n = 0;
	for (unsigned i = 0; i < n; i++) {
		lane->io[i]->status = lane->answer;
		lane->io[i]->done(lane->io[i]);
	}
	return (int)n;
}

static const struct transport_ops fake_ops = {
	.name = "fake",
	.submit = fake_submit,
	.flush = fake_flush,
	.poll = fake_poll,
};

static void add_donor(unsigned d)
{
	leap.donors.donor[d] = (struct donor){.ops = &fake_ops, .index = d, .alive = true};
	leap.donors.count = d + 1;
	lanes[d] = (struct lane){.answer = PENDING};
	shard.write[d] = &lanes[d];
	assert_int_equal(slabs_add(&leap.slabs, &leap.donors.donor[d], 0), 0);
}

static int set_up(void **state)
{
	memset(&leap, 0, sizeof(leap));
	memset(&shard, 0, sizeof(shard));
	memset(pages, 0, sizeof(pages));
	memset(extents, 0, sizeof(extents));
	region = (struct leap_region){
		.leap = &leap,
		.npages = EXTENTS * EXTENT_PAGES,
		.pages = pages,
		.extents = extents,
		.nextents = EXTENTS,
	};
	for (int i = 0; i < EXTENTS; i++)
		extents[i].region = &region;
	shard.leap = &leap;
	lock_init(&shard.lock, LOCK_RANK_SHARD, 0);
	scattered = false;
	undone = died = 0;
	bottom = __builtin_frame_address(0);
	if (slabs_init(&leap.slabs) || limbo_init(&shard, false, SLOTS) || evict_init(&shard))
		return -1;
	add_donor(0);
	return 0;
}

static int tear_down(void **state)
{
	evict_destroy(&shard);
	limbo_destroy(&shard);
	slabs_destroy(&leap.slabs);
	return 0;
}

/* Extent x is in limbo, dirty, with slots on donor 0; its limbo slot. */
static uint32_t take_out(unsigned x)
{
	struct extent *e = &extents[x];
	uint32_t slot, slots[EXTENT_PAGES];

	assert_int_equal(limbo_take(&shard, e, &slot), 0);
	assert_true(slots_take(&leap.slabs, 0, ~0ull, slots) == ~0ull);
	for (unsigned i = 0; i < EXTENT_PAGES; i++) {
		struct page *page = &extent_pages(e)[i];

		page_move(page, PAGE_LOCAL);
		page_move(page, PAGE_EVICTING);
		page->slot = slots[i];
		page_set_flags(page, PAGE_WRITING, 0);
		page_move(page, PAGE_LIMBO);
	}
	shard.limbo.pages += EXTENT_PAGES;
	shard.limbo.frames += EXTENT_PAGES;
	shard.limbo.slot[slot].busy = false;
	shard.limbo.slot[slot].frames = shard.limbo.slot[slot].writing = ~0ull;
	return slot;
}

static uint32_t evict(unsigned x)
{
	uint32_t slot = take_out(x);

	evict_write(&shard, &extents[x], slot, ~0ull);
	return slot;
}

/* All pages of extent x are in this state, with these flags, and their slots on that donor (-1: they have none). */
static void check(unsigned x, enum page_state state, uint32_t flags, int donor)
{
	for (unsigned i = 0; i < EXTENT_PAGES; i++) {
		const struct page *page = &extent_pages(&extents[x])[i];
		struct slot_place place;

		assert_int_equal(page_state(page), state);
		assert_int_equal(page_word(page) & (PAGE_STORED | PAGE_WRITING), flags);
		if (donor < 0) {
			assert_int_equal(page->slot, 0);
			continue;
		}
		slot_resolve(&leap.slabs, page->slot, &place);
		assert_int_equal(place.donor->index, donor);
	}
}

static void test_success(void **state)
{
	uint32_t slot = evict(0);

	assert_int_equal(lanes[0].n, 1); /* neighbours go in one request */
	assert_int_equal(lanes[0].io[0]->npages, EXTENT_PAGES);
	assert_ptr_equal(lanes[0].io[0]->buf, limbo_frame(&shard.limbo, slot, 0));
	evict_reap(&shard);
	check(0, PAGE_LIMBO, PAGE_WRITING, 0);
	assert_int_equal(limbo_shrink(&shard, 0), 0);
	lanes[0].answer = 0;
	evict_drain(&shard);
	check(0, PAGE_LIMBO, PAGE_STORED, 0);
	assert_int_equal(shard.limbo.slot[slot].writing, 0);
	assert_int_equal(shard.count.written, EXTENT_PAGES);
	assert_int_equal(limbo_shrink(&shard, 0), EXTENT_PAGES);
	check(0, PAGE_REMOTE, PAGE_STORED, 0);
}

/* The donor dies with the writes: the other gets them. */
static void test_other_donor(void **state)
{
	evict(0);
	add_donor(1);
	lanes[0].answer = -EPIPE;
	evict_reap(&shard);
	assert_int_equal(died, 1);
	check(0, PAGE_LIMBO, PAGE_WRITING, 1);
	assert_int_equal(lanes[1].n, 1);
	assert_int_equal(limbo_shrink(&shard, 0), 0);
	lanes[1].answer = 0;
	evict_drain(&shard);
	check(0, PAGE_LIMBO, PAGE_STORED, 1);
	assert_int_equal(undone, 0);
}

static void test_no_other_donor(void **state)
{
	uint32_t slot = evict(0);

	lanes[0].answer = -ETIMEDOUT;
	evict_drain(&shard);
	check(0, PAGE_LOCAL, 0, -1);
	assert_int_equal(undone, EXTENT_PAGES);
	assert_int_equal(shard.limbo.slot[slot].writing, 0);
	assert_int_equal(shard.limbo.pages, 0);
}

/* A store that is full is not asked again; other errors are, once. */
static void test_errors_of_a_living_donor(void **state)
{
	evict(0);
	lanes[0].answer = -ENOSPC;
	evict_drain(&shard);
	check(0, PAGE_LOCAL, 0, -1);
	assert_true(leap.donors.donor[0].full);
	assert_true(leap.no_writes);
	assert_int_equal(shard.count.io_errors, 1);
	leap.donors.donor[0].full = leap.no_writes = false;
	evict(1);
	lanes[0].answer = -EIO;
	evict_drain(&shard);
	check(1, PAGE_LOCAL, 0, -1);
	assert_int_equal(shard.count.io_errors, 3);
	assert_int_equal(died, 0);
}

/* Pages that were touched while they were written are only not stored. */
static void test_touched_meanwhile(void **state)
{
	uint32_t slot = evict(0);

	for (unsigned i = 0; i < EXTENT_PAGES; i++) {
		page_move(&pages[i], PAGE_LOCAL);
		limbo_forget(&shard, &extents[0], i, false);
	}
	lanes[0].answer = -EPIPE;
	evict_drain(&shard);
	check(0, PAGE_LOCAL, 0, -1);
	assert_int_equal(undone, 0);
	assert_int_equal(shard.limbo.slot[slot].writing, 0);
	assert_int_equal(limbo_shrink(&shard, 0), EXTENT_PAGES);
}

/* All requests in flight fail, and each needs two: they follow one another, and do not nest (a pager thread's stack is
 * small). */
static void test_failures_do_not_nest(void **state)
{
	uint32_t slots[EXTENTS];

	for (unsigned x = 0; x < EXTENTS; x++) { /* two pages a request */
		slots[x] = take_out(x);
		for (unsigned i = 0; i < EXTENT_PAGES / 2; i += 2)
			for (unsigned k = 0; k < 2; k++) {
				struct page *a = &extent_pages(&extents[x])[i + k];
				struct page *b =
					&extent_pages(&extents[x])[EXTENT_PAGES - 2 - i + k];
				uint32_t slot = a->slot;

				a->slot = b->slot;
				b->slot = slot;
			}
		evict_write(&shard, &extents[x], slots[x], ~0ull);
	}
	assert_int_equal(lanes[0].n, WRITES);
	assert_null(shard.write_free);
	add_donor(1);
	scattered = true;
	lanes[0].answer = -EPIPE;
	evict_reap(&shard);
	assert_int_equal(lanes[1].n, WRITES);
	assert_int_not_equal(shard.writes_again, 0);
	lanes[1].answer = 0;
	evict_drain(&shard);
	for (unsigned x = 0; x < EXTENTS; x++)
		check(x, PAGE_LIMBO, PAGE_STORED, 1);
	assert_int_equal(shard.writes_again, 0);
	assert_int_equal(undone, 0);
}

/* Stored pages whose donor dies are not let go, but written to another one. */
static void test_stored_pages_move(void **state)
{
	evict(0);
	lanes[0].answer = 0;
	evict_drain(&shard);
	add_donor(1);
	assert_false(evict_deaths_unseen(&shard));
	donor_died(&leap, &leap.donors.donor[0], -EPIPE);
	assert_true(evict_deaths_unseen(&shard));
	assert_int_equal(limbo_shrink(&shard, 0), 0);
	assert_int_equal(limbo_retire_extent(&shard, &extents[0]), -EBUSY);
	evict_reap(&shard);
	assert_false(evict_deaths_unseen(&shard));
	check(0, PAGE_LIMBO, PAGE_WRITING, 1);
	assert_int_equal(limbo_shrink(&shard, 0), 0);
	lanes[1].answer = 0;
	evict_drain(&shard);
	check(0, PAGE_LIMBO, PAGE_STORED, 1);
	assert_int_equal(limbo_shrink(&shard, 0), EXTENT_PAGES);
	check(0, PAGE_REMOTE, PAGE_STORED, 1);
}

static void test_stored_pages_go_home(void **state)
{
	evict(0);
	lanes[0].answer = 0;
	evict_drain(&shard);
	donor_died(&leap, &leap.donors.donor[0], -EPIPE);
	evict_drain(&shard);
	check(0, PAGE_LOCAL, 0, -1);
	assert_int_equal(undone, EXTENT_PAGES);
	assert_int_equal(shard.limbo.pages, 0);
}

/* The donor died after its answer, which nobody had looked at. */
static void test_answer_of_a_dead_donor(void **state)
{
	evict(0);
	add_donor(1);
	lanes[0].answer = 0;
	fake_poll(&lanes[0]);
	donor_died(&leap, &leap.donors.donor[0], -EPIPE);
	evict_reap(&shard);
	check(0, PAGE_LIMBO, PAGE_WRITING, 1);
	lanes[1].answer = 0;
	evict_drain(&shard);
	check(0, PAGE_LIMBO, PAGE_STORED, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_success, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_donor, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_other_donor, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_errors_of_a_living_donor, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_touched_meanwhile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failures_do_not_nest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stored_pages_move, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stored_pages_go_home, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_answer_of_a_dead_donor, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
