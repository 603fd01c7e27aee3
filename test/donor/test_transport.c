/* SPDX-License-Identifier: Apache-2.0 */
/* The transports against a real donor: what they promise in transport.h when nothing goes wrong. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "test/donor/harness.h"

static struct test_donor *donor;

static int group_setup(void **state)
{
	donor = donor_start("--memory", "1G", NULL);
	return 0;
}

static int group_teardown(void **state)
{
	donor_stop(donor);
	return 0;
}

static bool carrier_exists(enum carrier carrier)
{
	return carrier != CARRIER_PLAIN6 || donor->port6;
}

static struct client open_or_fail(enum carrier carrier)
{
	struct client c;
	int r = client_open(&c, donor, carrier, 5000000000ull);

	if (r)
		fail_msg("%s: %s", carrier_name[carrier], error_last());
	if (c.ops->lane_open(c.port, LANE_DEMAND, &c.lane))
		fail_msg("%s: %s", carrier_name[carrier], error_last());
	return c;
}

static void test_read_write(void **state)
{
	uint8_t *buf = pages_new(64), *zero = pages_new(64);
	uint32_t a, b;

	for (int k = 0; k < CARRIERS; k++) {
		struct client c;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		assert_int_equal(c.ops->slab_grant(c.port, &a), 0);
		assert_int_equal(c.ops->slab_grant(c.port, &b), 0);
		assert_int_not_equal(a, b);
		memset(buf, 0xff, 64 * 4096);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 100, 64, buf), 0);
		assert_memory_equal(buf, zero, 64 * 4096);
		for (int i = 0; i < 64; i++)
			page_fill(buf + i * 4096, (uint64_t)i);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, a, LEAP_SLAB_PAGES - 64, 64, buf),
				 0);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, b, 7, 1, buf + 9 * 4096), 0);
		for (int i = 63; i >= 0; i--) {
			assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a,
						 LEAP_SLAB_PAGES - 64 + (unsigned)i, 1, buf),
					 0);
			assert_true(page_is(buf, (uint64_t)i));
		}
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, b, 7, 1, buf), 0);
		assert_true(page_is(buf, 9));
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, b, 6, 1, buf), 0);
		assert_true(page_is_zero(buf));
		client_close(&c);
	}
	pages_free(buf, 64);
	pages_free(zero, 64);
}

/* A slab not held, or slots outside it: that request fails, the lane goes on. */
static void test_bad_requests(void **state)
{
	uint8_t *buf = pages_new(65);
	uint32_t a;

	for (int k = 0; k < CARRIERS; k++) {
		struct client c;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		assert_int_equal(c.ops->slab_grant(c.port, &a), 0);
		page_fill(buf, 5);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, a, 0, 1, buf), 0);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a + 1, 0, 1, buf), -EIO);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, a + 5, 0, 64, buf), -EIO);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, 1u << 30, 0, 1, buf), -EIO);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, LEAP_SLAB_PAGES, 1, buf), -EIO);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, LEAP_SLAB_PAGES - 1, 2, buf),
				 -EIO);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 0, 65, buf), -EIO);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 0, 0, buf), -EIO);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 0, 1, buf), 0);
		assert_true(page_is(buf, 5));
		assert_true(c.ops->slab_release(c.port, a + 1) < 0);
		assert_int_equal(c.ops->slab_release(c.port, a), 0);
		assert_true(c.ops->slab_release(c.port, a) < 0);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 0, 1, buf), -EIO);
		assert_int_equal(c.ops->tick(c.port), 0);
		client_close(&c);
	}
	pages_free(buf, 65);
}

