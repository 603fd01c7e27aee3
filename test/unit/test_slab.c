/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/slab.c libleap/util/mem.c libleap/util/fmt.c libleap/lock.c libleap/log.c */
/*
 * Slots: groups and single slots, slabs that are frozen, gone, given back; a random walk is compared with a
 * plain model. Donors are names only.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/slab.h"
#include "libleap/util/mem.h"

static struct slabs slabs;
static struct donor *const donor_a = (struct donor *)0x1000;
static struct donor *const donor_b = (struct donor *)0x2000;

static int set_up(void **state)
{
	memset(&slabs, 0, sizeof(slabs));
	return slabs_init(&slabs);
}

static int tear_down(void **state)
{
	slabs_destroy(&slabs);
	return 0;
}

static void freeze_all(void)
{
	slabs_set_frozen(&slabs, donor_a, true);
	slabs_set_frozen(&slabs, donor_b, true);
}

static struct slot_place place_of(uint32_t slot)
{
	struct slot_place place;

	slot_resolve(&slabs, slot, &place);
	return place;
}

/* All of a group's slots; returns the first. */
static uint32_t take_whole(uint32_t group)
{
	uint32_t slots[64] = {0};

	assert_true(slots_take(&slabs, group, ~0ull, slots) == ~0ull);
	return slots[0];
}

