/* SPDX-License-Identifier: Apache-2.0 */
/* slab.c - see slab.h. */
#include <errno.h>

#include "libleap/slab.h"
#include "libleap/util/mem.h"

static struct slab *slab_of(const struct slabs *slabs, uint32_t index)
{
	return __atomic_load_n(&slabs->table[index], __ATOMIC_ACQUIRE);
}

static bool writable(const struct slab *slab)
{
	return !slab->frozen && !slab->gone;
}

static uint64_t kept(const struct slab *slab, unsigned g)
{
	return __atomic_load_n(&slab->kept[g], __ATOMIC_RELAXED);
}

/* Slots of the group that nobody may take. */
static uint64_t busy(const struct slab *slab, unsigned g)
{
	return slab->used[g] | kept(slab, g);
}

static uint64_t free_slots(const struct slab *slab)
{
	return LEAP_SLAB_PAGES - slab->used_slots - slab->kept_unused;
}

static bool group_is_owned(const struct slab *slab, unsigned g)
{
	return slab->owned[g / 64] & (1ull << (g % 64));
}

static bool group_is_free(const struct slab *slab, unsigned g)
{
	return !busy(slab, g) && !group_is_owned(slab, g);
}

int slabs_init(struct slabs *slabs)
{
	lock_init(&slabs->lock, LOCK_RANK_SLAB, 0);
	slabs->table = mem_map_sparse(SLABS_MAX * sizeof(*slabs->table));
	return slabs->table ? 0 : -ENOMEM;
}

void slabs_destroy(struct slabs *slabs)
{
	for (uint32_t i = 0; slabs->table && i < slabs->count; i++)
		mem_free(slabs->table[i]);
	mem_unmap(slabs->table, SLABS_MAX * sizeof(*slabs->table));
	slabs->table = NULL;
}

int slabs_add(struct slabs *slabs, struct donor *donor, uint32_t number)
{
	struct slab *slab = mem_alloc(sizeof(*slab));
	uint32_t i;
	int err = 0;

	if (!slab)
		return -ENOMEM;
	slab->donor = donor;
	slab->number = number;
	slab->free_groups = SLAB_GROUPS;
	lock_acquire(&slabs->lock);
	for (i = 0; i < slabs->count && slabs->table[i]; i++)
		;
	if (i == SLABS_MAX) {
		err = -ENOSPC;
	} else {
		__atomic_store_n(&slabs->table[i], slab, __ATOMIC_RELEASE);
		if (i == slabs->count)
			slabs->count++;
		slabs->live++;
		slabs->free_groups += SLAB_GROUPS;
		slabs->free_slots += LEAP_SLAB_PAGES;
	}
	lock_release(&slabs->lock);
	if (err)
		mem_free(slab);
	return err;
}

/* Nothing of ours is in it. */
static bool is_unused(const struct slab *slab)
{
	uint64_t owned = 0;

	for (unsigned i = 0; i < SLAB_GROUPS / 64; i++)
		owned |= slab->owned[i];
	return !owned && !slab->used_slots;
}

static void forget(struct slabs *slabs, uint32_t index)
{
	struct slab *slab = slabs->table[index];

	slabs->kept_unused -= slab->kept_unused;
	if (writable(slab)) {
		slabs->free_groups -= slab->free_groups;
		slabs->free_slots -= free_slots(slab);
	}
	__atomic_store_n(&slabs->table[index], NULL, __ATOMIC_RELEASE);
	slabs->live--;
	mem_free(slab);
}

int slabs_take_unused(struct slabs *slabs, struct donor *donor, uint32_t keep_groups,
		      struct donor **ret_donor, uint32_t *ret_number)
{
	int found = 0;