/* A released slab comes back as zeroes. */
static void test_zeroed(void **state)
{
	uint8_t *buf = pages_new(64);
	uint32_t a;

	for (int k = 0; k < CARRIERS; k++) {
		struct client c;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		for (int round = 0; round < 3; round++) {
			assert_int_equal(c.ops->slab_grant(c.port, &a), 0);
			for (uint32_t page = 0; page < LEAP_SLAB_PAGES; page += 64) {
				assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, page, 64, buf),
						 0);
				for (int i = 0; i < 64; i++)
					assert_true(page_is_zero(buf + i * 4096));
				memset(buf, 0x5a, 64 * 4096);
				assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, a, page, 64, buf),
						 0);
			}
			assert_int_equal(c.ops->slab_release(c.port, a), 0);
		}
		client_close(&c);
	}
	pages_free(buf, 64);
}

static void test_info(void **state)
{
	for (int k = 0; k < CARRIERS; k++) {
		struct port_info before, after;
		struct client c;
		uint8_t *buf;
		uint32_t a;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		buf = pages_new(3);
		assert_int_equal(c.ops->info(c.port, true, &before), 0);
		assert_int_equal(before.total_bytes, (uint64_t)1 << 30);
		assert_int_equal(before.free_bytes, before.total_bytes);
		assert_int_equal(c.ops->slab_grant(c.port, &a), 0);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, a, 0, 3, buf), 0);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, a, 0, 2, buf), 0);
		assert_int_equal(c.ops->info(c.port, false, &after), 0);
		assert_int_equal(after.free_bytes, before.free_bytes - LEAP_SLAB_BYTES);
		assert_int_equal(after.bytes_written, 3 * 4096);
		assert_int_equal(after.bytes_read, 2 * 4096);
		assert_non_null(strstr(after.text, k == CARRIER_URING ? "io_uring"
						   : k == CARRIER_SHM ? "shm:"
								      : "sockets"));
		if (c.ops->peek(c.port, a, 0)) {
			assert_int_equal(k, CARRIER_SHM);
			assert_memory_equal(c.ops->peek(c.port, a, 2), buf, 4096);
			assert_null(c.ops->peek(c.port, a + 1, 0));
		} else {
			assert_int_not_equal(k, CARRIER_SHM);
		}
		pages_free(buf, 3);
		client_close(&c);
		sleep_ms(20); /* the next one wants to see all free */
	}
}

/*
 * Depth: many requests queued at once, all sizes, with replies checked one by one; done() submits
 * more.
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
	if (io->status)
		deep.bad++;
	for (unsigned i = 0; i < io->npages; i++)
		deep.bad += !page_is((uint8_t *)io->buf + i * 4096, io->page + i);
	if (deep.submitted < deep.total)
		deep_submit(io);
}

static void slab_fill(struct client *c, uint32_t slab, uint64_t seed)
{
	uint8_t *buf = pages_new(64);

	for (uint32_t page = 0; page < LEAP_SLAB_PAGES; page += 64) {
		for (uint32_t i = 0; i < 64; i++)
			page_fill(buf + i * 4096, seed + page + i);
		assert_int_equal(lane_do(c->ops, c->lane, IO_WRITE, slab, page, 64, buf), 0);
	}
	pages_free(buf, 64);
}

static void test_depth(void **state)
{
	uint8_t *buf = pages_new(DEEP * 8);

	for (int k = 0; k < CARRIERS; k++) {
		struct client c;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		memset(&deep, 0, sizeof(deep));
		deep.client = &c;
		deep.buf = buf;
		deep.total = 6000;
		assert_int_equal(c.ops->slab_grant(c.port, &deep.slab), 0);
		slab_fill(&c, deep.slab, 0);
		for (int i = 0; i < DEEP && deep.submitted < deep.total; i++) {
			deep.io[i].done = deep_done;
			deep_submit(&deep.io[i]);
		}
		while (deep.finished < deep.total) {
			struct pollfd p = {.fd = c.ops->lane_fd(c.lane), .events = POLLIN};

			c.ops->flush(c.lane);
			if (!c.ops->poll(c.lane) && deep.finished < deep.total)
				assert_int_equal(poll(&p, 1, 5000),
						 1); /* the descriptor must tell */
		}
		assert_int_equal(deep.bad, 0);
		assert_int_equal(deep.finished, deep.total);
		client_close(&c);
	}
	pages_free(buf, DEEP * 8);
}

