/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/transport/loop_store.c libleap/transport/loop_heap.c libleap/error.c libleap/lock.c libleap/log.c libleap/util/mem.c libleap/util/fmt.c */
/*
 * The loop store: every kind of page comes back as it went in, same-filled ones cost nothing, the bound holds and
 * leaves former content alone, damage is noticed, and objects are moved under the feet of readers.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "libleap/transport/loop_store.h"
#include "libleap/util/mem.h"

#define PAGE  4096
#define SLABS 2

static struct store store;
static struct store_user user;
static struct store_table *tables[SLABS];

static int set_up_bound(uint64_t bytes_max)
{
	for (uint32_t i = 0; i < SLABS; i++) {
		tables[i] = mem_map_sparse(sizeof(*tables[i]));
		assert_non_null(tables[i]);
		tables[i]->number = i;
	}
	store_init(&store, bytes_max, tables);
	return store_user_open(&store, &user);
}

static int set_up(void **state)
{
	return set_up_bound(0);
}

static int set_up_bounded(void **state)
{
	return set_up_bound(1 << 20);
}

static int tear_down(void **state)
{
	store_user_close(&store, &user);
	assert_null(store.users);
	for (int i = 0; i < SLABS; i++) {
		store_forget(&store, tables[i]);
		mem_unmap(tables[i], sizeof(*tables[i]));
	}
	for (int i = 0; i < STORE_SHARDS; i++)
		assert_int_equal(store.shards[i].heap.used_bytes, 0);
	store_destroy(&store);
	assert_int_equal(store.budget.bytes, 0);
	return 0;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x7fb5d329728ea185ull;
	x = (x ^ x >> 27) * 0x81dadef4bc2dd44dull;
	return x ^ x >> 33;
}

/* A page made of seed, of which about `percent` compresses away. */
static void make_page(uint8_t *to, uint64_t seed, unsigned percent)
{
	uint64_t *w = (uint64_t *)to;

	for (unsigned i = 0; i < PAGE / 8; i++)
		w[i] = mix(seed * 1000 + i) % 100 < percent ? seed : mix(seed ^ (uint64_t)i << 40);
}

static void fill_words(uint8_t *to, uint64_t word)
{
	for (unsigned i = 0; i < PAGE / 8; i++)
		((uint64_t *)to)[i] = word;
}

static void check(uint32_t slab, uint32_t page, const uint8_t *expected)
{
	uint8_t got[PAGE];

	memset(got, 0x5a, sizeof(got));
	assert_int_equal(store_read(&user, tables[slab], page, got), 0);
	assert_memory_equal(got, expected, PAGE);
}

static void write_page(uint32_t slab, uint32_t page, const uint8_t *bytes)
{
	assert_int_equal(store_write(&store, &user, tables[slab], page, bytes), 0);
}

static enum store_kind kind_of(uint32_t slab, uint32_t page)
{
	return (enum store_kind)(tables[slab]->meta[page] & 3);
}

static void test_same_filled(void **state)
{
	uint8_t page[PAGE] __attribute__((aligned(8)));

	for (unsigned odd = 0; odd < PAGE; odd++) {
		fill_words(page, 0x1111111111111111);
		assert_true(store_same_filled(page));
		page[odd] ^= 0x40;
		assert_false(store_same_filled(page));
	}
	fill_words(page, 0x0123456789abcdef);
	assert_true(store_same_filled(page));
}

static void test_untouched_reads_as_zeroes(void **state)
{
	static const uint8_t zero[PAGE];

	check(0, 0, zero);
	check(1, LEAP_SLAB_PAGES - 1, zero);
	assert_memory_equal(store_peek(tables[0], 5), zero, PAGE);
}

static void test_same_filled_costs_nothing(void **state)
{
	uint8_t page[PAGE];

	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i += 7) {
		fill_words(page, i * 0x9e3779b97f4a7c15ull);
		write_page(0, i, page);
	}
	assert_int_equal(store.budget.bytes, 0);
	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i += 7) {
		fill_words(page, i * 0x9e3779b97f4a7c15ull);
		check(0, i, page);
		assert_int_equal(kind_of(0, i), STORE_SAME);
		assert_int_equal(store_peek(tables[0], i) != NULL, i == 0);
	}
}

