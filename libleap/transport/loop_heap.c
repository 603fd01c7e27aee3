/* SPDX-License-Identifier: Apache-2.0 */
/* loop_heap.c - see loop_heap.h. */
#include "libleap/transport/loop_heap.h"

#include <string.h>

#include "libleap/util/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define BLOCK_PAGES ((unsigned)(HEAP_BLOCK_BYTES / LEAP_PAGE_BYTES))
#define STEP_PAGES  4u /* made resident together: one system call in place of four page faults */
#define WARM_MAX    4u
/* Free memory inside blocks that is not worth an effort. */
#define SLACK_BYTES ((uint64_t)256 << 10)

/* First bytes of an arena; block 0 is its home and never handed out. */
struct heap_arena {
	struct heap_arena *next, *prev;           /* all */
	struct heap_arena *next_free, *prev_free; /* those with unused blocks */
	uint64_t unused[HEAP_ARENA_BLOCKS / 64];  /* mask */
	uint32_t unused_count;
	struct heap_block blocks[HEAP_ARENA_BLOCKS];
};

_Static_assert(sizeof(struct heap_arena) <= HEAP_BLOCK_BYTES, "the header must fit its block");
_Static_assert(BLOCK_PAGES == 16, "struct heap_block.resident has 16 bits");

bool heap_charge(struct heap_budget *budget, uint64_t bytes)
{
	uint64_t now = __atomic_add_fetch(&budget->bytes, bytes, __ATOMIC_RELAXED);

	if (!budget->bytes_max || now <= budget->bytes_max)
		return true;
	heap_uncharge(budget, bytes);
	return false;
}

void heap_uncharge(struct heap_budget *budget, uint64_t bytes)
{
	__atomic_sub_fetch(&budget->bytes, bytes, __ATOMIC_RELAXED);
}

static size_t class_bytes(unsigned class)
{
	return class == HEAP_CLASS_PAGE ? LEAP_PAGE_BYTES : (class + 1) * HEAP_CLASS_STEP;
}

static unsigned class_objects(unsigned class)
{
	return (unsigned)(HEAP_BLOCK_BYTES / class_bytes(class));
}

static struct heap_arena *arena_of(const void *p)
{
	return (struct heap_arena *)((uintptr_t)p & ~(HEAP_ARENA_BYTES - 1));
}

static struct heap_block *block_of(const void *object)
{
	struct heap_arena *arena = arena_of(object);

	return &arena->blocks[((uintptr_t)object - (uintptr_t)arena) / HEAP_BLOCK_BYTES];
}

static char *block_base(const struct heap_block *block)
{
	struct heap_arena *arena = arena_of(block);

	return (char *)arena + (size_t)(block - arena->blocks) * HEAP_BLOCK_BYTES;
}

/*
 * Lists
 */
static void list_add(struct heap_list *list, struct heap_block *block, bool at_head)
{
	block->next = at_head ? list->head : NULL;
	block->prev = at_head ? NULL : list->tail;
	if (block->next)
		block->next->prev = block;
	else
		list->tail = block;
	if (block->prev)
		block->prev->next = block;
	else
		list->head = block;
}

static void list_remove(struct heap_list *list, struct heap_block *block)
{
	if (block->next)
		block->next->prev = block->prev;
	else
		list->tail = block->prev;
	if (block->prev)
		block->prev->next = block->next;
	else
		list->head = block->next;
	block->next = block->prev = NULL;
}

/*
 * Arenas
 */
static void arena_list_free(struct heap *heap, struct heap_arena *arena)
{
	arena->prev_free = NULL;
	arena->next_free = heap->arenas_free;
	if (arena->next_free)
		arena->next_free->prev_free = arena;
	heap->arenas_free = arena;
}

