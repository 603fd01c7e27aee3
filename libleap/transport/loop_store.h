/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_store.h - pages kept small: same-filled for nothing, compressed by lz4, whole where that
 * does not gain.
 *
 * Each slab has a *table*: for each page what is stored (meta) and where (word). Objects come from
 * one of STORE_SHARDS heaps, chosen by slab and page group, each with a lock: writes of different
 * groups run in parallel, and compression runs outside the lock.
 *
 * Reads take no lock. The caller promises that a page is not read while it is written; but the
 * store moves compressed objects by itself, to free blocks that have few of them left. A mover
 * copies, switches the table's word, and frees the old place only after every reader that was
 * under way has finished (each lane is a reader and says so in `reading`). Whole pages never move:
 * peek pointers to them stay valid.
 */
#ifndef LEAP_TRANSPORT_LOOP_STORE_H
#define LEAP_TRANSPORT_LOOP_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libleap/lock.h"
#include "libleap/transport/loop_heap.h"
#include "libleap/transport/transport.h"

#define STORE_SHARDS 4

/* What meta says: kind in the low two bits, length above them. An untouched table reads as zeroes. */
enum store_kind {
	STORE_SAME,  /* every word of the page equals `word` */
	STORE_WHOLE, /* word points to the page */
	STORE_LZ4,   /* word points to an object: head and compressed bytes */
};

struct store_table {
	uint32_t number; /* of the slab */
	uint64_t word[LEAP_SLAB_PAGES];
	uint16_t meta[LEAP_SLAB_PAGES];
};

/* One thread's use of the store: a lane. */
struct store_user {
	struct store_user *next;
	uint32_t reading;            /* odd while a read is under way */
	void *lz4;                   /* compressor state */
	uint8_t out[HEAP_SMALL_MAX]; /* object being made */
};

struct store_shard {
	struct lock lock;
	struct heap heap;
	uint64_t frees; /* bytes freed since objects were last moved */
};

struct store {
	struct heap_budget budget;
	struct store_table **tables; /* by slab number; the caller's */
	struct store_shard shards[STORE_SHARDS];
	struct lock users_lock;
	struct store_user *users;
};

void store_init(struct store *store, uint64_t bytes_max, struct store_table **tables);
/* All users are closed; tables are the caller's. */
void store_destroy(struct store *store);

/* -ENOMEM with a sentence. */
int store_user_open(struct store *store, struct store_user *user);
void store_user_close(struct store *store, struct store_user *user);

/* 0, or -ENOSPC when the budget is used up: the page then keeps its former content. */
int store_write(struct store *store, struct store_user *user, struct store_table *table,
		uint32_t page, const void *bytes);
/* 0, or -EIO when the stored bytes are damaged. */
int store_read(struct store_user *user, struct store_table *table, uint32_t page, void *bytes);
/* Where the page stands uncompressed, or NULL. */
const void *store_peek(const struct store_table *table, uint32_t page);
/* Frees all objects of a table. */
void store_forget(struct store *store, struct store_table *table);

/* True if all words of a page are equal. */
bool store_same_filled(const void *page);

#endif
