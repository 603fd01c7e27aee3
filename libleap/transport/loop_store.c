/* SPDX-License-Identifier: Apache-2.0 */
/* loop_store.c - see loop_store.h. */
#include "libleap/transport/loop_store.h"

#include <errno.h>
#include <lz4.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#define PAGE_WORDS  (LEAP_PAGE_BYTES / sizeof(uint64_t))
#define GROUP_SHIFT 6 /* pages of one group share a heap: they travel in one request */

/* Objects are moved when so many bytes were freed, and free memory inside blocks is both more than this and a
 * quarter of what is used. */
#define MOVE_BYTES ((uint64_t)1 << 20)
/* Most blocks emptied at a time: a writer waits for it. */
#define MOVE_BLOCKS 16

/* In front of a compressed page: whose it is, for the mover. */
struct object_head {
	uint32_t slab;
	uint16_t page;
	uint16_t bytes; /* compressed, without the head */
};

#define LZ4_MAX (HEAP_SMALL_MAX - (int)sizeof(struct object_head))

_Static_assert(LEAP_SLAB_PAGES <= 1 << 16, "object_head.page has 16 bits");

static const uint64_t zero_page[PAGE_WORDS] __attribute__((aligned(4096)));

static uint16_t meta_make(enum store_kind kind, size_t bytes)
{
	return (uint16_t)(bytes << 2 | kind);
}

static enum store_kind meta_kind(uint16_t meta)
{
	return (enum store_kind)(meta & 3);
}

static struct store_shard *shard_of(struct store *store, const struct store_table *table,
				    uint32_t page)
{
	return &store->shards[(table->number + (page >> GROUP_SHIFT)) % STORE_SHARDS];
}

void store_init(struct store *store, uint64_t bytes_max, struct store_table **tables)
{
	memset(store, 0, sizeof(*store));
	store->budget.bytes_max = bytes_max;
	store->tables = tables;
	for (unsigned i = 0; i < STORE_SHARDS; i++) {
		lock_init(&store->shards[i].lock, LOCK_RANK_STORE, i);
		heap_init(&store->shards[i].heap, &store->budget);
	}
	lock_init(&store->users_lock, LOCK_RANK_STORE, STORE_SHARDS);
}

void store_destroy(struct store *store)
{
	for (unsigned i = 0; i < STORE_SHARDS; i++)
		heap_destroy(&store->shards[i].heap);
}

int store_user_open(struct store *store, struct store_user *user)
{
	user->reading = 0;
	user->lz4 = mem_alloc((size_t)LZ4_sizeofState());
	if (!user->lz4)
		return error_set(ENOMEM, "out of memory for the compressor of the loop: donor");
	lock_acquire(&store->users_lock);
	user->next = store->users;
	store->users = user;
	lock_release(&store->users_lock);
	return 0;
}

void store_user_close(struct store *store, struct store_user *user)
{
	struct store_user **at = &store->users;

	lock_acquire(&store->users_lock);
	while (*at != user)
		at = &(*at)->next;
	*at = user->next;
	lock_release(&store->users_lock);
	mem_free(user->lz4);
}

bool store_same_filled(const void *page)
{
	const uint64_t *w = page;
	uint64_t first = w[0];

	if (w[PAGE_WORDS - 1] != first)
		return false;
	for (size_t i = 0; i < PAGE_WORDS; i += 8) {
		if ((w[i] ^ first) | (w[i + 1] ^ first) | (w[i + 2] ^ first) | (w[i + 3] ^ first) |
		    (w[i + 4] ^ first) | (w[i + 5] ^ first) | (w[i + 6] ^ first) |
		    (w[i + 7] ^ first))
			return false;
	}
	return true;
}

/*
 * Moving
 */

/* Returns when every read that was under way at the call has ended. */
static void wait_for_readers(struct store *store)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	lock_acquire(&store->users_lock);
	for (struct store_user *u = store->users; u; u = u->next) {
		uint32_t seen = __atomic_load_n(&u->reading, __ATOMIC_ACQUIRE);

		while (seen & 1 && __atomic_load_n(&u->reading, __ATOMIC_ACQUIRE) == seen)
			syscall(SYS_sched_yield);
	}
	lock_release(&store->users_lock);
}