static void test_kinds(void **state)
{
	uint8_t random[PAGE], text[PAGE];

	make_page(random, 1, 0);
	make_page(text, 2, 80);
	write_page(0, 1, random);
	assert_int_equal(kind_of(0, 1), STORE_WHOLE);
	check(0, 1, random);
	assert_memory_equal(store_peek(tables[0], 1), random, PAGE);
	assert_int_equal((uintptr_t)store_peek(tables[0], 1) % PAGE, 0);
	write_page(1, 1, text);
	assert_int_equal(kind_of(1, 1), STORE_LZ4);
	assert_null(store_peek(tables[1], 1));
	check(1, 1, text);
	check(0, 1, random);
}

/* Every kind over every kind; a page of the same size stays where it is. */
static void test_overwrite(void **state)
{
	static const unsigned percents[] = {0, 20, 60, 95, 100};
	uint8_t first[PAGE], second[PAGE], neighbour[PAGE];
	const void *at;

	make_page(neighbour, 99, 50);
	write_page(0, 8, neighbour);
	for (unsigned from = 0; from < 5; from++)
		for (unsigned to = 0; to < 5; to++) {
			make_page(first, 3, percents[from]);
			make_page(second, 4, percents[to]);
			write_page(0, 7, first);
			check(0, 7, first);
			write_page(0, 7, second);
			check(0, 7, second);
			check(0, 8, neighbour);
		}
	/* a smaller one takes less memory */
	make_page(first, 5, 0);
	make_page(second, 6, 95);
	write_page(0, 7, first);
	write_page(0, 7, second);
	assert_true(heap_capacity((void *)(uintptr_t)tables[0]->word[7]) < PAGE / 2);
	make_page(second, 6, 0);
	write_page(0, 7, first);
	at = store_peek(tables[0], 7);
	write_page(0, 7, second);
	assert_ptr_equal(store_peek(tables[0], 7), at);
	assert_memory_equal(at, second, PAGE);
}

/* Sizes around every class: compressed bytes of all lengths come back. */
static void test_all_lengths(void **state)
{
	uint8_t page[PAGE];
	unsigned lz4 = 0;

	for (unsigned n = 1; n < PAGE; n++) {
		memset(page, 0, sizeof(page));
		for (unsigned i = 0; i < n; i++)
			page[i] = (uint8_t)mix(n * 5000ull + i);
		write_page(0, n, page);
		lz4 += kind_of(0, n) == STORE_LZ4;
	}
	assert_true(lz4 > HEAP_SMALL_MAX - 200 && lz4 < HEAP_SMALL_MAX);
	for (unsigned n = 1; n < PAGE; n++) {
		memset(page, 0, sizeof(page));
		for (unsigned i = 0; i < n; i++)
			page[i] = (uint8_t)mix(n * 5000ull + i);
		check(0, n, page);
	}
}

static void test_damage_is_noticed(void **state)
{
	uint8_t page[PAGE], *object;
	uint16_t length;

	make_page(page, 2, 80);
	write_page(0, 3, page);
	assert_int_equal(kind_of(0, 3), STORE_LZ4);
	object = (uint8_t *)(uintptr_t)tables[0]->word[3];
	memcpy(&length, object + 6, sizeof(length)); /* what object_head says */
	length /= 2;
	memcpy(object + 6, &length, sizeof(length));
	assert_int_equal(store_read(&user, tables[0], 3, page), -EIO);
	assert_int_equal(user.reading % 2, 0); /* the read has ended, though */
	tables[0]->meta[4] = 3;                /* no such kind */
	assert_int_equal(store_read(&user, tables[0], 4, page), -EIO);
	tables[0]->meta[4] = STORE_SAME;
}