	lock_acquire(&slabs->lock);
	for (uint32_t i = slabs->count; i-- > 0 && !found;) {
		struct slab *slab = slabs->table[i];

		if (!slab || !is_unused(slab) || (donor && slab->donor != donor))
			continue;
		if (writable(slab) && slabs->free_groups < keep_groups + slab->free_groups)
			continue;
		*ret_donor = slab->donor;
		*ret_number = slab->number;
		forget(slabs, i);
		found = 1;
	}
	lock_release(&slabs->lock);
	return found;
}

static void set_writable(struct slabs *slabs, struct slab *slab, bool frozen, bool gone)
{
	bool was = writable(slab);

	slab->frozen = frozen;
	slab->gone = gone;
	if (was && !writable(slab)) {
		slabs->free_groups -= slab->free_groups;
		slabs->free_slots -= free_slots(slab);
	} else if (!was && writable(slab)) {
		slabs->free_groups += slab->free_groups;
		slabs->free_slots += free_slots(slab);
	}
}

void slabs_donor_gone(struct slabs *slabs, struct donor *donor)
{
	lock_acquire(&slabs->lock);
	for (uint32_t i = 0; i < slabs->count; i++)
		if (slabs->table[i] && slabs->table[i]->donor == donor)
			set_writable(slabs, slabs->table[i], slabs->table[i]->frozen, true);
	__atomic_fetch_add(&slabs->deaths, 1, __ATOMIC_RELEASE);
	lock_release(&slabs->lock);
}

void slabs_disown(struct slabs *slabs, struct donor *dead, struct donor *lost)
{
	lock_acquire(&slabs->lock);
	for (uint32_t i = 0; i < slabs->count; i++)
		if (slabs->table[i] && slabs->table[i]->donor == dead && slabs->table[i]->gone)
			__atomic_store_n(&slabs->table[i]->donor, lost, __ATOMIC_RELEASE);
	lock_release(&slabs->lock);
}

void slabs_share(struct slabs *slabs, const struct donor *donor)
{
	lock_acquire(&slabs->lock);
	for (uint32_t i = 0; i < slabs->count; i++) {
		struct slab *slab = slabs->table[i];

		if (!slab || slab->donor != donor || slab->gone)
			continue;
		slab->shared = true;
		for (unsigned g = 0; g < SLAB_GROUPS; g++)
			__atomic_fetch_or(&slab->kept[g], slab->used[g], __ATOMIC_RELAXED);
	}
	lock_release(&slabs->lock);
}

/* What is not in use is free again. */
static void unshare(struct slabs *slabs, struct slab *slab)
{
	slab->shared = false;
	for (unsigned g = 0; g < SLAB_GROUPS; g++) {
		bool was_free = group_is_free(slab, g);

		__atomic_store_n(&slab->kept[g], 0, __ATOMIC_RELAXED);
		if (was_free || !group_is_free(slab, g))
			continue;
		slab->free_groups++;
		if (writable(slab))
			slabs->free_groups++;
	}
	if (writable(slab))
		slabs->free_slots += slab->kept_unused;
	slabs->kept_unused -= slab->kept_unused;
	slab->kept_unused = 0;
}

void slabs_set_frozen(struct slabs *slabs, const struct donor *donor, bool frozen)
{
	lock_acquire(&slabs->lock);
	for (uint32_t i = 0; i < slabs->count; i++)
		if (slabs->table[i] && slabs->table[i]->donor == donor)
			set_writable(slabs, slabs->table[i], frozen, slabs->table[i]->gone);
	lock_release(&slabs->lock);
}

bool slabs_next_frozen(struct slabs *slabs, uint32_t *cursor, struct donor **ret_donor,
		       uint32_t *ret_number)
{
	bool found = false;

	lock_acquire(&slabs->lock);
	for (; *cursor < slabs->count && !found; (*cursor)++) {
		struct slab *slab = slabs->table[*cursor];

		if (!slab || (!slab->frozen && !slab->shared) || slab->gone)
			continue;
		*ret_donor = slab->donor;
		*ret_number = slab->number;
		found = true;
	}
	lock_release(&slabs->lock);
	return found;
}

