/* SPDX-License-Identifier: Apache-2.0 */
/* data.c - bytes: what is read is what was written last, and zeroes before. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "test/contract/contract.h"

#define SLAB LEAP_SLAB_PAGES

void test_operations(void **state)
{
	struct client c = contract_open();
	const void *const *entry = (const void *const *)&c.ops->open;
	const void *const *end = (const void *const *)(&c.ops->clone_adopt + 1);
	size_t n = strcspn(subject->uri, ":");

	assert_int_equal(c.ops->size, sizeof(struct transport_ops));
	assert_int_equal(strlen(c.ops->name), n);
	assert_memory_equal(c.ops->name, subject->uri, n);
	for (; entry < end; entry++)
		assert_non_null(*entry);
	assert_int_equal(c.ops->lane_fd(c.lane) == -1, !!(c.ops->flags & TRANSPORT_SYNC));
	client_close(&c);
}

static void check_zero(struct client *c, struct lane *lane, uint32_t slab, uint32_t page,
		       uint32_t n, uint8_t *buf)
{
	memset(buf, 0xff, (size_t)n * 4096);
	assert_int_equal(lane_do(c->ops, lane, IO_READ, slab, page, n, buf), 0);
	for (uint32_t i = 0; i < n; i++)
		assert_true(page_is_zero(buf + (size_t)i * 4096));
}

void test_fresh_is_zero(void **state)
{
	struct client c = contract_open();
	uint8_t *buf = pages_new(64);
	uint32_t slab = contract_grant(&c);

	for (uint32_t page = 0; page < SLAB; page += 64 * less())
		check_zero(&c, c.lane, slab, page, 64, buf);
	client_close(&c);
	pages_free(buf, 64);
}

/* 1 to 64 pages, at the slab's beginning, end and between; the neighbours stay as they are. */
void test_sizes(void **state)
{
	struct client c = contract_open();
	uint8_t *buf = pages_new(64), *one = pages_new(1);
	uint32_t slab = contract_grant(&c), other = contract_grant(&c);

	for (uint32_t n = 1; n <= 64; n++) {
		uint32_t page = n == 1 ? 0 : n == 64 ? SLAB - 64 : n * 128 + n % 7;

		for (uint32_t i = 0; i < n; i++)
			page_fill(buf + (size_t)i * 4096, n * 100 + i);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, page, n, buf), 0);
		for (uint32_t i = n; i-- > 0;) {
			assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, page + i, 1, one),
					 0);
			assert_true(page_is(one, n * 100 + i));
		}
		memset(buf, 0, 64 * 4096);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, page, n, buf), 0);
		for (uint32_t i = 0; i < n; i++)
			assert_true(page_is(buf + (size_t)i * 4096, n * 100 + i));
		if (page)
			check_zero(&c, c.lane, slab, page - 1, 1, one);
		if (page + n < SLAB)
			check_zero(&c, c.lane, slab, page + n, 1, one);
		check_zero(&c, c.lane, other, page, n, buf);
	}
	/* the same slots again: zeroes, all alike, and bytes that no compressor likes */
	for (uint32_t round = 0; round < 4; round++) {
		memset(one, round == 1 ? 0x77 : 0, 4096);
		for (uint32_t i = 0; round == 2 && i < 4096; i++)
			one[i] = (uint8_t)(i * i * 31 + i / 3 + round);
		memcpy(buf, one, 4096);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 300, 1, one), 0);
		memset(one, 0xee, 4096);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 300, 1, one), 0);
		assert_memory_equal(one, buf, 4096);
	}
	client_close(&c);
	pages_free(buf, 64);
	pages_free(one, 1);
}

/* A slab not held, or slots outside it: that request fails, the lane and the port go on. */
void test_bad_requests(void **state)
{
	struct client c = contract_open();
	uint8_t *buf = pages_new(65);
	uint32_t a = contract_grant(&c);

	page_fill(buf, 5);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, a, 0, 1, buf), 0);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a + 1, 0, 1, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, a + 5, 0, 64, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, 1u << 30, 0, 1, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, UINT32_MAX, 0, 1, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, SLAB, 1, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, UINT32_MAX, 1, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, SLAB - 1, 2, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 0, 65, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 0, 0, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, a, 0, UINT32_MAX, buf), -EIO);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 0, 1, buf), 0);
	assert_true(page_is(buf, 5));
	assert_int_equal(c.ops->tick(c.port), 0);
	client_close(&c);
	pages_free(buf, 65);
}

static unsigned order_done, order_bad;

static void order_count(struct io *io)
{
	order_done++;
	order_bad += io->status != 0;
}