/* Full: -ENOSPC, and what was there stays, until something is given up. */
static void test_bound(void **state)
{
	uint8_t page[PAGE], text[PAGE];
	uint32_t n = 0;

	for (;; n++) {
		make_page(page, n, 0);
		if (store_write(&store, &user, tables[0], n, page))
			break;
	}
	/* nearly all of it is used; shards take pages by fours */
	assert_in_range(n, (1 << 20) / PAGE - 4 * STORE_SHARDS, (1 << 20) / PAGE);
	assert_true(store.budget.bytes <= 1 << 20);
	make_page(page, 1000, 0);
	assert_int_equal(store_write(&store, &user, tables[0], n, page), -ENOSPC);
	for (uint32_t i = 0; i < n; i++) {
		make_page(page, i, 0);
		check(0, i, page);
	}
	/* over what is there: no memory is needed; same-filled pages always go */
	make_page(page, 2000, 0);
	write_page(0, 5, page);
	check(0, 5, page);
	fill_words(page, 77);
	for (uint32_t i = 10; i < 20; i++)
		write_page(0, i, page);
	check(0, 15, page);
	/* ten pages were given up, in one shard: there it goes on */
	make_page(text, 3, 60);
	for (uint32_t i = 20; i < 40; i++)
		write_page(0, i, text);
	check(0, 39, text);
	check(0, 15, page);
	assert_true(store.budget.bytes <= 1 << 20);
}

static void test_refused_write_keeps_content(void **state)
{
	uint8_t text[PAGE], page[PAGE];

	make_page(text, 1, 90);
	write_page(1, 0, text);
	make_page(page, 2, 0);
	for (uint32_t group = 0; group < STORE_SHARDS; group++) { /* until each shard is full */
		uint32_t i = group * 64;

		while (!store_write(&store, &user, tables[0], i, page))
			i += i % 64 < 63 ? 1 : 64 * STORE_SHARDS - 63;
	}
	assert_int_equal(store_write(&store, &user, tables[1], 0, page), -ENOSPC);
	assert_int_equal(kind_of(1, 0), STORE_LZ4);
	check(1, 0, text);
	fill_words(page, 5);
	write_page(1, 0, page);
	check(1, 0, page);
}

static void test_forget(void **state)
{
	uint8_t page[PAGE];

	for (uint32_t i = 0; i < 1000; i++) {
		make_page(page, i, i % 100);
		write_page(i % 2, i, page);
	}
	store_forget(&store, tables[0]);
	for (uint32_t i = 0; i < 1000; i++) {
		if (i % 2 == 0)
			assert_int_equal(kind_of(0, i), STORE_SAME);
		make_page(page, i, i % 100);
		if (i % 2)
			check(1, i, page);
	}
	store_forget(&store, tables[1]);
	for (int i = 0; i < STORE_SHARDS; i++)
		assert_int_equal(store.shards[i].heap.used_bytes, 0);
}

/* Memory comes back though the pages that stay are spread over all blocks. */
static void test_moving_gives_memory_back(void **state)
{
	uint64_t full, kept = 0;
	uint8_t page[PAGE];

	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i++) {
		make_page(page, i, 70);
		write_page(0, i, page);
	}
	full = store.budget.bytes;
	fill_words(page, 0);
	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i++)
		if (i % 16)
			write_page(0, i, page);
	for (int i = 0; i < STORE_SHARDS; i++)
		kept += store.shards[i].heap.used_bytes;
	assert_true(kept < full / 10);
	assert_true(store.budget.bytes < full / 3);
	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i += 16) {
		make_page(page, i, 70);
		check(0, i, page);
	}
}

/*
 * Readers of stable pages, while a writer makes the store move them about.
 */
static int stop, wrong;

static void *reader(void *arg)
{
	struct store_user *me = arg;
	uint8_t got[PAGE], expected[PAGE];
	uint64_t n = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		uint32_t i = (uint32_t)(mix(++n) % (LEAP_SLAB_PAGES / 16)) * 16;

		make_page(expected, i, 70);
		if (store_read(me, tables[0], i, got) || memcmp(got, expected, PAGE))
			__atomic_store_n(&wrong, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void test_readers_while_moving(void **state)
{
	static struct store_user readers[2];
	pthread_t threads[2];
	uint8_t page[PAGE], zero[PAGE] = {0};

	stop = wrong = 0;
	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i++) {
		make_page(page, i, 70);
		write_page(0, i, page);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(store_user_open(&store, &readers[i]), 0);
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &readers[i]), 0);
	}
	for (int round = 0; round < 6; round++)
		for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i++) {
			if (i % 16 == 0)
				continue;
			make_page(page, i, 30 + (unsigned)round * 11);
			write_page(0, i, round % 2 ? page : zero);
		}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		store_user_close(&store, &readers[i]);
	}
	assert_int_equal(wrong, 0);
}

