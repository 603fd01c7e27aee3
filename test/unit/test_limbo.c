/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/limbo.c libleap/slab.c libleap/page.c libleap/util/mem.c libleap/util/fmt.c libleap/lock.c libleap/log.c */
/*
 * Limbo: the ring of slots, what pages and counters become when slots are retired in and out of turn, recycled,
 * or rescued from, and where running numbers wrap. No userfaultfd: frames are plain memory here.
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

#include "libleap/session.h"

#define EXTENTS 64
#define SLOTS   8

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
static int registered, register_error;

int uffd_register(int fd, void *addr, size_t len, bool wp)
{
	assert_ptr_equal(addr, shard.limbo.area);
	assert_false(wp);
	registered++;
	return register_error;
}

int uffd_register_target(int fd, void *addr, size_t len)
{
	return uffd_register(fd, addr, len, false);
}

static int set_up_slots(bool movable, uint32_t slots)
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
	registered = register_error = 0;
	return limbo_init(&shard, movable, slots);
}

static int set_up(void **state)
{
	return set_up_slots(true, SLOTS);
}

static int tear_down(void **state)
{
	limbo_destroy(&shard);
	assert_null(shard.limbo.area);
	return 0;
}

/* What the evictor does: the pages of mask go to limbo; 0 = nothing is taken. Returns the slot or -EBUSY. */
static int evict(unsigned x, uint64_t mask)
{
	uint32_t slot;
	int err;

	for (uint64_t m = mask; m; m &= m - 1)
		page_move(&pages[x * EXTENT_PAGES + (unsigned)__builtin_ctzll(m)], PAGE_LOCAL);
	err = limbo_take(&shard, &extents[x], &slot);
	if (err)
		return err;
	assert_int_equal(extents[x].limbo, slot + 1);
	assert_true(shard.limbo.slot[slot].busy);
	for (uint64_t m = mask; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);
		struct page *page = &pages[x * EXTENT_PAGES + i];

		page_move(page, PAGE_EVICTING);
		page->slot = 1 + x * EXTENT_PAGES + i;
		page_set_flags(page, PAGE_STORED, 0);
		memset(limbo_frame(&shard.limbo, slot, i), (int)(x + 1), LEAP_PAGE_BYTES);
		page_move(page, PAGE_LIMBO);
		shard.limbo.pages++;
	}
	shard.limbo.slot[slot].busy = false;
	shard.limbo.slot[slot].frames = mask;
	shard.limbo.frames += (uint64_t)__builtin_popcountll(mask);
	budget_add(&leap, 0, __builtin_popcountll(mask));
	return (int)slot;
}

static unsigned count_state(unsigned x, enum page_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < EXTENT_PAGES; i++)
		n += page_state(&pages[x * EXTENT_PAGES + i]) == state;
	return n;
}

/* The counters agree with the slots and the pages. */
static void check_counts(void)
{
	uint64_t frames = 0, in_limbo = 0, remote = 0;

	for (uint32_t i = 0; i < shard.limbo.nslots; i++)
		if (shard.limbo.slot[i].extent) {
			assert_int_equal(shard.limbo.slot[i].extent->limbo, i + 1);
			frames += (uint64_t)__builtin_popcountll(shard.limbo.slot[i].frames);
		}
	for (unsigned x = 0; x < EXTENTS; x++) {
		in_limbo += count_state(x, PAGE_LIMBO);
		remote += count_state(x, PAGE_REMOTE);
		if (!extents[x].limbo)
			assert_int_equal(count_state(x, PAGE_LIMBO), 0);
	}
	assert_int_equal(shard.limbo.frames, frames);
	assert_int_equal(shard.limbo.pages, in_limbo);
	assert_int_equal(shard.remote, remote);
	assert_int_equal(leap.local_all, frames);
	assert_true(shard.limbo.head - shard.limbo.tail <= shard.limbo.nslots);
}

static void test_registration(void **state)
{
	assert_int_equal(registered, 1);
	limbo_destroy(&shard);
	assert_int_equal(set_up_slots(false, SLOTS), 0);
	assert_int_equal(registered, 0); /* copies are plain memory */
	limbo_destroy(&shard);
	memset(&shard, 0, sizeof(shard));
	shard.leap = &leap;
	register_error = -EINVAL;
	assert_int_equal(limbo_init(&shard, true, SLOTS), -EINVAL);
	assert_null(shard.limbo.area);
}

static void test_frames_lie_apart(void **state)
{
	for (uint32_t slot = 0; slot < LIMBO_SLOTS; slot++)
		for (unsigned i = 0; i < EXTENT_PAGES; i++)
			assert_int_equal(limbo_frame(&shard.limbo, slot, i) - shard.limbo.area,
					 ((size_t)slot * EXTENT_PAGES + i) * LEAP_PAGE_BYTES);
}

