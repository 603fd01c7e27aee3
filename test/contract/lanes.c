/* SPDX-License-Identifier: Apache-2.0 */
/* lanes.c - how requests come back: done() once, from the right calls; cancelling; the descriptor. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "test/contract/contract.h"

#define FLIGHT 256

/* A request that knows its lane. */
struct tracked {
	struct io io; /* first */
	struct lane *lane;
	pthread_t thread;
};

static unsigned finished, failed;

static void tracked_done(struct io *io)
{
	struct tracked *t = (struct tracked *)io;

	if (watch_inside() != t->lane || !pthread_equal(t->thread, pthread_self()))
		watch_bad++;
	io->aux[0]++;
	failed += io->status != 0;
	finished++;
}

static void tracked_submit(struct client *c, struct lane *lane, struct tracked *t, enum io_op op,
			   uint32_t slab, uint32_t page, uint32_t n, void *buf)
{
	*t = (struct tracked){.lane = lane, .thread = pthread_self()};
	t->io = (struct io){
		.op = op, .slab = slab, .page = page, .npages = n, .buf = buf, .done = tracked_done};
	watch_submit(c, lane, &t->io);
}

static void counters_reset(void)
{
	finished = failed = 0;
	watch_bad = 0;
}

static void check_once(const struct tracked *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(t[i].io.aux[0], 1);
	assert_int_equal(watch_bad, 0);
}

/* done() comes once, from a call with that lane alone; poll() says how many came. */
void test_done(void **state)
{
	static struct tracked t[3 * FLIGHT];
	struct client c = contract_open();
	struct lane *lane[3] = {c.lane, contract_lane(&c, LANE_PREFETCH),
				contract_lane(&c, LANE_WRITE)};
	uint8_t *buf = pages_new(64);
	uint32_t slab = contract_grant(&c);
	unsigned before;
	int polled = 0;

	counters_reset();
	for (unsigned i = 0; i < 3 * FLIGHT; i++)
		tracked_submit(&c, lane[i % 3], &t[i], i % 3 == 2 ? IO_WRITE : IO_READ, slab, i,
			       1 + i % 64, buf);
	for (unsigned l = 0; l < 3; l++)
		watch_flush(&c, lane[l]);
	/* nobody calls: nothing is delivered */
	before = finished;
	sleep_ms(20);
	assert_int_equal(finished, before);
	for (int ms = 0; finished < 3 * FLIGHT && ms < 10000; ms++) {
		for (unsigned l = 0; l < 3; l++) {
			before = finished;
			polled = watch_poll(&c, lane[l]);
			assert_int_equal(polled, finished - before);
		}
		sleep_ms(1);
	}
	assert_int_equal(finished, 3 * FLIGHT);
	assert_int_equal(failed, 0);
	check_once(t, 3 * FLIGHT);
	for (int i = 0; i < 100; i++) {
		watch_flush(&c, lane[i % 3]);
		assert_int_equal(watch_poll(&c, lane[i % 3]), 0);
	}
	assert_int_equal(finished, 3 * FLIGHT);
	c.ops->lane_close(lane[1]);
	c.ops->lane_close(lane[2]);
	client_close(&c);
	pages_free(buf, 64);
}

/*
 * A chain of requests, each submitted by the done() of the one before, on a stack as small as a fault thread's.
 */
#define CHAIN (5000 / slow())

struct chain {
	struct client *client;
	struct io io;
	unsigned count, bad;
};

static struct chain chain;

static void chain_done(struct io *io)
{
	char frame[256]; /* a callback needs some stack */

	memset(frame, (int)chain.count, sizeof(frame));
	__asm__ volatile("" : : "r"(frame) : "memory");
	chain.bad += io->status != 0;
	if (++chain.count < CHAIN)
		chain.client->ops->submit(chain.client->lane, io);
}

static void *chain_main(void *arg)
{
	chain.client->ops->submit(chain.client->lane, &chain.io);
	chain.bad += !contract_drive(chain.client, chain.client->lane, &chain.count, CHAIN, 20000);
	return NULL;
}