/* An object may only be freed when nobody can be reading it any more. */
static void *shrinking_writer(void *arg)
{
	uint8_t zero[PAGE] = {0};

	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i++)
		if (i % 16)
			store_write(&store, &user, tables[0], i, zero);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	return NULL;
}

static uint64_t word_of(uint32_t page)
{
	return __atomic_load_n(&tables[0]->word[page], __ATOMIC_ACQUIRE);
}

static void test_moving_waits_for_readers(void **state)
{
	static uint64_t before[LEAP_SLAB_PAGES];
	static struct store_user slow;
	uint8_t page[PAGE];
	pthread_t thread;
	uint32_t moved = LEAP_SLAB_PAGES;

	stop = 0;
	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i++) {
		make_page(page, i, 70);
		write_page(0, i, page);
		before[i] = word_of(i);
	}
	assert_int_equal(store_user_open(&store, &slow), 0);
	__atomic_store_n(&slow.reading, 1, __ATOMIC_SEQ_CST); /* a read began, and takes long */
	assert_int_equal(pthread_create(&thread, NULL, shrinking_writer, NULL), 0);
	while (moved == LEAP_SLAB_PAGES && !__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
		for (moved = 0; moved < LEAP_SLAB_PAGES; moved += 16)
			if (word_of(moved) != before[moved])
				break;
	usleep(100000);
	assert_int_equal(__atomic_load_n(&stop, __ATOMIC_ACQUIRE), 0);
	assert_in_range(moved, 0, LEAP_SLAB_PAGES - 1);
	assert_memory_equal((void *)(uintptr_t)before[moved], (void *)(uintptr_t)word_of(moved),
			    64);
	__atomic_store_n(&slow.reading, 2, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	store_user_close(&store, &slow);
	for (uint32_t i = 0; i < LEAP_SLAB_PAGES; i += 16) {
		make_page(page, i, 70);
		check(0, i, page);
	}
}

static void test_random_walk(void **state)
{
	enum { N = 400 };
	static struct {
		uint64_t seed;
		unsigned percent;
		bool written;
	} model[N];
	static const uint8_t zero[PAGE];
	uint8_t page[PAGE];
	unsigned refused = 0;

	memset(model, 0, sizeof(model));
	for (uint64_t step = 1; step < 40000; step++) {
		uint32_t i = (uint32_t)(mix(step) % N);
		unsigned percent = (unsigned)(mix(step * 3) % 101);
		int err;

		make_page(page, step, percent);
		err = store_write(&store, &user, tables[i % 2], i, page);
		if (err) {
			assert_int_equal(err, -ENOSPC);
			refused++;
		} else {
			model[i].seed = step;
			model[i].percent = percent;
			model[i].written = true;
		}
		assert_true(store.budget.bytes <= store.budget.bytes_max);
		i = (uint32_t)(mix(step * 7) % N);
		if (model[i].written)
			make_page(page, model[i].seed, model[i].percent);
		check(i % 2, i, model[i].written ? page : zero);
	}
	assert_true(refused > 0);
}

static void test_no_memory_for_a_user(void **state)
{
	struct store_user another;

	mem_fail_nth(1, false);
	assert_int_equal(store_user_open(&store, &another), -ENOMEM);
	mem_fail_nth(0, false);
	assert_ptr_equal(store.users, &user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_filled),
		cmocka_unit_test_setup_teardown(test_untouched_reads_as_zeroes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_same_filled_costs_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kinds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_overwrite, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_lengths, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_damage_is_noticed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bound, set_up_bounded, tear_down),
		cmocka_unit_test_setup_teardown(test_refused_write_keeps_content, set_up_bounded,
						tear_down),
		cmocka_unit_test_setup_teardown(test_forget, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_moving_gives_memory_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_readers_while_moving, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_moving_waits_for_readers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_random_walk, set_up_bounded, tear_down),
		cmocka_unit_test_setup_teardown(test_no_memory_for_a_user, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