static void arena_unlist_free(struct heap *heap, struct heap_arena *arena)
{
	if (arena->next_free)
		arena->next_free->prev_free = arena->prev_free;
	if (arena->prev_free)
		arena->prev_free->next_free = arena->next_free;
	else
		heap->arenas_free = arena->next_free;
}

/* Maps an aligned arena. Huge pages would make memory resident that nobody counted. */
static struct heap_arena *arena_map(void)
{
	char *p, *base;

	p = sys_mmap(NULL, 2 * HEAP_ARENA_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, NULL);
	if (!p)
		return NULL;
	base = (char *)(((uintptr_t)p + HEAP_ARENA_BYTES - 1) & ~(HEAP_ARENA_BYTES - 1));
	if (base > p)
		sys_munmap(p, (size_t)(base - p));
	if (base < p + HEAP_ARENA_BYTES)
		sys_munmap(base + HEAP_ARENA_BYTES, (size_t)(p + HEAP_ARENA_BYTES - base));
	sys_madvise(base, HEAP_ARENA_BYTES, MADV_NOHUGEPAGE);
	sys_madvise(base, HEAP_ARENA_BYTES, MADV_DONTDUMP);
	return (struct heap_arena *)base;
}

static struct heap_arena *arena_new(struct heap *heap)
{
	struct heap_arena *arena = arena_map();

	if (!arena)
		return NULL;
	memset(arena->unused, 0xff, sizeof(arena->unused));
	arena->unused[0] &= ~1ull;
	arena->unused_count = HEAP_ARENA_BLOCKS - 1;
	arena->next = heap->arenas;
	if (arena->next)
		arena->next->prev = arena;
	heap->arenas = arena;
	arena_list_free(heap, arena);
	return arena;
}

static void arena_delete(struct heap *heap, struct heap_arena *arena)
{
	arena_unlist_free(heap, arena);
	if (arena->next)
		arena->next->prev = arena->prev;
	if (arena->prev)
		arena->prev->next = arena->next;
	else
		heap->arenas = arena->next;
	sys_munmap(arena, HEAP_ARENA_BYTES);
}

static struct heap_block *arena_take_block(struct heap *heap)
{
	struct heap_arena *arena = heap->arenas_free;
	unsigned i = 0;

	if (!arena)
		arena = arena_new(heap);
	if (!arena)
		return NULL;
	while (!arena->unused[i])
		i++;
	i = i * 64 + (unsigned)__builtin_ctzll(arena->unused[i]);
	arena->unused[i / 64] &= ~(1ull << i % 64);
	if (!--arena->unused_count)
		arena_unlist_free(heap, arena);
	return &arena->blocks[i];
}

static void arena_put_block(struct heap *heap, struct heap_block *block)
{
	struct heap_arena *arena = arena_of(block);
	unsigned i = (unsigned)(block - arena->blocks);

	arena->unused[i / 64] |= 1ull << i % 64;
	if (!arena->unused_count++)
		arena_list_free(heap, arena);
	/* one spare arena is kept */
	if (arena->unused_count == HEAP_ARENA_BLOCKS - 1 && (arena->next_free || arena->prev_free))
		arena_delete(heap, arena);
}

/*
 * Pages of a block
 */
static bool charge_pages(struct heap *heap, unsigned mask)
{
	uint64_t bytes = (uint64_t)__builtin_popcount(mask) * LEAP_PAGE_BYTES;

	if (!heap_charge(heap->budget, bytes))
		return false;
	heap->resident_bytes += bytes;
	return true;
}

static void drop_pages(struct heap *heap, struct heap_block *block, unsigned mask)
{
	uint64_t bytes = (uint64_t)__builtin_popcount(mask) * LEAP_PAGE_BYTES;

	while (mask) {
		unsigned first = (unsigned)__builtin_ctz(mask);
		unsigned n = (unsigned)__builtin_ctz(~(mask >> first));

		sys_madvise(block_base(block) + first * LEAP_PAGE_BYTES, n * LEAP_PAGE_BYTES,
			    MADV_DONTNEED);
		mask &= ~(((1u << n) - 1) << first);
		block->resident &= (uint16_t) ~(((1u << n) - 1) << first);
	}
	heap_uncharge(heap->budget, bytes);
	heap->resident_bytes -= bytes;
}