/* Copies the objects of a pinned block to other blocks. False when one did not find a place. */
static bool copy_out(struct store *store, struct store_shard *shard, struct heap_block *block,
		     void **old, unsigned *count)
{
	struct object_head *from, *to;
	unsigned cursor = 0;

	while ((from = heap_next_live(block, &cursor))) {
		to = heap_alloc(&shard->heap, sizeof(*from) + from->bytes);
		if (!to)
			return false;
		memcpy(to, from, sizeof(*from) + from->bytes);
		__atomic_store_n(&store->tables[from->slab]->word[from->page], (uintptr_t)to,
				 __ATOMIC_RELEASE);
		old[(*count)++] = from;
	}
	return true;
}

/* Empties blocks that have few objects left. Shard lock held. */
static void move_objects(struct store *store, struct store_shard *shard)
{
	struct heap_block *blocks[MOVE_BLOCKS];
	void *old[HEAP_OBJECTS_MAX];
	unsigned n = 0, count;

	shard->frees = 0;
	heap_trim(&shard->heap);
	while (n < MOVE_BLOCKS && (blocks[n] = heap_sparsest(&shard->heap))) {
		bool all;

		count = 0;
		all = copy_out(store, shard, blocks[n], old, &count);
		wait_for_readers(store);
		for (unsigned i = 0; i < count; i++)
			heap_free(&shard->heap, old[i]);
		heap_unpin(&shard->heap, blocks[n]);
		if (!all)
			break;
		n++;
	}
}

static void move_if_worth(struct store *store, struct store_shard *shard)
{
	const struct heap *heap = &shard->heap;
	uint64_t slack = heap->resident_bytes - heap->used_bytes;

	if (shard->frees >= MOVE_BYTES && slack > MOVE_BYTES && slack > heap->used_bytes / 4)
		move_objects(store, shard);
}

/*
 * Writing
 */
static void free_old(struct store_shard *shard, uint64_t word, uint16_t meta)
{
	if (meta_kind(meta) == STORE_SAME)
		return;
	shard->frees += heap_capacity((void *)(uintptr_t)word);
	heap_free(&shard->heap, (void *)(uintptr_t)word);
}

static void write_same(struct store *store, struct store_table *table, uint32_t page, uint64_t word)
{
	struct store_shard *shard = shard_of(store, table, page);
	uint16_t meta = table->meta[page];
	uint64_t old;

	if (meta_kind(meta) == STORE_SAME && table->word[page] == word)
		return; /* an untouched table stays so */
	lock_acquire(&shard->lock);
	old = table->word[page];
	table->meta[page] = meta_make(STORE_SAME, 0);
	__atomic_store_n(&table->word[page], word, __ATOMIC_RELAXED);
	free_old(shard, old, meta);
	move_if_worth(store, shard);
	lock_release(&shard->lock);
}

/* An object for so many bytes: the old one if it is of a fitting size, otherwise a new one. */
static void *take_object(struct store *store, struct store_shard *shard, uint64_t word,
			 uint16_t meta, size_t bytes)
{
	void *old = meta_kind(meta) == STORE_SAME ? NULL : (void *)(uintptr_t)word, *object;
	size_t capacity = old ? heap_capacity(old) : 0;

	if (capacity >= bytes && capacity < bytes + HEAP_CLASS_STEP)
		return old;
	if (capacity == LEAP_PAGE_BYTES && bytes > HEAP_SMALL_MAX)
		return old;
	object = heap_alloc(&shard->heap, bytes);
	if (!object) {
		move_objects(store, shard);
		object = heap_alloc(&shard->heap, bytes);
	}
	return object;
}

