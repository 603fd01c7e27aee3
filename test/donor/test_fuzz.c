/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 100000 hostile messages against a donor that serves an honest client at the same time: garbage,
 * truncated and mutated ones, before and after the handshake, on control connections and lanes,
 * over unix sockets and TCP. The donor must drop their senders only, leak nothing, and keep
 * serving.
 *
 * LEAP_FUZZ_COUNT and LEAP_FUZZ_SEED change the run.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libleap/proto.h"
#include "test/donor/harness.h"

static uint64_t rng;
static struct test_donor *donor;

static uint64_t rnd(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % below;
}

static int dial(bool tcp)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons(donor->port)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = 10};
	struct linger reset = {.l_onoff = 1}; /* no TIME_WAIT: the ports would run out */
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	int n = snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "leap/%s", donor->shm + 1);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (tcp)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	r = tcp ? connect(fd, (struct sockaddr *)&in, sizeof(in))
		: connect(fd, (struct sockaddr *)&un,
			  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
	if (r)
		fail_msg("the donor takes no connections any more: errno %d; %s", errno,
			 donor->log);
	return fd;
}

struct hello_message {
	struct proto_head head;
	struct proto_hello hello;
};

static struct hello_message hello_make(enum proto_kind kind, const uint8_t *token)
{
	struct hello_message m = {
		.head = proto_head_make(PROTO_HELLO, 0, sizeof(struct proto_hello))};

	m.hello.version = PROTO_VERSION;
	m.hello.kind = (uint16_t)kind;
	strcpy(m.hello.name, "fuzz");
	if (token)
		memcpy(m.hello.token, token, sizeof(m.hello.token));
	return m;
}