void test_chain(void **state)
{
	struct client c = contract_open();
	uint8_t *buf = pages_new(1);
	pthread_attr_t attr;
	pthread_t thread;

	chain = (struct chain){.client = &c};
	chain.io = (struct io){.op = IO_WRITE,
			       .slab = contract_grant(&c),
			       .npages = 1,
			       .buf = buf,
			       .done = chain_done};
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	assert_int_equal(pthread_create(&thread, &attr, chain_main, NULL), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
	assert_int_equal(chain.bad, 0);
	assert_int_equal(chain.count, CHAIN);
	client_close(&c);
	pages_free(buf, 1);
}

/*
 * Depth: many requests at once, all sizes, each reply checked; done() submits more.
 */
#define DEEP 512

struct deep {
	struct client *client;
	struct io io[DEEP];
	uint8_t *buf;
	uint32_t slab;
	unsigned submitted, finished, total, bad;
};

static struct deep deep;

static void deep_submit(struct io *io)
{
	unsigned n = deep.submitted++;
	unsigned i = (unsigned)(io - deep.io);

	io->op = IO_READ;
	io->slab = deep.slab;
	io->npages = 1 + n % 7;
	io->page = (n * 37) % (LEAP_SLAB_PAGES - 8);
	io->buf = deep.buf + (size_t)i * 8 * 4096;
	memset(io->buf, 0, io->npages * 4096);
	deep.client->ops->submit(deep.client->lane, io);
}

static void deep_done(struct io *io)
{
	deep.finished++;
	deep.bad += io->status != 0;
	for (unsigned i = 0; i < io->npages; i++)
		deep.bad += !page_is((uint8_t *)io->buf + i * 4096, io->page + i);
	if (deep.submitted < deep.total)
		deep_submit(io);
}

static void slab_fill(struct client *c, uint32_t slab)
{
	uint8_t *buf = pages_new(64);

	for (uint32_t page = 0; page < LEAP_SLAB_PAGES; page += 64) {
		for (uint32_t i = 0; i < 64; i++)
			page_fill(buf + i * 4096, page + i);
		assert_int_equal(lane_do(c->ops, c->lane, IO_WRITE, slab, page, 64, buf), 0);
	}
	pages_free(buf, 64);
}

void test_depth(void **state)
{
	struct client c = contract_open();

	memset(&deep, 0, sizeof(deep));
	deep.client = &c;
	deep.buf = pages_new(DEEP * 8);
	deep.total = 6000 / slow();
	deep.slab = contract_grant(&c);
	slab_fill(&c, deep.slab);
	for (int i = 0; i < DEEP && deep.submitted < deep.total; i++) {
		deep.io[i].done = deep_done;
		deep_submit(&deep.io[i]);
	}
	while (deep.finished < deep.total) {
		struct pollfd p = {.fd = c.ops->lane_fd(c.lane), .events = POLLIN};

		c.ops->flush(c.lane);
		if (!c.ops->poll(c.lane) && deep.finished < deep.total)
			assert_int_equal(poll(&p, 1, 5000), 1); /* the descriptor must tell */
	}
	assert_int_equal(deep.bad, 0);
	assert_int_equal(deep.finished, deep.total);
	client_close(&c);
	pages_free(deep.buf, DEEP * 8);
}

/*
 * Cancelling. The donor stands still meanwhile, so that there is something to cancel.
 */
static void hold(bool stopped)
{
	if (donor && stopped)
		donor_pause(donor);
	else if (donor)
		kill(donor->pid, SIGCONT);
}

/* lane_close() ends what is in flight and lets go of the buffers; the port and other lanes go on. */
void test_cancel(void **state)
{
	static struct tracked t[FLIGHT];
	struct client c = contract_open();
	struct lane *other = contract_lane(&c, LANE_WRITE);
	uint8_t *buf = pages_new(16 * 64), *one = pages_new(1);
	uint32_t slab = contract_grant(&c), ok = 0;

	counters_reset();
	hold(true);
	for (unsigned i = 0; i < FLIGHT; i++) {
		tracked_submit(&c, c.lane, &t[i], i % 3 ? IO_READ : IO_WRITE, slab, 128 + i * 60,
			       60, buf + (size_t)(i % 16) * 64 * 4096);
		if (i == FLIGHT / 2)
			watch_flush(&c, c.lane);
	}
	watch_close(&c, c.lane);
	assert_int_equal(finished, FLIGHT);
	check_once(t, FLIGHT);
	for (unsigned i = 0; i < FLIGHT; i++) {
		ok += t[i].io.status == 0;
		assert_true(t[i].io.status == 0 || t[i].io.status == -ECANCELED);
	}
	assert_true(c.ops->flags & TRANSPORT_SYNC ? ok == FLIGHT : ok < FLIGHT);
	memset(buf, 0xa5, 16 * 64 * 4096);
	hold(false);
	c.lane = other;
	page_fill(one, 7);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 1, one), 0);
	memset(one, 0, 4096);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, one), 0);
	assert_true(page_is(one, 7));
	sleep_ms(20);
	for (size_t i = 0; i < 16 * 64 * 4096; i++) /* nobody writes there any more */
		if (buf[i] != 0xa5)
			fail();
	assert_int_equal(finished, FLIGHT);
	client_close(&c);
	pages_free(buf, 16 * 64);
	pages_free(one, 1);
}