static int write_object(struct store *store, struct store_table *table, uint32_t page,
			enum store_kind kind, const void *from, size_t bytes)
{
	struct store_shard *shard = shard_of(store, table, page);
	uint64_t old;
	uint16_t meta;
	void *object;

	lock_acquire(&shard->lock);
	meta = table->meta[page];
	object = take_object(store, shard, table->word[page], meta, bytes);
	old = table->word[page]; /* may have been moved meanwhile */
	if (!object) {
		lock_release(&shard->lock);
		return -ENOSPC;
	}
	memcpy(object, from, bytes);
	table->meta[page] = meta_make(kind, kind == STORE_LZ4 ? bytes : 0);
	__atomic_store_n(&table->word[page], (uintptr_t)object, __ATOMIC_RELEASE);
	if ((void *)(uintptr_t)old != object) {
		free_old(shard, old, meta);
		move_if_worth(store, shard);
	}
	lock_release(&shard->lock);
	return 0;
}

int store_write(struct store *store, struct store_user *user, struct store_table *table,
		uint32_t page, const void *bytes)
{
	struct object_head *head = (struct object_head *)user->out;
	int n;

	if (store_same_filled(bytes)) {
		write_same(store, table, page, *(const uint64_t *)bytes);
		return 0;
	}
	n = LZ4_compress_fast_extState(user->lz4, bytes, (char *)(head + 1), LEAP_PAGE_BYTES,
				       LZ4_MAX, 1);
	if (n <= 0)
		return write_object(store, table, page, STORE_WHOLE, bytes, LEAP_PAGE_BYTES);
	head->slab = table->number;
	head->page = (uint16_t)page;
	head->bytes = (uint16_t)n;
	return write_object(store, table, page, STORE_LZ4, head, sizeof(*head) + (size_t)n);
}

/*
 * Reading
 */
static void fill_page(uint64_t *to, uint64_t word)
{
	if (!word) {
		memset(to, 0, LEAP_PAGE_BYTES);
		return;
	}
	for (size_t i = 0; i < PAGE_WORDS; i++)
		to[i] = word;
}

static int read_lz4(struct store_user *user, const struct store_table *table, uint32_t page,
		    void *bytes)
{
	const struct object_head *head;
	int n;

	__atomic_store_n(&user->reading, user->reading + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	head = (const void *)(uintptr_t)__atomic_load_n(&table->word[page], __ATOMIC_ACQUIRE);
	n = LZ4_decompress_safe((const char *)(head + 1), bytes, head->bytes, LEAP_PAGE_BYTES);
	__atomic_store_n(&user->reading, user->reading + 1, __ATOMIC_RELEASE);
	return n == LEAP_PAGE_BYTES ? 0 : -EIO;
}

int store_read(struct store_user *user, struct store_table *table, uint32_t page, void *bytes)
{
	switch (meta_kind(table->meta[page])) {
	case STORE_SAME:
		fill_page(bytes, table->word[page]);
		return 0;
	case STORE_WHOLE:
		memcpy(bytes, (const void *)(uintptr_t)table->word[page], LEAP_PAGE_BYTES);
		return 0;
	case STORE_LZ4:
		return read_lz4(user, table, page, bytes);
	}
	return -EIO;
}

const void *store_peek(const struct store_table *table, uint32_t page)
{
	switch (meta_kind(table->meta[page])) {
	case STORE_WHOLE:
		return (const void *)(uintptr_t)table->word[page];
	case STORE_SAME:
		return table->word[page] ? NULL : zero_page;
	default:
		return NULL;
	}
}

void store_forget(struct store *store, struct store_table *table)
{
	for (uint32_t page = 0; page < LEAP_SLAB_PAGES; page++) {
		struct store_shard *shard = shard_of(store, table, page);

		if (meta_kind(table->meta[page]) == STORE_SAME)
			continue;
		lock_acquire(&shard->lock);
		free_old(shard, table->word[page], table->meta[page]);
		table->meta[page] = meta_make(STORE_SAME, 0);
		move_if_worth(store, shard);
		lock_release(&shard->lock);
	}
}
