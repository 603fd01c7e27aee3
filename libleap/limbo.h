/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limbo.h - pages that were taken out of the program and are still local.
 *
 * A ring of slots of 64 frames each; an evicted extent's pages go to the frames of one slot, at their own
 * index. A slot is *retired*, oldest first, when limbo is over its share: its pages become REMOTE (all are
 * stored by then) and its frames go back to the kernel or straight into the next window (recycling).
 * A page touched before that is *rescued*: mapped again without the network.
 *
 * Mover move: frames are the program's own, moved in and out by the kernel; the area is registered with the
 * shard's userfaultfd and a hole in it must never be touched. Mover wp: frames are copies in plain memory.
 *
 * A donor may die while it has the only copy of pages that are in limbo. Their slot is not retired before they are
 * written to another donor or mapped again (evict_write.c).
 *
 * Everything under the shard's lock, except that an evictor fills a slot that it has claimed (`busy`).
 */
#ifndef LEAP_LIMBO_H
#define LEAP_LIMBO_H

#include <stdbool.h>
#include <stdint.h>

#define LIMBO_SLOTS 256

struct extent;
struct shard;

struct limbo_slot {
	struct extent *extent; /* NULL: retired early, waits for the tail to pass */
	uint64_t frames;       /* frames present */
	uint64_t writing;      /* frames with a write in flight, or about to be */
	uint64_t again;        /* of these: to be written to other slots, by evict_reap() */
	bool busy;             /* being filled by an evictor */
};

struct limbo {
	char *area;          /* LIMBO_SLOTS * EXTENT_BYTES */
	bool movable;        /* registered: frames come and go by UFFDIO_MOVE */
	uint32_t nslots;     /* ring size in use, a power of two (running numbers wrap) */
	uint32_t head, tail; /* running numbers; slot = number % nslots */
	uint64_t pages;      /* pages in state LIMBO */
	uint64_t frames;     /* frames held */
	struct limbo_slot slot[LIMBO_SLOTS];
};

int limbo_init(struct shard *shard, bool movable, uint32_t nslots);
/* Registers the area with the shard's userfaultfd (mover move). */
int limbo_register(struct shard *shard);
void limbo_destroy(struct shard *shard);
char *limbo_frame(const struct limbo *limbo, uint32_t slot, unsigned i);
/* Gives n frames back to the kernel. A frame that stayed would be taken for what is moved there next. */
void limbo_drop(char *frames, size_t n);
/* A fresh slot for the extent, or -EBUSY when the ring is full and its tail cannot be retired. */
int limbo_take(struct shard *shard, struct extent *e, uint32_t *ret_slot);
/* Pages of a slot that is not busy that are stored at a donor that is gone. */
uint64_t limbo_homeless(const struct shard *shard, uint32_t slot);
/* Retires the extent's slot out of turn. -EBUSY while it is busy, written, or has homeless pages. */
int limbo_retire_extent(struct shard *shard, struct extent *e);
/* Retires from the tail until at most max_frames are held; stops at a slot that is busy. Returns frames freed. */
uint64_t limbo_shrink(struct shard *shard, uint64_t max_frames);
/* If the newest slot is whole (64 frames) and may be retired: retires it and leaves its frames for the caller, who
 * must move or drop them before releasing the lock. NULL otherwise. The newest, since its frames are still in
 * the CPU's cache (docs/decisions.md). */
char *limbo_recycle(struct shard *shard);
/* Page i of the extent left limbo (state changed by the caller); its frame stays until the slot is
 * retired, or is gone already (moved). */
void limbo_forget(struct shard *shard, struct extent *e, unsigned i, bool frame_moved);

#endif