/* Oldest first, in both kinds of memory; frames of mover move go back to the kernel. */
static void test_shrink(void **state)
{
	assert_int_equal(evict(0, ~0ull), 0);
	assert_int_equal(evict(1, 0xff), 1);
	assert_int_equal(evict(2, 0xf0), 2);
	check_counts();
	assert_int_equal(shard.limbo.frames, 76);
	assert_int_equal(limbo_shrink(&shard, 76), 0);
	assert_int_equal(limbo_shrink(&shard, 75), 64);
	assert_int_equal(count_state(0, PAGE_REMOTE), 64);
	assert_int_equal(count_state(1, PAGE_LIMBO), 8);
	assert_int_equal(extents[0].limbo, 0);
	assert_int_equal(limbo_frame(&shard.limbo, 0, 5)[77], 0); /* dropped */
	assert_int_equal(limbo_frame(&shard.limbo, 1, 5)[77], 2);
	assert_int_equal(limbo_frame(&shard.limbo, 2, 5)[77], 3);
	check_counts();
	assert_int_equal(limbo_shrink(&shard, 0), 12);
	assert_int_equal(shard.limbo.frames, 0);
	assert_int_equal(shard.limbo.head, shard.limbo.tail);
	assert_int_equal(limbo_frame(&shard.limbo, 1, 5)[77], 0);
	assert_int_equal(limbo_frame(&shard.limbo, 2, 5)[77], 0);
	check_counts();
	assert_int_equal(limbo_shrink(&shard, 0), 0);
}

static void test_shrink_keeps_plain_memory(void **state)
{
	limbo_destroy(&shard);
	assert_int_equal(set_up_slots(false, SLOTS), 0);
	assert_int_equal(evict(0, ~0ull), 0);
	assert_int_equal(limbo_shrink(&shard, 0), 64);
	assert_int_equal(limbo_frame(&shard.limbo, 0, 5)[77], 1);
	check_counts();
}

/* A slot that is filled or written stays, and those behind it too. */
static void test_busy_slots_stay(void **state)
{
	uint32_t slot;

	assert_int_equal(evict(0, 1), 0);
	assert_int_equal(evict(1, 3), 1);
	assert_int_equal(evict(2, 7), 2);
	shard.limbo.slot[1].writing = 2;
	assert_int_equal(limbo_shrink(&shard, 0), 1);
	assert_int_equal(shard.limbo.frames, 5);
	assert_int_equal(limbo_retire_extent(&shard, &extents[1]), -EBUSY);
	assert_int_equal(count_state(1, PAGE_LIMBO), 2);
	shard.limbo.slot[1].writing = 0;
	assert_int_equal(limbo_take(&shard, &extents[3], &slot), 0);
	assert_int_equal(limbo_retire_extent(&shard, &extents[3]), -EBUSY);
	assert_int_equal(limbo_shrink(&shard, 0), 5);
	assert_int_equal(shard.limbo.head - shard.limbo.tail, 1);
	shard.limbo.slot[slot].busy = false;
	assert_int_equal(limbo_shrink(&shard, 0), 0); /* nothing over the share: it may stay */
	assert_int_equal(limbo_retire_extent(&shard, &extents[3]), 0);
	assert_int_equal(shard.limbo.head, shard.limbo.tail);
	check_counts();
}

/* Retired out of turn: the tail passes such slots when it comes to them. */
static void test_retire_out_of_turn(void **state)
{
	for (unsigned x = 0; x < 4; x++)
		assert_int_equal(evict(x, 0xf), x);
	assert_int_equal(limbo_retire_extent(&shard, &extents[1]), 0);
	assert_int_equal(limbo_retire_extent(&shard, &extents[2]), 0);
	assert_int_equal(count_state(1, PAGE_REMOTE), 4);
	assert_int_equal(limbo_frame(&shard.limbo, 1, 0)[0], 0);
	assert_int_equal(limbo_frame(&shard.limbo, 3, 0)[0], 4);
	check_counts();
	assert_int_equal(shard.limbo.head - shard.limbo.tail, 4);
	assert_int_equal(limbo_retire_extent(&shard, &extents[0]), 0);
	assert_int_equal(shard.limbo.head - shard.limbo.tail, 1);
	assert_int_equal(limbo_shrink(&shard, 0), 4);
	check_counts();
}

static void test_full_ring(void **state)
{
	for (unsigned x = 0; x < SLOTS; x++)
		assert_int_equal(evict(x, 1), x);
	/* all may go: some do, and there is room */
	assert_int_equal(evict(20, 1), 0);
	assert_int_equal(count_state(0, PAGE_REMOTE), 1);
	check_counts();
	limbo_shrink(&shard, 0);
	/* the oldest may not go: the ring is full, whatever is behind it */
	for (unsigned x = 0; x < SLOTS; x++)
		assert_true(evict(30 + x, 1) >= 0);
	shard.limbo.slot[shard.limbo.tail % SLOTS].writing = 1;
	assert_int_equal(evict(21, 1), -EBUSY);
	assert_int_equal(extents[21].limbo, 0);
	assert_int_equal(limbo_retire_extent(&shard, &extents[35]), 0);
	assert_int_equal(evict(22, 1), -EBUSY);
	shard.limbo.slot[shard.limbo.tail % SLOTS].writing = 0;
	assert_true(evict(23, 1) >= 0);
	check_counts();
}

