/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_heap.h - memory for the objects of the loop store: compressed pages and whole ones.
 *
 * Address space is reserved in *arenas* of 16 MiB, cut into *blocks* of 64 KiB. A block holds
 * objects of one size class: 128, 256, ... 3072 bytes, or 4096 (aligned to pages). A bitmap says
 * which objects are live and a mask which of the block's pages are resident; both stand in the
 * arena's first block, so an object costs nothing but itself, and the block of an object is found
 * by masking its address.
 *
 * Memory goes back: an empty block is returned with MADV_DONTNEED (a few are kept for the next
 * user, of any class), an empty arena is unmapped, heap_trim() returns single pages that no live
 * object touches. What remains is blocks with few live objects; heap_sparsest() finds them so
 * that their owner can move the objects elsewhere.
 *
 * Not thread-safe: the caller's lock. The budget is shared by several heaps and is atomic.
 */
#ifndef LEAP_TRANSPORT_LOOP_HEAP_H
#define LEAP_TRANSPORT_LOOP_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_CLASS_STEP   128
#define HEAP_SMALL_MAX    3072 /* larger objects take a whole page */
#define HEAP_CLASS_PAGE   (HEAP_SMALL_MAX / HEAP_CLASS_STEP)
#define HEAP_CLASSES      (HEAP_CLASS_PAGE + 1)
#define HEAP_BLOCK_BYTES  ((size_t)64 << 10)
#define HEAP_OBJECTS_MAX  (HEAP_BLOCK_BYTES / HEAP_CLASS_STEP)
#define HEAP_ARENA_BYTES  ((size_t)16 << 20)
#define HEAP_ARENA_BLOCKS (HEAP_ARENA_BYTES / HEAP_BLOCK_BYTES)

/* Resident bytes of all heaps together; max 0 = no bound. */
struct heap_budget {
	uint64_t bytes, bytes_max;
};

/* Takes bytes out of the budget; false when they do not fit. */
bool heap_charge(struct heap_budget *budget, uint64_t bytes);
void heap_uncharge(struct heap_budget *budget, uint64_t bytes);

/*
 * A block is in exactly one of these states:
 *   unused   bit set in the arena's free mask; no page resident, in no list
 *   warm     empty, pages still resident; in heap->warm
 *   partial  has live and free objects; in heap->partial[class], fuller ones at the head
 *   full     in no list
 */
struct heap_block {
	uint64_t live[HEAP_OBJECTS_MAX / 64];
	struct heap_block *next, *prev;
	uint16_t used;     /* live objects */
	uint16_t resident; /* mask of the block's pages */
	uint8_t class;
	bool pinned; /* being emptied: takes no new objects, and is in no list */
};

struct heap_list {
	struct heap_block *head, *tail;
};

struct heap_arena;

struct heap {
	struct heap_budget *budget;
	struct heap_list partial[HEAP_CLASSES];
	struct heap_list warm;
	unsigned warm_count;
	struct heap_arena *arenas;      /* all */
	struct heap_arena *arenas_free; /* those with unused blocks */
	uint64_t resident_bytes;
	uint64_t used_bytes; /* of live objects, with rounding up to their class */
};

void heap_init(struct heap *heap, struct heap_budget *budget);
/* Unmaps everything, live or not. */
void heap_destroy(struct heap *heap);

/* An object of at least `bytes` (1..4096) bytes, not zeroed; whole pages are aligned. NULL: does not fit. */
void *heap_alloc(struct heap *heap, size_t bytes);
void heap_free(struct heap *heap, void *object);
/* Usable bytes. */
size_t heap_capacity(const void *object);

/* Returns resident pages without live objects, of whole-page blocks. */
void heap_trim(struct heap *heap);
/* The block with the fewest live objects, if moving them would free most of its memory; pinned, so that heap_alloc()
 * does not use it. NULL when there is none. */
struct heap_block *heap_sparsest(struct heap *heap);
/* Next live object at or after *cursor (starts as 0); NULL behind the last. */
void *heap_next_live(const struct heap_block *block, unsigned *cursor);
/* Ends heap_sparsest(): the block is freed if it is empty, otherwise it may be used again. */
void heap_unpin(struct heap *heap, struct heap_block *block);

#endif