/* What one lane has written, another reads, though that one has plenty of older reads in flight. */
void test_lanes_agree(void **state)
{
	enum { BACKLOG = 16 };
	static struct io backlog[BACKLOG];
	struct client c = contract_open();
	struct lane *lane[3] = {c.lane, contract_lane(&c, LANE_PREFETCH),
				contract_lane(&c, LANE_WRITE)};
	uint8_t *buf = pages_new(2), *bulk = pages_new(64);
	uint32_t slab = contract_grant(&c);

	for (unsigned round = 0; round < 60 / slow(); round++) {
		struct lane *from = lane[round % 3], *to = lane[(round + 1 + round / 3 % 2) % 3];
		uint32_t page = 1000 + round % 5;

		order_done = order_bad = 0;
		for (unsigned i = 0; i < BACKLOG; i++) {
			backlog[i] = (struct io){.op = IO_READ,
						 .slab = slab,
						 .page = 4096 + i * 64,
						 .npages = 64,
						 .buf = bulk,
						 .done = order_count};
			c.ops->submit(to, &backlog[i]);
		}
		c.ops->flush(to);
		page_fill(buf, round);
		assert_int_equal(lane_do(c.ops, from, IO_WRITE, slab, page, 1, buf), 0);
		assert_int_equal(lane_do(c.ops, to, IO_READ, slab, page, 1, buf + 4096), 0);
		assert_true(page_is(buf + 4096, round));
		assert_true(contract_drive(&c, to, &order_done, BACKLOG, 10000));
		assert_int_equal(order_bad, 0);
	}
	c.ops->lane_close(lane[1]);
	c.ops->lane_close(lane[2]);
	client_close(&c);
	pages_free(buf, 2);
	pages_free(bulk, 64);
}

/* Requests of one lane take effect in order: each read sees the write before it, not the one behind. */
void test_order(void **state)
{
	enum { ROUNDS = 48, PAGES = 16 };
	static struct io io[ROUNDS * 2];
	uint8_t *wbuf = pages_new(ROUNDS * PAGES), *rbuf = pages_new(ROUNDS * PAGES);
	struct client c = contract_open();
	uint32_t slab = contract_grant(&c);

	for (int round = 0; round < 5; round++) {
		order_done = order_bad = 0;
		for (unsigned i = 0; i < ROUNDS; i++) {
			uint8_t *w = wbuf + (size_t)i * PAGES * 4096;

			for (int p = 0; p < PAGES; p++)
				page_fill(w + p * 4096, i * 1000 + (unsigned)(p + round));
			io[i * 2] = (struct io){.op = IO_WRITE,
						.slab = slab,
						.page = 64,
						.npages = PAGES,
						.buf = w,
						.done = order_count};
			io[i * 2 + 1] = io[i * 2];
			io[i * 2 + 1].op = IO_READ;
			io[i * 2 + 1].buf = rbuf + (size_t)i * PAGES * 4096;
			c.ops->submit(c.lane, &io[i * 2]);
			c.ops->submit(c.lane, &io[i * 2 + 1]);
		}
		assert_true(contract_drive(&c, c.lane, &order_done, ROUNDS * 2, 10000));
		assert_int_equal(order_bad, 0);
		assert_memory_equal(wbuf, rbuf, ROUNDS * PAGES * 4096);
	}
	client_close(&c);
	pages_free(wbuf, ROUNDS * PAGES);
	pages_free(rbuf, ROUNDS * PAGES);
}

/*
 * Stress: 8 threads, each with a lane of its own on one port, on its own stripe of a shared slab.
 */
#define THREADS 8
#define STRIPE  (SLAB / THREADS)

struct worker {
	pthread_t thread;
	struct client *client;
	uint32_t slab;
	unsigned index, bad;
};

static void stress_one(struct worker *w, struct lane *lane, int i, uint64_t *version, uint8_t *buf,
		       uint32_t seed)
{
	uint32_t n = 1 + (seed >> 8) % 64, page = (seed >> 16) % (STRIPE - n);

	if (i % 2) {
		for (uint32_t p = 0; p < n; p++)
			page_fill(buf + p * 4096,
				  ((uint64_t)(page + p) << 32) + ++version[page + p]);
		w->bad += !!lane_do(w->client->ops, lane, IO_WRITE, w->slab,
				    w->index * STRIPE + page, n, buf);
		return;
	}
	w->bad +=
		!!lane_do(w->client->ops, lane, IO_READ, w->slab, w->index * STRIPE + page, n, buf);
	for (uint32_t p = 0; p < n; p++)
		w->bad += version[page + p]
				  ? !page_is(buf + p * 4096,
					     ((uint64_t)(page + p) << 32) + version[page + p])
				  : !page_is_zero(buf + p * 4096);
}

static void *stress_main(void *arg)
{
	struct worker *w = arg;
	uint64_t *version = calloc(STRIPE, sizeof(*version));
	uint8_t *buf = pages_new(64);
	uint32_t seed = w->index + 1;
	struct lane *lane;

	w->bad = (unsigned)!!w->client->ops->lane_open(w->client->port, w->index % 3, &lane);
	for (int i = 0; i < 600 / (int)less() && !w->bad; i++) {
		seed = seed * 1664525 + 1013904223;
		stress_one(w, lane, i, version, buf, seed);
	}
	w->client->ops->lane_close(lane);
	pages_free(buf, 64);
	free(version);
	return NULL;
}

void test_stress(void **state)
{
	struct client c = contract_open();
	struct worker workers[THREADS];
	uint32_t slab = contract_grant(&c), other;

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.client = &c, .slab = slab, .index = i};
		pthread_create(&workers[i].thread, NULL, stress_main, &workers[i]);
	}
	/* the control thread is busy at the same time */
	for (int i = 0; i < 100 / (int)less(); i++) {
		struct port_info info;

		assert_int_equal(c.ops->slab_grant(c.port, &other), 0);
		assert_int_equal(c.ops->info(c.port, i % 2, &info), 0);
		assert_int_equal(c.ops->slab_release(c.port, other), 0);
		assert_int_equal(c.ops->tick(c.port), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].bad, 0);
	}
	client_close(&c);
}
