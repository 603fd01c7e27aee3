/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab.h - which slot of which donor a page has.
 *
 * A slab is LEAP_SLAB_PAGES slots granted by one donor; a *group* is 64 aligned slots of a slab. An
 * extent (64 pages) takes a group when it is first evicted, so that neighbours in the address space
 * are neighbours on the donor and travel in one request. When no whole group is left anywhere, single free
 * slots of other groups are used.
 *
 * A slot number is 32 bits: 1 + slab * LEAP_SLAB_PAGES + index; 0 = none. Group numbers likewise:
 * 1 + slab * 256 + index.
 *
 * After fork() parent and child share slabs. What was in use at that moment is *kept*: it may be read and given up, by
 * both, but written by neither, until the donor says that nobody shares the slab any more. What was free is the parent's to
 * write; for the child the whole slab is *frozen*.
 *
 * One lock (LOCK_RANK_SLAB) for all; resolving a slot needs none, as a slab stays in the table while one
 * of its slots is in use.
 */
#ifndef LEAP_SLAB_H
#define LEAP_SLAB_H

#include <stdbool.h>
#include <stdint.h>
#include "libleap/lock.h"
#include "libleap/transport/transport.h"

#define SLAB_GROUP_SLOTS 64
#define SLAB_GROUPS      ((unsigned)(LEAP_SLAB_PAGES / SLAB_GROUP_SLOTS))
#define SLABS_MAX        65536 /* 4 TiB */

struct donor;

struct slab {
	struct donor *donor;
	uint32_t number; /* the port's */
	bool frozen;
	bool gone; /* its donor is dead: the content is lost */
	bool shared;
	uint16_t free_groups;             /* not owned, no slot in use or kept */
	uint32_t used_slots, kept_unused; /* kept, and not in use any more */
	uint64_t owned[SLAB_GROUPS / 64]; /* groups owned by an extent */
	uint64_t used[SLAB_GROUPS];       /* slots in use */
	uint64_t kept[SLAB_GROUPS]; /* a relative may read them; atomic, changed under the lock */
};

struct slabs {
	struct lock lock;
	struct slab **table; /* SLABS_MAX entries */
	uint32_t count;      /* entries ever used */
	uint32_t live;       /* slabs held */
	uint32_t hint;       /* where the last group came from */
	uint32_t single;     /* slab that the last single slot came from, and its group */
	unsigned single_group;
	uint32_t free_groups; /* in slabs that may be written */
	uint64_t free_slots;  /* likewise, in whole groups or not */
	uint64_t kept_unused; /* what sharing costs now */
	uint32_t deaths;      /* donors that are gone; changed after their slabs are marked */
};

int slabs_init(struct slabs *slabs);
void slabs_destroy(struct slabs *slabs);

/* Adds a granted slab. -ENOMEM, -ENOSPC (table full). */
int slabs_add(struct slabs *slabs, struct donor *donor, uint32_t number);
/* Forgets an unused slab of a donor (any donor when NULL), beyond keep_groups free ones; the caller releases it at the port. 1 when there
 * was one. */
int slabs_take_unused(struct slabs *slabs, struct donor *donor, uint32_t keep_groups,
		      struct donor **ret_donor, uint32_t *ret_number);
/* The donor died, or is alive and all its slabs are shared now / no more. */
void slabs_donor_gone(struct slabs *slabs, struct donor *donor);
/* What a dead donor had belongs to `lost` from now on. */
void slabs_disown(struct slabs *slabs, struct donor *dead, struct donor *lost);
/* In the parent, before fork(): what a living donor's slabs hold is kept. */
void slabs_share(struct slabs *slabs, const struct donor *donor);
/* Next frozen or shared slab at or after *cursor; false when none. */
bool slabs_next_frozen(struct slabs *slabs, uint32_t *cursor, struct donor **ret_donor,
		       uint32_t *ret_number);
/* Nobody shares it any more. */
void slabs_thaw(struct slabs *slabs, struct donor *donor, uint32_t number);
uint32_t slabs_of_donor(struct slabs *slabs, const struct donor *donor);
/* Marks a donor's slabs unwritable (it is being removed) or writable again. */
void slabs_set_frozen(struct slabs *slabs, const struct donor *donor, bool frozen);

/* Should another slab be asked for, to keep `ahead` groups free? Not while more slots lie unused in groups that are not whole
 * than are in use (which fork() and sparse memory bring about): single ones serve then. Without the lock: a guess. */
bool slabs_short(const struct slabs *slabs, uint32_t ahead);

/* A whole group for an extent: its number, or 0 when none is free. */
uint32_t group_take(struct slabs *slabs);
/* The extent gives its group up; slots of it that are still used stay so. */
void group_drop(struct slabs *slabs, uint32_t group);
/* May all slots of this group be written (not frozen, not gone, none kept)? */
bool group_writable(struct slabs *slabs, uint32_t group);

/* Slots for the pages in mask (bit i = page i of the extent), preferably from `group`: slots[i] is set for each. Pages that
 * cannot be served keep 0. Returns the mask of those served. */
uint64_t slots_take(struct slabs *slabs, uint32_t group, uint64_t mask, uint32_t *slots);
/* Gives slots back; zeroes in the list are skipped. */
void slots_put(struct slabs *slabs, const uint32_t *slots, unsigned count);

struct slot_place {
	struct donor *donor;
	uint32_t slab; /* the port's number */
	uint32_t page;
	bool frozen, gone;
};
/* How many donors are gone: a change says that pages in limbo may have lost their copies. */
static inline uint32_t slabs_deaths(const struct slabs *slabs)
{
	return __atomic_load_n(&slabs->deaths, __ATOMIC_ACQUIRE);
}
/* Slots that are free but for what a relative may read. */
static inline uint64_t slabs_kept(const struct slabs *slabs)
{
	return __atomic_load_n(&slabs->kept_unused, __ATOMIC_RELAXED);
}
void slot_resolve(const struct slabs *slabs, uint32_t slot, struct slot_place *ret_place);

#endif