static void test_rescue(void **state)
{
	assert_int_equal(evict(0, 0x7), 0);
	/* a copy was mapped: the frame stays until the slot goes */
	page_move(&pages[0], PAGE_LOCAL);
	limbo_forget(&shard, &extents[0], 0, false);
	check_counts();
	assert_int_equal(shard.limbo.pages, 2);
	assert_int_equal(shard.limbo.frames, 3);
	/* the frame itself was moved */
	page_move(&pages[1], PAGE_LOCAL);
	limbo_forget(&shard, &extents[0], 1, true);
	check_counts();
	assert_int_equal(shard.limbo.pages, 1);
	assert_int_equal(shard.limbo.frames, 2);
	assert_int_equal(leap.local_all, 2);
	assert_int_equal(limbo_shrink(&shard, 0), 2);
	assert_int_equal(count_state(0, PAGE_LOCAL), 2);
	assert_int_equal(count_state(0, PAGE_REMOTE), 1);
	check_counts();
}

static void test_recycle(void **state)
{
	char *frames;

	assert_null(limbo_recycle(&shard));
	assert_int_equal(evict(0, ~0ull), 0);
	assert_int_equal(evict(1, ~0ull >> 1), 1);
	assert_null(limbo_recycle(&shard)); /* the newest is not whole */
	assert_int_equal(evict(2, ~0ull), 2);
	shard.limbo.slot[2].writing = 1;
	assert_null(limbo_recycle(&shard));
	shard.limbo.slot[2].writing = 0;
	shard.limbo.slot[2].busy = true;
	assert_null(limbo_recycle(&shard));
	shard.limbo.slot[2].busy = false;
	frames = limbo_recycle(&shard);
	assert_ptr_equal(frames, limbo_frame(&shard.limbo, 2, 0));
	for (unsigned i = 0; i < EXTENT_PAGES; i++) /* with their content */
		assert_int_equal(frames[i * LEAP_PAGE_BYTES], 3);
	assert_int_equal(count_state(2, PAGE_REMOTE), 64);
	assert_int_equal(extents[2].limbo, 0);
	check_counts();
	assert_null(limbo_recycle(&shard));
	assert_int_equal(evict(3, 1), 2); /* the slot is free again */
	check_counts();
}

static void test_no_recycling_of_copies(void **state)
{
	limbo_destroy(&shard);
	assert_int_equal(set_up_slots(false, SLOTS), 0);
	assert_int_equal(evict(0, ~0ull), 0);
	assert_null(limbo_recycle(&shard));
	check_counts();
}

static uint64_t random64(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

/* Out of limbo by all ways; counters checked after each step. Begins just before running numbers wrap. */
static void walk(uint32_t slots)
{
	uint64_t r = 88172645463325252ull;

	limbo_destroy(&shard);
	assert_int_equal(set_up_slots(true, slots), 0);
	shard.limbo.head = shard.limbo.tail = 0u - 2 * slots;
	for (int step = 0; step < 5000; step++) {
		unsigned x = (unsigned)(random64(&r) % EXTENTS);
		uint64_t mask = random64(&r) % 4 ? random64(&r) : ~0ull;

		switch (random64(&r) % 6) {
		case 0:
			limbo_shrink(&shard, random64(&r) % 300);
			break;
		case 1:
			if (extents[x].limbo)
				assert_int_equal(limbo_retire_extent(&shard, &extents[x]), 0);
			break;
		case 2:
			limbo_recycle(&shard);
			break;
		default:
			if (extents[x].limbo)
				break;
			for (unsigned i = 0; i < EXTENT_PAGES; i++) { /* home, all of it */
				struct page *page = &pages[x * EXTENT_PAGES + i];

				if (page_state(page) == PAGE_REMOTE)
					shard.remote--;
				*page = (struct page){0};
			}
			assert_in_range(evict(x, mask), 0, slots - 1);
		}
		check_counts();
	}
	assert_true(shard.limbo.head < 5000); /* it wrapped */
}

static void test_random_walk(void **state)
{
	walk(SLOTS);
	walk(LIMBO_SLOTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registration, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_frames_lie_apart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shrink, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shrink_keeps_plain_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_busy_slots_stay, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_retire_out_of_turn, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full_ring, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rescue, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_recycle, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_recycling_of_copies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_random_walk, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