/* The pages that object i of the block lies on. */
static unsigned object_pages(const struct heap_block *block, unsigned i)
{
	size_t size = class_bytes(block->class);
	unsigned first = (unsigned)(i * size / LEAP_PAGE_BYTES);
	unsigned last = (unsigned)(((i + 1) * size - 1) / LEAP_PAGE_BYTES);

	return ((2u << last) - 1) & ~((1u << first) - 1);
}

/* Makes an object's pages resident, together with those around it if the budget allows. */
static bool fill_pages(struct heap *heap, struct heap_block *block, unsigned i)
{
	unsigned need = object_pages(block, i) & ~block->resident, more = need, first, last;

	if (!need)
		return true;
	for (unsigned p = 0; p < BLOCK_PAGES; p += STEP_PAGES) {
		unsigned step = ((1u << STEP_PAGES) - 1) << p;

		if (need & step)
			more |= step & ~(unsigned)block->resident;
	}
	if (charge_pages(heap, more))
		need = more;
	else if (!charge_pages(heap, need))
		return false;
	first = (unsigned)__builtin_ctz(need);
	last = 31 - (unsigned)__builtin_clz(need);
	/* best effort: an older kernel makes them resident at first touch */
	sys_madvise(block_base(block) + first * LEAP_PAGE_BYTES,
		    (last - first + 1) * LEAP_PAGE_BYTES, MADV_POPULATE_WRITE);
	block->resident |= (uint16_t)need;
	return true;
}

/*
 * Blocks
 */
static struct heap_block *block_new(struct heap *heap, unsigned class)
{
	struct heap_block *block = heap->warm.head;

	if (block) {
		list_remove(&heap->warm, block);
		heap->warm_count--;
	} else {
		block = arena_take_block(heap);
	}
	if (!block)
		return NULL;
	block->class = (uint8_t) class;
	list_add(&heap->partial[class], block, false);
	return block;
}

/* The block is empty and in no list. */
static void block_retire(struct heap *heap, struct heap_block *block)
{
	if (heap->warm_count < WARM_MAX) {
		list_add(&heap->warm, block, true);
		heap->warm_count++;
		return;
	}
	drop_pages(heap, block, block->resident);
	arena_put_block(heap, block);
}

/* Takes the first free object of a partial block; NULL when its page does not fit the budget. */
static void *block_take(struct heap *heap, struct heap_block *block)
{
	unsigned i = 0;

	while (!~block->live[i])
		i++;
	i = i * 64 + (unsigned)__builtin_ctzll(~block->live[i]);
	if (!fill_pages(heap, block, i))
		return NULL;
	block->live[i / 64] |= 1ull << i % 64;
	if (++block->used == class_objects(block->class))
		list_remove(&heap->partial[block->class], block);
	heap->used_bytes += class_bytes(block->class);
	return block_base(block) + i * class_bytes(block->class);
}

/* Gives the warm blocks of this heap back, so that the budget has room. */
static void drop_warm(struct heap *heap)
{
	struct heap_block *block;

	while ((block = heap->warm.head)) {
		list_remove(&heap->warm, block);
		heap->warm_count--;
		drop_pages(heap, block, block->resident);
		arena_put_block(heap, block);
	}
}

/*
 * Interface
 */
void heap_init(struct heap *heap, struct heap_budget *budget)
{
	memset(heap, 0, sizeof(*heap));
	heap->budget = budget;
}

void heap_destroy(struct heap *heap)
{
	struct heap_arena *arena, *next;

	for (arena = heap->arenas; arena; arena = next) {
		next = arena->next;
		sys_munmap(arena, HEAP_ARENA_BYTES);
	}
	heap_uncharge(heap->budget, heap->resident_bytes);
	heap_init(heap, heap->budget);
}