static void test_empty(void **state)
{
	uint32_t slots[64] = {0}, number, cursor = 0;
	struct donor *donor;

	assert_int_equal(group_take(&slabs), 0);
	assert_true(slots_take(&slabs, 0, 0xff, slots) == 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(slots[i], 0);
	assert_false(group_writable(&slabs, 0));
	group_drop(&slabs, 0);
	slots_put(&slabs, slots, 64);
	assert_int_equal(slabs_take_unused(&slabs, NULL, 0, &donor, &number), 0);
	assert_false(slabs_next_frozen(&slabs, &cursor, &donor, &number));
	slabs_donor_gone(&slabs, donor_a);
	slabs_thaw(&slabs, donor_a, 1);
	assert_int_equal(slabs_of_donor(&slabs, donor_a), 0);
}

static void test_group_is_neighbours(void **state)
{
	uint32_t group, slots[64] = {0};

	assert_int_equal(slabs_add(&slabs, donor_a, 33), 0);
	assert_int_equal(slabs.free_groups, SLAB_GROUPS);
	group = group_take(&slabs);
	assert_true(group);
	assert_true(group_writable(&slabs, group));
	assert_int_equal(slabs.free_groups, SLAB_GROUPS - 1);
	assert_true(slots_take(&slabs, group, 0xf0f0, slots) == 0xf0f0);
	for (unsigned i = 0; i < 64; i++) {
		struct slot_place place;

		if (!(0xf0f0ull & (1ull << i))) {
			assert_int_equal(slots[i], 0);
			continue;
		}
		place = place_of(slots[i]);
		assert_ptr_equal(place.donor, donor_a);
		assert_int_equal(place.slab, 33);
		assert_int_equal(place.page % 64, i);
		assert_int_equal(slots[i] - slots[4], i - 4);
		assert_false(place.frozen || place.gone);
	}
	/* what is in use is not given again: such pages get single slots elsewhere */
	memset(slots, 0, sizeof(slots));
	assert_true(slots_take(&slabs, group, 0x11, slots) == 0x11);
	assert_int_equal(slots[0] - 1, (group - 1) * 64);
	assert_int_not_equal(slots[4] - 1, (group - 1) * 64 + 4);
}

/* A group that was dropped is free when its last slot is. */
static void test_dropped_group(void **state)
{
	uint32_t group, slots[64] = {0}, again;

	assert_int_equal(slabs_add(&slabs, donor_a, 1), 0);
	group = group_take(&slabs);
	slots_take(&slabs, group, 0x3, slots);
	group_drop(&slabs, group);
	assert_int_equal(slabs.free_groups, SLAB_GROUPS - 1);
	for (unsigned i = 0; i < SLAB_GROUPS - 1; i++) {
		again = group_take(&slabs);
		assert_true(again && again != group);
	}
	assert_int_equal(group_take(&slabs), 0);
	slots_put(&slabs, &slots[0], 1);
	assert_int_equal(group_take(&slabs), 0);
	slots_put(&slabs, &slots[1], 1);
	assert_int_equal(slabs.free_groups, 1);
	assert_int_equal(group_take(&slabs), group);
	/* owned, though empty: not free */
	assert_int_equal(slabs.free_groups, 0);
	group_drop(&slabs, group);
	assert_int_equal(slabs.free_groups, 1);
}

static void test_every_slot_once(void **state)
{
	static uint8_t seen[2 * LEAP_SLAB_PAGES];
	uint32_t slots[64];
	uint64_t served = 0, n = 0;

	memset(seen, 0, sizeof(seen));
	assert_int_equal(slabs_add(&slabs, donor_a, 1), 0);
	assert_int_equal(slabs_add(&slabs, donor_b, 1), 0);
	for (unsigned g = 0; g < SLAB_GROUPS / 2; g++) /* half by groups, the rest one by one */
		assert_true(group_take(&slabs));
	do {
		memset(slots, 0, sizeof(slots));
		served = slots_take(&slabs, 0, ~0ull >> 1, slots);
		for (unsigned i = 0; i < 64; i++) {
			assert_int_equal(!!slots[i], !!(served & (1ull << i)));
			if (!slots[i])
				continue;
			assert_in_range(slots[i], 1, 2 * LEAP_SLAB_PAGES);
			assert_int_equal(seen[slots[i] - 1], 0);
			seen[slots[i] - 1] = 1;
			n++;
		}
	} while (served == ~0ull >> 1);
	assert_int_equal(
		n, 2 * LEAP_SLAB_PAGES); /* owned groups' slots too, when nothing else is left */
	assert_int_equal(slabs.free_groups, 0);
	assert_true(slots_take(&slabs, 0, 1, slots) == 0);
}

static void test_frozen(void **state)
{
	uint32_t group, other, slots[64] = {0}, cursor = 0, number;
	struct donor *donor;

	assert_int_equal(slabs_add(&slabs, donor_a, 7), 0);
	group = group_take(&slabs);
	slots_take(&slabs, group, 1, slots);
	freeze_all();
	assert_int_equal(slabs.free_groups, 0);
	assert_false(group_writable(&slabs, group));
	assert_true(place_of(slots[0]).frozen);
	assert_false(place_of(slots[0]).gone);
	assert_int_equal(group_take(&slabs), 0);
	assert_true(slots_take(&slabs, group, 2, slots) == 0);
	/* new ones come from elsewhere, also for the owner of a frozen group */
	assert_int_equal(slabs_add(&slabs, donor_b, 8), 0);
	other = group_take(&slabs);
	assert_true(other && group_writable(&slabs, other));
	assert_true(slots_take(&slabs, group, 2, slots) == 2);
	assert_ptr_equal(place_of(slots[1]).donor,
			 donor_b); /* a single one, in a group that is used */
	/* a frozen slot may be given up, without making its slab writable */
	slots_put(&slabs, &slots[0], 1);
	group_drop(&slabs, group);
	assert_int_equal(slabs.free_groups, SLAB_GROUPS - 1);
	assert_true(slabs_next_frozen(&slabs, &cursor, &donor, &number));
	assert_ptr_equal(donor, donor_a);
	assert_int_equal(number, 7);
	assert_false(slabs_next_frozen(&slabs, &cursor, &donor, &number));
	slabs_thaw(&slabs, donor_a, 8); /* not that one */
	assert_int_equal(slabs.free_groups, SLAB_GROUPS - 1);
	slabs_thaw(&slabs, donor_a, 7);
	assert_int_equal(slabs.free_groups, 2 * SLAB_GROUPS - 1);
	slabs_thaw(&slabs, donor_a, 7); /* twice counts once */
	assert_int_equal(slabs.free_groups, 2 * SLAB_GROUPS - 1);
	slabs_set_frozen(&slabs, donor_b, true);
	assert_false(group_writable(&slabs, other));
	assert_int_equal(slabs.free_groups, SLAB_GROUPS);
	slabs_set_frozen(&slabs, donor_b, false);
	assert_true(group_writable(&slabs, other));
}

/* Before fork(): what is in use is kept, what is free stays free; given up, it is free when nobody shares it any more. */
static void test_shared(void **state)
{
	uint32_t group, other, slots[64] = {0}, more[64] = {0}, cursor = 0, number;
	struct donor *donor;

	assert_int_equal(slabs_add(&slabs, donor_a, 7), 0);
	group = group_take(&slabs);
	assert_true(slots_take(&slabs, group, 0xf, slots) == 0xf);
	slabs_share(&slabs, donor_b); /* another's */
	assert_true(group_writable(&slabs, group));
	slabs_share(&slabs, donor_a);
	assert_int_equal(slabs.free_groups, SLAB_GROUPS - 1);
	assert_int_equal(slabs.free_slots, LEAP_SLAB_PAGES - 4);
	assert_false(group_writable(&slabs, group));
	assert_true(place_of(slots[0]).frozen);
	/* the rest of the slab is ours to write */
	other = group_take(&slabs);
	assert_true(other && group_writable(&slabs, other));
	assert_true(slots_take(&slabs, other, 1, more) == 1);
	assert_false(place_of(more[0]).frozen);
	assert_true(slots_take(&slabs, group, 0x30, more) == 0x30);
	assert_false(place_of(more[4]).frozen);
	/* what is given up is not handed out again */
	slots_put(&slabs, slots, 4);
	group_drop(&slabs, group);
	assert_int_equal(slabs_kept(&slabs), 4);
	memset(slots, 0, sizeof(slots));
	assert_true(slots_take(&slabs, group, 0xf, slots) == 0xf);
	for (unsigned i = 0; i < 4; i++)
		assert_false(place_of(slots[i]).frozen);
	slabs_share(&slabs, donor_a); /* another child */
	assert_true(place_of(more[0]).frozen && place_of(slots[0]).frozen);
	assert_true(slabs_next_frozen(&slabs, &cursor, &donor, &number));
	assert_int_equal(number, 7);
	slabs_thaw(&slabs, donor_a, 7);
	assert_int_equal(slabs_kept(&slabs), 0);
	assert_false(place_of(more[0]).frozen || place_of(slots[0]).frozen);
	assert_int_equal(slabs.free_slots, LEAP_SLAB_PAGES - 7);
	cursor = 0;
	assert_false(slabs_next_frozen(&slabs, &cursor, &donor, &number));
}

/* A slab in which nothing of ours is left is given back, though a child may read it. */
static void test_shared_given_back(void **state)
{
	uint32_t group, slots[64] = {0}, number;
	struct donor *donor;

	assert_int_equal(slabs_add(&slabs, donor_a, 7), 0);
	group = group_take(&slabs);
	take_whole(group);
	slabs_share(&slabs, donor_a);
	assert_int_equal(slabs_take_unused(&slabs, NULL, 0, &donor, &number), 0);
	for (unsigned i = 0; i < 64; i++)
		slots[i] = (group - 1) * 64 + i + 1;
	slots_put(&slabs, slots, 64);
	assert_int_equal(slabs_take_unused(&slabs, NULL, 0, &donor, &number), 0);
	group_drop(&slabs, group);
	assert_int_equal(slabs_take_unused(&slabs, NULL, 0, &donor, &number), 1);
	assert_int_equal(slabs_kept(&slabs), 0);
	assert_int_equal(slabs.free_groups, 0);
	assert_int_equal(slabs.free_slots, 0);
}

/* Groups of which one slot each is in use are not a reason to ask donors for more: what is free in them serves. */
static void test_sparse_groups(void **state)
{
	uint32_t slots[64], n = 0;
	bool seen[LEAP_SLAB_PAGES] = {false};

	assert_true(slabs_short(&slabs, SLAB_GROUPS));
	assert_int_equal(slabs_add(&slabs, donor_a, 1), 0);
	for (unsigned g = 0; g < SLAB_GROUPS; g++) {
		uint32_t group = group_take(&slabs);

		assert_int_not_equal(group, 0);
		memset(slots, 0, sizeof(slots));
		assert_true(slots_take(&slabs, group, 1ull << g % 64, slots) == 1ull << g % 64);
		seen[slots[g % 64] - 1] = true;
		if (g == 1) /* two slots in use, two groups split */
			assert_false(slabs_short(&slabs, SLAB_GROUPS));
	}
	assert_int_equal(group_take(&slabs), 0);
	while (slots[0] = 0, slots_take(&slabs, 0, 1, slots)) {
		assert_false(seen[slots[0] - 1]);
		seen[slots[0] - 1] = true;
		n++;
	}
	assert_int_equal(n, LEAP_SLAB_PAGES - SLAB_GROUPS);
	assert_true(slabs_short(&slabs, SLAB_GROUPS));
	/* one that comes free is found wherever the last was */
	slots[0] = 77;
	slots_put(&slabs, slots, 1);
	slots[0] = 0;
	assert_true(slots_take(&slabs, 0, 1, slots) == 1);
	assert_int_equal(slots[0], 77);
}

static void test_donor_gone(void **state)
{
	uint32_t group_a, slots[64] = {0}, cursor = 0, number;
	struct donor *donor;

	assert_int_equal(slabs_add(&slabs, donor_a, 1), 0);
	group_a = group_take(&slabs);
	slots_take(&slabs, group_a, 3, slots);
	assert_int_equal(slabs_add(&slabs, donor_b, 1), 0);
	slabs_donor_gone(&slabs, donor_a);
	assert_true(place_of(slots[0]).gone);
	assert_false(group_writable(&slabs, group_a));
	assert_int_equal(slabs.free_groups, SLAB_GROUPS);
	assert_int_equal(slabs_of_donor(&slabs, donor_a), 1);
	for (unsigned i = 0; i < SLAB_GROUPS; i++) {
		uint32_t group = group_take(&slabs);

		assert_ptr_equal(place_of(take_whole(group)).donor, donor_b);
	}
	assert_int_equal(group_take(&slabs), 0);
	/* thawing does not bring it back, and it is not asked about sharing */
	freeze_all();
	slabs_thaw(&slabs, donor_a, 1);
	assert_false(group_writable(&slabs, group_a));
	assert_true(slabs_next_frozen(&slabs, &cursor, &donor, &number));
	assert_ptr_equal(donor, donor_b);
	assert_false(slabs_next_frozen(&slabs, &cursor, &donor, &number));
	/* its slots can be given up, and then it is forgotten */
	assert_int_equal(slabs_take_unused(&slabs, donor_a, 0, &donor, &number), 0);
	slots_put(&slabs, slots, 2);
	group_drop(&slabs, group_a);
	assert_int_equal(slabs_take_unused(&slabs, donor_a, 1000, &donor, &number), 1);
	assert_int_equal(slabs_of_donor(&slabs, donor_a), 0);
	assert_int_equal(slabs.live, 1);
}

static void test_unused_slabs(void **state)
{
	uint32_t number, group, slot;
	struct donor *donor;

	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(slabs_add(&slabs, i == 1 ? donor_b : donor_a, 10 + i), 0);
	group = group_take(&slabs);
	slot = take_whole(group);
	assert_int_equal(place_of(slot).slab, 10);
	/* one slab's worth of free groups stays */
	assert_int_equal(slabs_take_unused(&slabs, NULL, 2 * SLAB_GROUPS, &donor, &number), 0);
	assert_int_equal(slabs_take_unused(&slabs, NULL, SLAB_GROUPS, &donor, &number), 1);
	assert_int_equal(number, 12);
	assert_ptr_equal(donor, donor_a);
	assert_int_equal(slabs_take_unused(&slabs, NULL, SLAB_GROUPS, &donor, &number), 0);
	/* of one donor only */
	assert_int_equal(slabs_take_unused(&slabs, donor_a, 0, &donor, &number), 0);
	assert_int_equal(slabs_take_unused(&slabs, donor_b, 0, &donor, &number), 1);
	assert_int_equal(number, 11);
	assert_int_equal(slabs.live, 1);
	assert_int_equal(slabs.free_groups, SLAB_GROUPS - 1);
	/* entries of the table are used again; slots in use keep their number */
	assert_int_equal(slabs_add(&slabs, donor_b, 20), 0);
	assert_int_equal(slabs.count, 3);
	assert_int_equal(place_of(slot).slab, 10);
	assert_int_equal(slabs_of_donor(&slabs, donor_b), 1);
}

static void test_no_memory(void **state)
{
	mem_fail_nth(1, false);
	assert_int_equal(slabs_add(&slabs, donor_a, 1), -ENOMEM);
	mem_fail_nth(0, false);
	assert_int_equal(slabs.live, 0);
	assert_int_equal(slabs.free_groups, 0);
	assert_int_equal(slabs_add(&slabs, donor_a, 1), 0);
}

/*
 * The walk: extents take groups and slots, give them up, slabs come, freeze and go.
 */
#define EXTENTS    600
#define WALK_SLABS 4

static struct extent {
	uint32_t group, slots[64];
} extents[EXTENTS];
/* What a child may read now: nothing is written there. */
static uint8_t kept[WALK_SLABS * LEAP_SLAB_PAGES];

static uint64_t random_state = 88172645463325252ull;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void walk_extent(struct extent *e)
{
	uint64_t half = random64(), mask = half & random64(), served, need = 0;
	uint32_t put[64] = {0};

	if (random64() % 2) { /* as the evictor does it */
		if (!e->group || !group_writable(&slabs, e->group)) {
			group_drop(&slabs, e->group);
			e->group = group_take(&slabs);
		}
		for (unsigned i = 0; i < 64; i++)
			if (mask & (1ull << i) && !e->slots[i])
				need |= 1ull << i;
		served = slots_take(&slabs, e->group, need, e->slots);
		assert_true((served & ~need) == 0);
		for (unsigned i = 0; i < 64; i++)
			if (need & (1ull << i)) {
				assert_int_equal(!!e->slots[i], !!(served & (1ull << i)));
				assert_false(e->slots[i] && kept[e->slots[i] - 1]);
			}
		return;
	}
	for (unsigned i = 0; i < 64; i++)
		if (mask & (1ull << i)) {
			put[i] = e->slots[i];
			e->slots[i] = 0;
		}
	slots_put(&slabs, put, 64);
	if (random64() % 4 == 0) {
		group_drop(&slabs, e->group);
		e->group = 0;
	}
}

static void walk_share(void)
{
	slabs_share(&slabs, donor_a);
	for (unsigned k = 0; k < EXTENTS; k++)
		for (unsigned i = 0; i < 64; i++)
			if (extents[k].slots[i] && place_of(extents[k].slots[i]).donor == donor_a)
				kept[extents[k].slots[i] - 1] = 1;
}

static void walk_thaw(uint32_t number)
{
	slabs_thaw(&slabs, donor_a, number);
	for (uint32_t s = 0; s < slabs.count; s++)
		if (slabs.table[s]->donor == donor_a && slabs.table[s]->number == number)
			memset(&kept[s * LEAP_SLAB_PAGES], 0, LEAP_SLAB_PAGES);
}

static void check_counts(void)
{
	static uint16_t owners[WALK_SLABS * SLAB_GROUPS];
	static uint8_t used[WALK_SLABS * LEAP_SLAB_PAGES];
	uint64_t free_slots = 0, all_kept = 0;
	uint32_t free_groups = 0;

	memset(owners, 0, sizeof(owners));
	memset(used, 0, sizeof(used));
	for (unsigned k = 0; k < EXTENTS; k++) {
		if (extents[k].group)
			assert_int_equal(owners[extents[k].group - 1]++, 0);
		for (unsigned i = 0; i < 64; i++)
			if (extents[k].slots[i])
				assert_int_equal(used[extents[k].slots[i] - 1]++, 0);
	}
	for (uint32_t s = 0; s < slabs.count; s++) {
		const struct slab *slab = slabs.table[s];
		uint32_t used_slots = 0, free = 0, kept_slots = 0;

		for (unsigned g = 0; g < SLAB_GROUPS; g++) {
			unsigned n = 0, k = 0;

			for (unsigned i = 0; i < 64; i++) {
				size_t slot = s * LEAP_SLAB_PAGES + g * 64 + i;

				n += used[slot];
				k += kept[slot] && !used[slot];
			}
			used_slots += n;
			kept_slots += k;
			free += !n && !k && !owners[s * SLAB_GROUPS + g];
		}
		assert_int_equal(slab->used_slots, used_slots);
		assert_int_equal(slab->free_groups, free);
		assert_int_equal(slab->kept_unused, kept_slots);
		all_kept += kept_slots;
		if (slab->frozen || slab->gone)
			continue;
		free_groups += free;
		free_slots += LEAP_SLAB_PAGES - used_slots - kept_slots;
	}
	assert_int_equal(slabs.free_groups, free_groups);
	assert_int_equal(slabs.free_slots, free_slots);
	assert_int_equal(slabs_kept(&slabs), all_kept);
}

static void test_random_walk(void **state)
{
	memset(extents, 0, sizeof(extents));
	memset(kept, 0, sizeof(kept));
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(slabs_add(&slabs, i % 2 ? donor_b : donor_a, i), 0);
	for (int step = 0; step < 60000; step++) {
		walk_extent(&extents[random64() % EXTENTS]);
		if (step == 20000)
			freeze_all();
		if (step == 25000 || step == 40000)
			assert_int_equal(slabs_add(&slabs, donor_a, (uint32_t)step), 0);
		if (step == 30000)
			walk_thaw(0);
		if (step == 10000 || step == 12000 || step == 42000)
			walk_share();
		if (step == 45000) {
			walk_thaw(25000);
			walk_thaw(40000);
		}
		if (step == 50000)
			slabs_donor_gone(&slabs, donor_b);
		if (step % 500 == 0)
			check_counts();
	}
	for (unsigned k = 0; k < EXTENTS; k++) {
		slots_put(&slabs, extents[k].slots, 64);
		group_drop(&slabs, extents[k].group);
	}
	memset(extents, 0, sizeof(extents));
	check_counts();
	for (uint32_t number, i = 0; i < 4; i++) {
		struct donor *donor;

		assert_int_equal(slabs_take_unused(&slabs, NULL, 0, &donor, &number), 1);
	}
	assert_int_equal(slabs.live, 0);
	assert_int_equal(slabs.free_groups, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_group_is_neighbours, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_dropped_group, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_every_slot_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_frozen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared_given_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sparse_groups, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_donor_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unused_slabs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_random_walk, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