void slabs_thaw(struct slabs *slabs, struct donor *donor, uint32_t number)
{
	lock_acquire(&slabs->lock);
	for (uint32_t i = 0; i < slabs->count; i++) {
		struct slab *slab = slabs->table[i];

		if (!slab || slab->donor != donor || slab->number != number)
			continue;
		unshare(slabs, slab);
		set_writable(slabs, slab, false, slab->gone);
	}
	lock_release(&slabs->lock);
}

uint32_t slabs_of_donor(struct slabs *slabs, const struct donor *donor)
{
	uint32_t n = 0;

	lock_acquire(&slabs->lock);
	for (uint32_t i = 0; i < slabs->count; i++)
		n += slabs->table[i] && slabs->table[i]->donor == donor;
	lock_release(&slabs->lock);
	return n;
}

static uint32_t group_take_from(struct slabs *slabs, uint32_t index)
{
	struct slab *slab = slabs->table[index];

	for (unsigned g = 0; g < SLAB_GROUPS; g++) {
		if (!group_is_free(slab, g))
			continue;
		slab->owned[g / 64] |= 1ull << (g % 64);
		slab->free_groups--;
		slabs->free_groups--;
		slabs->hint = index;
		return 1 + index * SLAB_GROUPS + g;
	}
	return 0;
}

bool slabs_short(const struct slabs *slabs, uint32_t ahead)
{
	uint64_t free = __atomic_load_n(&slabs->free_slots, __ATOMIC_RELAXED);
	uint64_t groups = __atomic_load_n(&slabs->free_groups, __ATOMIC_RELAXED);
	uint64_t all = (uint64_t)__atomic_load_n(&slabs->live, __ATOMIC_RELAXED) * LEAP_SLAB_PAGES;
	uint64_t split = free > groups * SLAB_GROUP_SLOTS ? free - groups * SLAB_GROUP_SLOTS : 0;

	return groups < ahead && split <= all - free - slabs_kept(slabs);
}

uint32_t group_take(struct slabs *slabs)
{
	uint32_t group = 0;

	lock_acquire(&slabs->lock);
	for (uint32_t k = 0; slabs->free_groups && k < slabs->count && !group; k++) {
		uint32_t i = (slabs->hint + k) % slabs->count;

		if (slabs->table[i] && writable(slabs->table[i]) && slabs->table[i]->free_groups)
			group = group_take_from(slabs, i);
	}
	lock_release(&slabs->lock);
	return group;
}

/* Counts the group as free again when nothing uses it. */
static void group_maybe_free(struct slabs *slabs, struct slab *slab, unsigned g)
{
	if (!group_is_free(slab, g))
		return;
	slab->free_groups++;
	if (writable(slab))
		slabs->free_groups++;
}

void group_drop(struct slabs *slabs, uint32_t group)
{
	uint32_t g;
	struct slab *slab;

	if (!group)
		return;
	g = (group - 1) % SLAB_GROUPS;
	lock_acquire(&slabs->lock);
	slab = slabs->table[(group - 1) / SLAB_GROUPS];
	slab->owned[g / 64] &= ~(1ull << (g % 64));
	group_maybe_free(slabs, slab, g);
	lock_release(&slabs->lock);
}

bool group_writable(struct slabs *slabs, uint32_t group)
{
	const struct slab *slab = group ? slab_of(slabs, (group - 1) / SLAB_GROUPS) : NULL;

	return slab && writable(slab) && !kept(slab, (group - 1) % SLAB_GROUPS);
}