/* Shakes hands properly. */
static int enter(bool tcp, enum proto_kind kind, uint8_t *token)
{
	struct hello_message m = hello_make(kind, proto_kind_is_lane(kind) ? token : NULL);
	struct {
		struct proto_head head;
		struct proto_hello_ack ack;
	} a;
	int fd = dial(tcp);

	assert_int_equal(send(fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
	assert_int_equal(recv(fd, &a, sizeof(a), MSG_WAITALL), sizeof(a));
	assert_int_equal(a.head.status, 0);
	memcpy(token, a.ack.token, PROTO_TOKEN_BYTES);
	return fd;
}

/* A request that could be meant, with a body if it has one; returns its length. */
static size_t request_make(uint8_t *buf, bool lane)
{
	static const uint8_t control[] = {PROTO_GRANT, PROTO_RELEASE, PROTO_SHARED,
					  PROTO_INFO,  PROTO_PING,    PROTO_CLONE};
	struct proto_head h = proto_head_make(PROTO_PING, rnd(1000), 0);

	if (lane) {
		h.type = rnd(2) ? PROTO_READ : PROTO_WRITE;
		h.npages = 1 + (uint32_t)rnd(rnd(8) ? 2 : 64);
		h.slab = (uint32_t)rnd(3);
		h.page = (uint32_t)rnd(16000);
		if (h.type == PROTO_WRITE)
			h.length = h.npages * 4096;
	} else {
		h.type = control[rnd(sizeof(control))];
		if (h.type == PROTO_RELEASE || h.type == PROTO_SHARED)
			h.slab = (uint32_t)rnd(4);
		if (h.type == PROTO_CLONE)
			h.page = 1 + (uint32_t)rnd(20);
	}
	memcpy(buf, &h, sizeof(h));
	return sizeof(h) + (h.type == PROTO_WRITE ? h.length : 0);
}

static void mutate(uint8_t *buf, size_t head_bytes)
{
	static const uint32_t special[] = {0,    1,     0x7fffffff, 0x80000000, 0xffffffff,
					   4096, 65536, 512,        513};

	for (uint64_t n = 1 + rnd(3); n--;) {
		size_t at = rnd(head_bytes);

		switch (rnd(3)) {
		case 0:
			buf[at] ^= (uint8_t)(1u << rnd(8));
			break;
		case 1:
			buf[at] = (uint8_t)rnd(256);
			break;
		default:
			memcpy(buf + at / 4 * 4, &special[rnd(9)], 4);
		}
	}
}

/* Sends without ever waiting for the donor, and throws away what it says. False when it has hung
 * up. */
static bool push(int fd, const uint8_t *buf, size_t bytes)
{
	uint8_t junk[65536];

	while (bytes) {
		struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
		ssize_t n;

		assert_true(poll(&p, 1, 10000) > 0);
		if (p.revents & POLLIN && recv(fd, junk, sizeof(junk), MSG_DONTWAIT) == 0)
			return false;
		n = send(fd, buf, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0) {
			buf += n;
			bytes -= (size_t)n;
		}
	}
	while (recv(fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	return true;
}

static unsigned fuzz_hello(uint8_t *buf, bool tcp)
{
	struct hello_message m = hello_make((enum proto_kind)rnd(PROTO_KINDS), NULL);
	size_t bytes = sizeof(m);
	int fd = dial(tcp);

	memcpy(buf, &m, sizeof(m));
	switch (rnd(3)) {
	case 0:
		bytes = 1 + rnd(300);
		for (size_t i = 0; i < bytes; i++)
			buf[i] = (uint8_t)rnd(256);
		if (rnd(2))
			memcpy(buf, &m, 9); /* looks right at first */
		break;
	case 1:
		bytes = rnd(sizeof(m));
		break;
	default:
		mutate(buf, sizeof(m));
	}
	push(fd, buf, bytes);
	close(fd);
	return 1;
}

static unsigned fuzz_session(uint8_t *buf, bool tcp)
{
	uint8_t token[PROTO_TOKEN_BYTES];
	int control = enter(tcp, PROTO_KIND_CONTROL, token), fd = control;
	bool lane = rnd(2), alive = true;
	unsigned n = 0;
	size_t bytes;

	if (rnd(4)) {
		struct proto_head grant = proto_head_make(PROTO_GRANT, 1, 0);
		push(control, (uint8_t *)&grant, sizeof(grant));
	}
	if (lane)
		fd = enter(tcp, PROTO_KIND_DEMAND + (enum proto_kind)rnd(3), token);
	while (alive && n < 40) {
		bytes = request_make(buf, lane);
		switch (rnd(4)) {
		case 0:
			break; /* as it is */
		case 1:
			mutate(buf, sizeof(struct proto_head));
			break;
		case 2:
			bytes = rnd(bytes);
			break;
		default:
			bytes = 1 + rnd(200);
			for (size_t i = 0; i < bytes; i++)
				buf[i] = (uint8_t)rnd(256);
		}
		alive = push(fd, buf, bytes);
		n++;
		if (alive && !rnd(8))
			break;
	}
	if (fd != control)
		close(fd);
	close(control);
	return n;
}

/* The honest client. */
struct honest {
	struct client client;
	uint32_t slab;
	_Atomic unsigned rounds, bad;
	_Atomic bool stop;
};

static void *honest_main(void *arg)
{
	struct honest *h = arg;
	uint8_t *buf = pages_new(8);

	while (!h->stop && !h->bad) {
		uint32_t page = h->rounds * 8 % LEAP_SLAB_PAGES;

		for (unsigned i = 0; i < 8; i++)
			page_fill(buf + i * 4096, h->rounds * 8 + i);
		h->bad += !!lane_do(h->client.ops, h->client.lane, IO_WRITE, h->slab, page, 8, buf);
		memset(buf, 0, 8 * 4096);
		h->bad += !!lane_do(h->client.ops, h->client.lane, IO_READ, h->slab, page, 8, buf);
		for (unsigned i = 0; i < 8; i++)
			h->bad += !page_is(buf + i * 4096, h->rounds * 8 + i);
		h->bad += !!h->client.ops->tick(h->client.port);
		h->rounds++;
		sleep_ms(2);
	}
	pages_free(buf, 8);
	return NULL;
}

static unsigned donor_fds(void)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", donor->pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void test_fuzz(void **state)
{
	unsigned long count =
		getenv("LEAP_FUZZ_COUNT") ? strtoul(getenv("LEAP_FUZZ_COUNT"), NULL, 0) : 100000;
	unsigned long sent = 0, turns = 0;
	uint8_t *buf = pages_new(128);
	struct honest honest = {0};
	pthread_t thread;
	unsigned fds;

	rng = getenv("LEAP_FUZZ_SEED") ? strtoull(getenv("LEAP_FUZZ_SEED"), NULL, 0) : 20240611;
	print_message("%lu messages, seed %lu\n", count, rng);
	donor = donor_start("--memory", "2G", "--quota", "128M", "--log-level", "error",
			    "--deadline", "2s", NULL);
	assert_int_equal(client_open(&honest.client, donor, CARRIER_PLAIN, 10000000000ull), 0);
	assert_int_equal(honest.client.ops->lane_open(honest.client.port, LANE_DEMAND,
						      &honest.client.lane),
			 0);
	assert_int_equal(honest.client.ops->slab_grant(honest.client.port, &honest.slab), 0);
	fds = donor_fds();
	pthread_create(&thread, NULL, honest_main, &honest);
	while (sent < count) {
		bool tcp = turns++ % 16 == 0;

		sent += rnd(3) ? fuzz_session(buf, tcp) : fuzz_hello(buf, tcp);
		if (honest.bad)
			break;
	}
	honest.stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(honest.bad, 0);
	assert_true(honest.rounds > 20);
	client_close(&honest.client);
	/* All is given back: sessions, tickets (they live for 20 ms), descriptors. */
	for (int i = 0; i < 100 && donor_fds() > fds; i++)
		sleep_ms(50);
	assert_true(donor_fds() <= fds);
	print_message("%lu connections, %u honest rounds\n", turns, honest.rounds);
	kill(donor->pid, SIGTERM);
	assert_int_equal(donor_wait(donor, 10000), 0); /* nobody is left: it drains at once */
	donor_free(donor);
	pages_free(buf, 128);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_fuzz)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
