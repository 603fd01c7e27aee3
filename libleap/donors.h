/* SPDX-License-Identifier: Apache-2.0 */
/*
 * donors.h - the donors of a session: connecting, choosing one for the next slab, noticing death.
 *
 * A donor keeps its index while it is in the list, so that shards can hold its lanes in plain arrays. The
 * list is changed and the ports' control operations are called by one thread at a time (DONORS lock). New donors are connected
 * aside, by one thread at a time (JOIN lock), and then put into free entries: evictions that need a slab of the
 * others, and heartbeats, do not wait for it.
 *
 * A donor that died or was removed is disconnected as soon as nothing can be read from it any more (donors_bury()). The entry of one that
 * was removed, or that is back as another, is free again; one that died keeps its own until it is needed.
 */
#ifndef LEAP_DONORS_H
#define LEAP_DONORS_H

#include <stdbool.h>
#include <stdint.h>
#include "libleap/lock.h"
#include "libleap/slab.h"
#include "libleap/transport/transport.h"
#include "libleap/transport/uri.h"

struct leap;

struct donor {
	const struct transport_ops *ops; /* set before `used`, and kept after it */
	struct port *port;               /* NULL: disconnected */
	bool used;                       /* the entry is one of the session's donors */
	struct donor_uri uri;
	uint32_t index;
	bool alive;   /* atomic; false for ever once it died */
	bool full;    /* refused the last grant; asked again when its free memory grows */
	bool leaving; /* being removed: no new slabs */
	bool removed; /* atomic; nothing is on it any more */
	/* rejoin.c; the keeper's alone */
	bool back;                 /* died, and has a new entry, or is not waited for */
	uint64_t joined_ns;        /* when it was connected */
	uint64_t wait_ns;          /* the last wait for it */
	uint64_t retry_ns;         /* when it is tried again; 0: not known to be dead */
	struct port_ticket ticket; /* during fork */
};

struct donors {
	struct lock join; /* held while new ones connect */
	struct lock lock;
	struct donor donor[LEAP_DONORS_MAX];
	uint32_t count;    /* entries ever used */
	struct donor lost; /* whose slabs are those of the dead that are disconnected */
	struct transport_params params;
	char client_name[64];
	uint64_t random;
	char refusal[200]; /* what the one that gave no slab said last */
	/* run_clock.h: when the operation under way must have ended; 0: none is */
	uint64_t call_end_ns; /* DONORS lock, or all locks in fork() */
	uint64_t open_end_ns; /* JOIN lock */
	uint64_t second_ns;   /* when donors_tick() last did what it does once a second */
};

/* Connects to all of a URI list; on failure none of the new ones stays. Sentence set. Signals are blocked meanwhile. */
int donors_add(struct leap *leap, const char *uris);
/* Connects once more to a dead one, as a new donor; the attempt may take so long. */
int donors_add_again(struct leap *leap, struct donor *dead, uint64_t open_ns);
/* Disconnects those that died or were removed, as far as nothing is left to read. wait: for somebody who connects to others. No
 * lock held. */
void donors_bury(struct leap *leap, bool wait);
uint64_t donors_random(struct donors *donors);
void donors_close(struct leap *leap);
/* Index of the donor with this URI (a living one before a dead one, never one that was removed), or -ENOENT with the sentence set. */
int donors_find(struct leap *leap, const char *uri);
/* An operation on many donors: one deadline for all calls until the end. Those that do not answer are found out together. DONORS lock. */
void donors_begin(struct leap *leap);
/* Between them: what a forked relative has let go of may be written again; all: also behind a slab that is still
 * shared. */
void donors_thaw(struct leap *leap, bool all);
void donors_end(struct leap *leap);
/* Asks the better of two random donors for a slab, then all others. -ENOSPC when no living donor has one, -EAGAIN when the deadline passed
 * before all were asked. May block up to the deadline. Not with a shard lock held. */
int donors_grow(struct leap *leap);
/* Why no donor takes more, and what to do, for a sentence: the lost are lost, the others are full or refuse. */
#define DONORS_WHY_BYTES 300
void donors_why(struct leap *leap, char *buf, size_t size);
/* Keeper: asks for a slab before the last one is used up, so that an eviction does not wait for it. */
#define DONORS_AHEAD_GROUPS SLAB_GROUPS
bool donors_ahead(struct leap *leap); /* true: it got one */
/* Keeper: heartbeats, deaths, shared slabs that are ours again, unused slabs given back. */
void donors_tick(struct leap *leap);
/* rejoin.c. Keeper: tries those that died again, when it is their time. May block for a second, later up to the deadline. */
void donors_rejoin(struct leap *leap);
/* Marks a donor dead (any thread that saw -EPIPE or -ETIMEDOUT); logs once. */
void donor_died(struct leap *leap, struct donor *donor, int err);
static inline bool donor_alive(const struct donor *donor)
{
	return __atomic_load_n(&donor->alive, __ATOMIC_ACQUIRE);
}
/* It died, and nobody has taken its place: it is tried again. */
static inline bool donor_lost(const struct donor *donor)
{
	return donor->used && !donor_alive(donor) && !donor->leaving && !donor->back;
}
/* How many are in the list, those that died included. */
uint32_t donors_known(const struct donors *donors);
/* True when every transport in use completes inside submit(). */
bool donors_all_sync(const struct donors *donors);

#endif