/* One free slot of the slab, in a group from *group on, which becomes that group; 0 when there is none. */
static uint32_t slot_take_from(struct slabs *slabs, uint32_t index, unsigned *group)
{
	struct slab *slab = slabs->table[index];

	if (!slab || !writable(slab) || !free_slots(slab))
		return 0;
	for (; *group < SLAB_GROUPS; ++*group) {
		unsigned g = *group, bit;

		if (busy(slab, g) == ~0ull)
			continue;
		if (group_is_free(slab, g)) {
			slab->free_groups--;
			slabs->free_groups--;
		}
		bit = (unsigned)__builtin_ctzll(~busy(slab, g));
		slab->used[g] |= 1ull << bit;
		slab->used_slots++;
		slabs->free_slots--;
		return (uint32_t)(1 + index * LEAP_SLAB_PAGES + g * SLAB_GROUP_SLOTS + bit);
	}
	return 0;
}

/* One free slot of any writable slab, from where the last was found on; 0 when all are full. */
static uint32_t slot_take_any(struct slabs *slabs)
{
	unsigned group = slabs->single_group;

	for (uint32_t k = 0; k <= slabs->count && slabs->count; k++, group = 0) {
		uint32_t index = (slabs->single + k) % slabs->count;
		uint32_t slot = slot_take_from(slabs, index, &group);

		if (!slot)
			continue;
		slabs->single = index;
		slabs->single_group = group;
		return slot;
	}
	return 0;
}

uint64_t slots_take(struct slabs *slabs, uint32_t group, uint64_t mask, uint32_t *slots)
{
	uint64_t served = 0;

	lock_acquire(&slabs->lock);
	if (group) {
		struct slab *slab = slabs->table[(group - 1) / SLAB_GROUPS];
		unsigned g = (group - 1) % SLAB_GROUPS;

		served = writable(slab) ? mask & ~busy(slab, g) : 0;
		slab->used[g] |= served;
		slab->used_slots += (uint32_t)__builtin_popcountll(served);
		slabs->free_slots -= (uint64_t)__builtin_popcountll(served);
		for (uint64_t m = served; m; m &= m - 1) {
			unsigned i = (unsigned)__builtin_ctzll(m);

			slots[i] = (group - 1) * SLAB_GROUP_SLOTS + i + 1;
		}
	}
	for (uint64_t m = mask & ~served; m; m &= m - 1) {
		unsigned i = (unsigned)__builtin_ctzll(m);

		slots[i] = slot_take_any(slabs);
		if (!slots[i])
			break;
		served |= 1ull << i;
	}
	lock_release(&slabs->lock);
	return served;
}

void slots_put(struct slabs *slabs, const uint32_t *slots, unsigned count)
{
	lock_acquire(&slabs->lock);
	for (unsigned k = 0; k < count; k++) {
		uint32_t n = slots[k] - 1, in_slab = n % LEAP_SLAB_PAGES;
		struct slab *slab;
		unsigned g = in_slab / SLAB_GROUP_SLOTS;

		if (!slots[k])
			continue;
		slab = slabs->table[n / LEAP_SLAB_PAGES];
		slab->used[g] &= ~(1ull << (in_slab % SLAB_GROUP_SLOTS));
		slab->used_slots--;
		if (kept(slab, g) & (1ull << (in_slab % SLAB_GROUP_SLOTS))) {
			slab->kept_unused++;
			slabs->kept_unused++;
			continue;
		}
		slabs->free_slots += writable(slab);
		group_maybe_free(slabs, slab, g);
	}
	lock_release(&slabs->lock);
}

void slot_resolve(const struct slabs *slabs, uint32_t slot, struct slot_place *ret_place)
{
	const struct slab *slab = slab_of(slabs, (slot - 1) / LEAP_SLAB_PAGES);

	ret_place->donor = slab->donor;
	ret_place->slab = slab->number;
	ret_place->page = (slot - 1) % LEAP_SLAB_PAGES;
	ret_place->frozen = slab->frozen || kept(slab, ret_place->page / SLAB_GROUP_SLOTS) &
						    (1ull << (ret_place->page % SLAB_GROUP_SLOTS));
	ret_place->gone = slab->gone;
}