/* Requests of one lane take effect in order: each read sees the write before it, not the one
 * behind. */
static unsigned order_done;

static void order_count(struct io *io)
{
	order_done++;
	assert_int_equal(io->status, 0);
}

static void test_order(void **state)
{
	enum { ROUNDS = 48, PAGES = 16 };
	static struct io io[ROUNDS * 2];
	uint8_t *wbuf = pages_new(ROUNDS * PAGES), *rbuf = pages_new(ROUNDS * PAGES);

	for (int k = 0; k < CARRIERS; k++) {
		struct client c;
		uint32_t slab;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
		for (int round = 0; round < 5; round++) {
			order_done = 0;
			for (unsigned i = 0; i < ROUNDS; i++) {
				uint8_t *w = wbuf + i * PAGES * 4096, *r = rbuf + i * PAGES * 4096;

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
				io[i * 2 + 1].buf = r;
				c.ops->submit(c.lane, &io[i * 2]);
				c.ops->submit(c.lane, &io[i * 2 + 1]);
			}
			while (order_done < ROUNDS * 2) {
				c.ops->flush(c.lane);
				c.ops->poll(c.lane);
			}
			assert_memory_equal(wbuf, rbuf, ROUNDS * PAGES * 4096);
		}
		client_close(&c);
	}
	pages_free(wbuf, ROUNDS * PAGES);
	pages_free(rbuf, ROUNDS * PAGES);
}

/* A lane changes hands with a request in flight, and the thread that submitted it exits. */
struct hand_over {
	struct client *client;
	struct io io;
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
	io->aux[0]++;
}

static void test_hand_over(void **state)
{
	uint8_t *buf = pages_new(64);

	for (int k = 0; k < CARRIER_SHM; k++) {
		struct hand_over h = {0};
		struct client c;
		pthread_t thread;
		uint32_t slab;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		h.client = &c;
		assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
		for (int round = 0; round < 20; round++) {
			uint64_t end = now_ns() + 3000000000ull;

			h.io = (struct io){.op = round % 2 ? IO_READ : IO_WRITE,
					   .slab = slab,
					   .npages = 64,
					   .buf = buf,
					   .done = hand_over_done};
			kill(donor->pid, SIGSTOP);
			pthread_create(&thread, NULL, hand_over_main, &h);
			pthread_join(thread, NULL);
			sleep_ms(2);
			kill(donor->pid, SIGCONT);
			while (!h.io.aux[0] && now_ns() < end) {
				struct pollfd p = {.fd = c.ops->lane_fd(c.lane), .events = POLLIN};

				if (!c.ops->poll(c.lane))
					poll(&p, 1, 100);
			}
			assert_int_equal(h.io.aux[0], 1);
			assert_int_equal(h.io.status, 0);
		}
		client_close(&c);
	}
	pages_free(buf, 64);
}

/*
 * Stress: 8 threads, each with a lane of its own on one port, on its own stripe of a shared slab.
 */
#define THREADS 8
#define STRIPE  (LEAP_SLAB_PAGES / THREADS)

struct worker {
	pthread_t thread;
	struct client *client;
	uint32_t slab;
	unsigned index, bad;
};

