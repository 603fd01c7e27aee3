/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict.h - making room: extents leave the program, oldest first, through limbo to their donors.
 *
 * One eviction: claim (lock) -> take out and hash (no lock, extent BUSY) -> settle (lock): a page whose
 * hash equals its stored copy's is clean, a page of zeroes becomes ABSENT, the others get a slot and are
 * written -> the slot of limbo is retired later, when all its writes are acknowledged.
 *
 * The evict role (evict_lock) is held by whoever calls these; the shard's lock is not.
 */
#ifndef LEAP_EVICT_H
#define LEAP_EVICT_H

#include <stdbool.h>
#include <stdint.h>

struct extent;
struct leap;
struct shard;

enum {
	EVICT_AGAIN = -11, /* -EAGAIN: nothing evictable now (busy, pinned, being written) */
	EVICT_FULL = -28,  /* -ENOSPC: donors have no room */
};

int evict_init(struct shard *shard);
void evict_destroy(struct shard *shard);

/* Evicts the oldest extent. Pages taken out (> 0), EVICT_AGAIN or EVICT_FULL. */
int evict_oldest(struct shard *shard);
/* Evicts what can be of this extent; same answers. */
int evict_extent(struct shard *shard, struct extent *e);
/* Delivers completed writes; returns how many. What failed, and pages in limbo whose donor died, are written to other
 * donors, or go home. */
int evict_reap(struct shard *shard);
/* Waits (polling) until no write is in flight. */
void evict_drain(struct shard *shard);

/*
 * Makes room for n more local pages of the session, from this shard. Takes the evict role if it is free.
 * hard = false: gives up when others evict or nothing is evictable at once; true: works until there is room.
 * 0, EVICT_AGAIN (soft only) or EVICT_FULL.
 */
int evict_make_room(struct shard *shard, unsigned n, bool hard);
/* Do the donors take no new pages? What has its place there already can go out all the same. */
bool evict_full(const struct leap *leap);
/* A donor had no room: evict_full() from now on, unless slots come free. True if that should be said. */
bool evict_found_full(struct leap *leap);
/* There may be room again. */
void evict_found_room(struct leap *leap);
/* Did a donor die whose pages in limbo were not seen to yet? */
bool evict_deaths_unseen(const struct shard *shard);
/* The kernel has no memory for a page: gives it some, whatever the budget says, and time. Fault role. */
void evict_for_kernel(struct shard *shard);
/* How many limbo frames this shard may keep. */
uint64_t evict_limbo_target(const struct shard *shard);

/* The evictor thread of a session. */
void *evictor_main(void *leap);

#endif