static struct client *again;
static unsigned again_done, again_status[2];

static void again_submit(struct io *io)
{
	if (!io->aux[1]) { /* first time: once more */
		io->aux[1] = 1;
		again->ops->submit(again->lane, io);
		return;
	}
	again_done++;
	again_status[io->status == -ECANCELED ? 0 : 1]++;
}

/* A request that done() submits while the lane is being closed is cancelled, too. */
void test_cancel_resubmit(void **state)
{
	static struct io io[64];
	struct client c = contract_open();
	uint8_t *buf = pages_new(64);
	uint32_t slab = contract_grant(&c);

	again = &c;
	again_done = again_status[0] = again_status[1] = 0;
	hold(true);
	for (unsigned i = 0; i < 64; i++) {
		io[i] = (struct io){.op = IO_READ,
				    .slab = slab,
				    .page = i,
				    .npages = 1,
				    .buf = buf + (size_t)i * 4096,
				    .done = again_submit};
		c.ops->submit(c.lane, &io[i]);
	}
	c.ops->flush(c.lane);
	c.ops->lane_close(c.lane);
	hold(false);
	assert_int_equal(again_done, 64);
	assert_int_equal(again_status[c.ops->flags & TRANSPORT_SYNC ? 1 : 0], 64);
	c.lane = NULL;
	client_close(&c);
	pages_free(buf, 64);
}

/* Readable when there is work, and quiet when there is none: a sleeper neither misses nor spins. */
void test_descriptor(void **state)
{
	static struct tracked t;
	struct client c = contract_open();
	uint8_t *buf = pages_new(1);
	uint32_t slab = contract_grant(&c);
	struct pollfd p = {.fd = c.ops->lane_fd(c.lane), .events = POLLIN};

	if (c.ops->flags & TRANSPORT_SYNC) {
		counters_reset();
		tracked_submit(&c, c.lane, &t, IO_READ, slab, 0, 1, buf);
		assert_int_equal(finished, 1); /* complete inside submit() */
		client_close(&c);
		pages_free(buf, 1);
		return;
	}
	for (int round = 0; round < 20; round++) {
		counters_reset();
		for (int i = 0; i < 100 && poll(&p, 1, 0); i++) {
			watch_poll(&c, c.lane);
			assert_true(i < 99);
		}
		tracked_submit(&c, c.lane, &t, round % 2 ? IO_READ : IO_WRITE, slab, 0, 1, buf);
		watch_flush(&c, c.lane);
		while (!finished) {
			assert_int_equal(poll(&p, 1, 5000), 1);
			watch_poll(&c, c.lane);
		}
		check_once(&t, 1);
		assert_int_equal(failed, 0);
	}
	/* what is refused at once counts as work, too */
	counters_reset();
	tracked_submit(&c, c.lane, &t, IO_READ, slab + 1, 0, 1, buf);
	watch_flush(&c, c.lane);
	while (!finished) {
		assert_int_equal(poll(&p, 1, 5000), 1);
		watch_poll(&c, c.lane);
	}
	assert_int_equal(t.io.status, -EIO);
	client_close(&c);
	pages_free(buf, 1);
}

/* A lane changes hands with a request in flight, and the thread that submitted it exits. */
struct hand_over {
	struct client *client;
	struct io io;
	unsigned count;
};

static void *hand_over_main(void *arg)
{
	struct hand_over *h = arg;

	h->client->ops->submit(h->client->lane, &h->io);
	h->client->ops->flush(h->client->lane);
	return NULL;
}

static void hand_over_done(struct io *io)
{
	((struct hand_over *)((char *)io - offsetof(struct hand_over, io)))->count++;
}

void test_hand_over(void **state)
{
	struct client c = contract_open();
	struct hand_over h = {.client = &c};
	uint8_t *buf = pages_new(64);
	uint32_t slab = contract_grant(&c);
	pthread_t thread;

	for (int round = 0; round < 20; round++) {
		h.count = 0;
		h.io = (struct io){.op = round % 2 ? IO_READ : IO_WRITE,
				   .slab = slab,
				   .npages = 64,
				   .buf = buf,
				   .done = hand_over_done};
		hold(true);
		pthread_create(&thread, NULL, hand_over_main, &h);
		pthread_join(thread, NULL);
		sleep_ms(2);
		hold(false);
		assert_true(contract_drive(&c, c.lane, &h.count, 1, 3000));
		assert_int_equal(h.count, 1);
		assert_int_equal(h.io.status, 0);
	}
	client_close(&c);
	pages_free(buf, 64);
}