static void *stress_main(void *arg)
{
	struct worker *w = arg;
	uint64_t *version = calloc(STRIPE, sizeof(*version));
	uint8_t *buf = pages_new(64);
	uint32_t seed = w->index + 1;
	struct lane *lane;

	w->bad = (unsigned)!!w->client->ops->lane_open(w->client->port, w->index % 3, &lane);
	for (int i = 0; i < 600 && !w->bad; i++) {
		uint32_t n, page;

		seed = seed * 1664525 + 1013904223;
		n = 1 + (seed >> 8) % 64;
		page = (seed >> 16) % (STRIPE - n);
		if (i % 2) {
			for (uint32_t p = 0; p < n; p++)
				page_fill(buf + p * 4096,
					  ((uint64_t)(page + p) << 32) + ++version[page + p]);
			w->bad += !!lane_do(w->client->ops, lane, IO_WRITE, w->slab,
					    w->index * STRIPE + page, n, buf);
			continue;
		}
		w->bad += !!lane_do(w->client->ops, lane, IO_READ, w->slab,
				    w->index * STRIPE + page, n, buf);
		for (uint32_t p = 0; p < n; p++)
			w->bad += version[page + p]
					  ? !page_is(buf + p * 4096, ((uint64_t)(page + p) << 32) +
									     version[page + p])
					  : !page_is_zero(buf + p * 4096);
	}
	w->client->ops->lane_close(lane);
	pages_free(buf, 64);
	free(version);
	return NULL;
}

static void test_stress(void **state)
{
	struct worker workers[THREADS];

	for (int k = 0; k < CARRIERS; k++) {
		struct client c;
		uint32_t slab, other;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
		for (unsigned i = 0; i < THREADS; i++) {
			workers[i] = (struct worker){.client = &c, .slab = slab, .index = i};
			pthread_create(&workers[i].thread, NULL, stress_main, &workers[i]);
		}
		/* The control connection is busy at the same time. */
		for (int i = 0; i < 100; i++) {
			assert_int_equal(c.ops->slab_grant(c.port, &other), 0);
			assert_int_equal(c.ops->slab_release(c.port, other), 0);
			assert_int_equal(c.ops->tick(c.port), 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(workers[i].thread, NULL);
			assert_int_equal(workers[i].bad, 0);
		}
		client_close(&c);
	}
}

/* Where io_uring is forbidden, as in most containers, the lanes use sockets. */
static int without_uring(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = filter};
	uint8_t *buf = pages_new(2);
	struct port_info info;
	struct client c;
	uint32_t slab;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 10;
	if (client_open(&c, donor, CARRIER_URING, 5000000000ull) ||
	    c.ops->lane_open(c.port, LANE_DEMAND, &c.lane) || c.ops->slab_grant(c.port, &slab))
		return 11;
	page_fill(buf, 1);
	if (lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 1, buf) ||
	    lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, buf + 4096) || !page_is(buf + 4096, 1))
		return 12;
	if (c.ops->info(c.port, false, &info) || !strstr(info.text, "sockets"))
		return 13;
	client_close(&c);
	return 0;
}

static void test_uring_refused(void **state)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(without_uring());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_refusals(void **state)
{
	struct transport_params params = {.deadline_ns = 300000000, .client_name = "test"};
	struct donor_uri uri = {.scheme = "tcp", .host = "127.0.0.1", .port = 1};
	struct port *port;

	assert_int_equal(transport_tcp.open(&uri, &params, &port), -ECONNREFUSED);
	assert_non_null(strstr(error_last(), "127.0.0.1:1"));
	strcpy(uri.host, "no-such-host.invalid");
	assert_true(transport_tcp.open(&uri, &params, &port) < 0);
	strcpy(uri.host, "@no-such-donor");
	assert_int_equal(transport_shm.open(&uri, &params, &port), -ECONNREFUSED);
	strcpy(uri.host, "no-such-donor");
	assert_int_equal(transport_shm.open(&uri, &params, &port), -ENOENT);
	memset(uri.host, 'x', 200);
	assert_true(transport_shm.open(&uri, &params, &port) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info),         cmocka_unit_test(test_read_write),
		cmocka_unit_test(test_bad_requests), cmocka_unit_test(test_zeroed),
		cmocka_unit_test(test_depth),        cmocka_unit_test(test_order),
		cmocka_unit_test(test_hand_over),    cmocka_unit_test(test_stress),
		cmocka_unit_test(test_refusals),     cmocka_unit_test(test_uring_refused),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