/* Larger objects that are free and resident. */
static void *take_larger(struct heap *heap, unsigned class)
{
	void *object = NULL;

	while (!object && ++class < HEAP_CLASSES) {
		if (heap->partial[class].head)
			object = block_take(heap, heap->partial[class].head);
	}
	return object;
}

void *heap_alloc(struct heap *heap, size_t bytes)
{
	unsigned class = bytes > HEAP_SMALL_MAX ? HEAP_CLASS_PAGE
						: (unsigned)((bytes - 1) / HEAP_CLASS_STEP);
	struct heap_block *block = heap->partial[class].head;
	void *object;

	if (!block &&
	    heap->resident_bytes - heap->used_bytes > heap->used_bytes / 4 + SLACK_BYTES) {
		object = take_larger(heap, class);
		if (object)
			return object;
	}
	if (!block)
		block = block_new(heap, class);
	object = block ? block_take(heap, block) : NULL;
	if (!object) {
		drop_warm(heap);
		if (block)
			object = block_take(heap, block);
	}
	if (block && !block->used) {
		list_remove(&heap->partial[class], block);
		drop_pages(heap, block, block->resident);
		arena_put_block(heap, block);
	}
	return object ? object : take_larger(heap, class);
}

void heap_free(struct heap *heap, void *object)
{
	struct heap_block *block = block_of(object);
	size_t size = class_bytes(block->class);
	unsigned i = (unsigned)((size_t)((char *)object - block_base(block)) / size);
	struct heap_list *list = &heap->partial[block->class];
	bool was_full = block->used == class_objects(block->class);

	block->live[i / 64] &= ~(1ull << i % 64);
	block->used--;
	heap->used_bytes -= size;
	if (block->pinned)
		return;
	if (!was_full)
		list_remove(list, block);
	if (!block->used)
		block_retire(heap, block);
	else /* fuller blocks are filled first, so that emptier ones get empty */
		list_add(list, block, block->used > class_objects(block->class) / 4 * 3);
}

size_t heap_capacity(const void *object)
{
	return class_bytes(block_of(object)->class);
}

void heap_trim(struct heap *heap)
{
	struct heap_block *block;

	for (block = heap->partial[HEAP_CLASS_PAGE].head; block; block = block->next)
		drop_pages(heap, block, block->resident & ~(unsigned)block->live[0]);
	drop_warm(heap);
}

struct heap_block *heap_sparsest(struct heap *heap)
{
	struct heap_block *best = NULL, *block;

	/* the tail of each list has its emptier blocks */
	for (unsigned class = 0; class < HEAP_CLASS_PAGE; class ++) {
		block = heap->partial[class].tail;
		if (!block || block == heap->partial[class].head ||
		    block->used > class_objects(class) / 2)
			continue;
		if (!best ||
		    block->used * class_bytes(class) < best->used * class_bytes(best->class))
			best = block;
	}
	if (best) {
		list_remove(&heap->partial[best->class], best);
		best->pinned = true;
	}
	return best;
}

void *heap_next_live(const struct heap_block *block, unsigned *cursor)
{
	while (*cursor < HEAP_OBJECTS_MAX) {
		uint64_t word = block->live[*cursor / 64] >> *cursor % 64;
		unsigned i;

		if (!word) {
			*cursor = (*cursor / 64 + 1) * 64;
			continue;
		}
		i = *cursor + (unsigned)__builtin_ctzll(word);
		*cursor = i + 1;
		return block_base(block) + i * class_bytes(block->class);
	}
	return NULL;
}

void heap_unpin(struct heap *heap, struct heap_block *block)
{
	block->pinned = false;
	if (!block->used)
		block_retire(heap, block);
	else
		list_add(&heap->partial[block->class], block, false);
}
