/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deaths that only one transport can die (test/contract has the others): a shm donor is gone but its memory is
 * not, donors that lie; and clients that die or stop.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/proto.h"
#include "test/donor/harness.h"

#define FLIGHT   256
#define DEADLINE 600000000ull /* ns */

static struct io ios[FLIGHT];
static unsigned done_count, done_ok;

static void count_done(struct io *io)
{
	done_count++;
	done_ok += io->status == 0;
}

static struct client prepare(struct test_donor *donor, enum carrier carrier, uint32_t *ret_slab)
{
	struct client c;

	assert_int_equal(client_open(&c, donor, carrier, DEADLINE), 0);
	assert_int_equal(c.ops->lane_open(c.port, LANE_DEMAND, &c.lane), 0);
	assert_int_equal(c.ops->slab_grant(c.port, ret_slab), 0);
	return c;
}

/* Reads and writes of 64 pages: far more than the sockets hold. */
static void fill_flight(struct client *c, uint32_t slab, uint8_t *buf)
{
	memset(ios, 0, sizeof(ios));
	done_count = done_ok = 0;
	for (unsigned i = 0; i < FLIGHT; i++) {
		ios[i] = (struct io){.op = i % 3 ? IO_READ : IO_WRITE,
				     .slab = slab,
				     .page = i * 64 % 16384,
				     .npages = 64,
				     .buf = buf + (size_t)(i % 16) * 64 * 4096,
				     .done = count_done};
		c->ops->submit(c->lane, &ios[i]);
	}
	c->ops->flush(c->lane);
}

/* Sleeps on the lane's descriptor as a fault thread does. */
static void drive(struct client *c, unsigned upto, int ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * 1000000;

	while (done_count < upto && now_ns() < end) {
		struct pollfd p = {.fd = c->ops->lane_fd(c->lane), .events = POLLIN};

		c->ops->flush(c->lane);
		if (!c->ops->poll(c->lane))
			poll(&p, 1, 20);
	}
}

/* The shm donor is gone, its pages are not. */
static void test_shm_survives(void **state)
{
	struct test_donor *donor = donor_start("--memory", "256M", NULL);
	uint8_t *buf = pages_new(2);
	uint32_t slab, other;
	struct client c = prepare(donor, CARRIER_SHM, &slab);

	page_fill(buf, 1);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 9, 1, buf), 0);
	kill(donor->pid, SIGKILL);
	donor_wait(donor, 5000);
	assert_int_equal(c.ops->tick(c.port), -EPIPE);
	assert_int_equal(c.ops->slab_grant(c.port, &other), -EPIPE);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 9, 1, buf + 4096), 0);
	assert_true(page_is(buf + 4096, 1));
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 9, 1, buf), -EPIPE);
	client_close(&c);
	donor_free(donor);
	pages_free(buf, 2);
}

/*
 * A donor that lies: it answers the handshake, then something else than was asked.
 */
struct liar {
	int listen_fd;
	_Atomic int mode;
};

static void liar_ack(int fd, int mode)
{
	struct {
		struct proto_head head;
		struct proto_hello_ack ack;
	} m = {.head = proto_head_make(PROTO_HELLO_ACK, 0, sizeof(m.ack))};

	m.ack.version = mode == 1 ? 99 : PROTO_VERSION;
	m.ack.slab_bytes = mode == 2 ? 4096 : PROTO_SLAB_BYTES;
	if (mode == 3)
		m.head.length = 1u << 30;
	if (mode == 4)
		m.head.magic = 0;
	if (mode == 5) {
		m.head.status = PROTO_BUSY;
		memset(m.ack.sentence, 0xff, sizeof(m.ack.sentence)); /* not text, no end */
	}
	send(fd, &m, sizeof(m), MSG_NOSIGNAL);
}

static void *liar_main(void *arg)
{
	struct liar *l = arg;
	uint8_t junk[8192];
	int fd;

	while ((fd = accept(l->listen_fd, NULL, NULL)) >= 0) {
		if (recv(fd, junk, sizeof(junk), 0) > 0)
			liar_ack(fd, l->mode);
		if (l->mode >= 10 && recv(fd, junk, sizeof(junk), 0) > 0) {
			memset(junk, l->mode == 10 ? 0xee : 0, sizeof(junk));
			send(fd, junk, l->mode == 11 ? 40 : sizeof(junk), MSG_NOSIGNAL);
			sleep_ms(100);
		}
		close(fd);
	}
	return NULL;
}

static void test_lying_donor(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct liar l = {.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	struct test_donor fake = {0};
	socklen_t len = sizeof(sa);
	pthread_t thread;
	struct client c;
	uint32_t slab;

	assert_int_equal(bind(l.listen_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(l.listen_fd, 8), 0);
	getsockname(l.listen_fd, (struct sockaddr *)&sa, &len);
	fake.port = ntohs(sa.sin_port);
	pthread_create(&thread, NULL, liar_main, &l);
	for (l.mode = 1; l.mode <= 5; l.mode++) {
		int r = client_open(&c, &fake, CARRIER_PLAIN, DEADLINE);

		assert_int_equal(r, l.mode == 5 ? -ECONNREFUSED : -EPROTO);
		assert_true(strlen(error_last()) > 10);
	}
	for (l.mode = 10; l.mode <= 11; l.mode++) {
		assert_int_equal(client_open(&c, &fake, CARRIER_PLAIN, DEADLINE), 0);
		assert_int_equal(c.ops->slab_grant(c.port, &slab), -EPIPE);
		c.ops->close(c.port);
	}
	shutdown(l.listen_fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(l.listen_fd);
}

/* A donor on this machine that hands over memory which could be taken away, or none: never mapped. */
static int bad_memory(int mode)
{
	int fd = memfd_create("test", MFD_ALLOW_SEALING);

	if (mode == 0)
		return -1;
	assert_int_equal(ftruncate(fd, mode == 2 ? 4096 : (off_t)LEAP_SLAB_BYTES), 0);
	if (mode != 1)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	return fd;
}

static void grant_send(int sock, int fd)
{
	struct {
		struct proto_head head;
		struct proto_info info;
	} m = {.head = proto_head_make(PROTO_GRANT, 1, sizeof(m.info))};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} cm = {0};
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = cm.bytes;
		msg.msg_controllen = sizeof(cm.bytes);
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(fd));
	}
	sendmsg(sock, &msg, MSG_NOSIGNAL);
}

static void *shm_liar_main(void *arg)
{
	struct liar *l = arg;
	uint8_t junk[512];
	int sock = accept(l->listen_fd, NULL, NULL), fd = bad_memory(l->mode);

	if (recv(sock, junk, sizeof(junk), 0) > 0)
		liar_ack(sock, 0);
	if (recv(sock, junk, sizeof(junk), 0) > 0)
		grant_send(sock, fd);
	sleep_ms(20);
	close(sock);
	close(fd);
	return NULL;
}

static void test_lying_shm_donor(void **state)
{
	struct test_donor fake = {0};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct liar l = {.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	int n;

	snprintf(fake.shm, sizeof(fake.shm), "@liar-%d", getpid());
	n = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "leap/%s", fake.shm + 1);
	assert_int_equal(bind(l.listen_fd, (struct sockaddr *)&sa,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)),
			 0);
	assert_int_equal(listen(l.listen_fd, 8), 0);
	for (l.mode = 0; l.mode <= 3; l.mode++) {
		struct client c;
		pthread_t thread;
		uint32_t slab;

		pthread_create(&thread, NULL, shm_liar_main, &l);
		assert_int_equal(client_open(&c, &fake, CARRIER_SHM, DEADLINE), 0);
		/* 0: none, 1: not sealed, 2: too small; 3 is right */
		assert_int_equal(c.ops->slab_grant(c.port, &slab), l.mode == 3 ? 0 : -EPROTO);
		c.ops->close(c.port);
		pthread_join(thread, NULL);
	}
	close(l.listen_fd);
}

/* Clients killed with kill -9, one after the other, each holding half of what there is. */
static void test_client_killed(void **state)
{
	struct test_donor *donor = donor_start("--memory", "256M", NULL);

	for (int i = 0; i < 12; i++) {
		enum carrier k = i % CARRIERS;
		struct client c;
		uint32_t slab;
		int ready[2];
		char byte;
		pid_t pid;

		if (k == CARRIER_PLAIN6 && !donor->port6)
			continue;
		assert_int_equal(pipe(ready), 0);
		fflush(NULL);
		pid = fork();
		if (!pid) {
			uint8_t *buf = pages_new(64);

			memset(buf, 1, 64 * 4096);
			if (client_open(&c, donor, k, DEADLINE) ||
			    c.ops->lane_open(c.port, LANE_WRITE, &c.lane))
				_exit(1);
			for (int s = 0; s < 3; s++)
				if (c.ops->slab_grant(c.port, &slab) ||
				    lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 64, buf))
					_exit(1);
			fill_flight(&c, slab, pages_new(16 * 64));
			if (write(ready[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				c.ops->poll(c.lane);
		}
		close(ready[1]);
		if (k == CARRIER_SHM || i < 8)
			assert_int_equal(read(ready[0], &byte, 1), 1);
		else
			sleep_ms(30);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close(ready[0]);
	}
	sleep_ms(100);
	kill(donor->pid, SIGUSR1);
	assert_true(donor_says(donor, "slabs 0 of 4, memory in use 0M", 3000));
	donor_stop(donor);
}

/* A client that is stopped for longer than any deadline keeps its memory, and goes on. */
static void test_client_stopped(void **state)
{
	struct test_donor *donor = donor_start("--memory", "256M", "--deadline", "300ms", NULL);
	uint8_t *buf = pages_new(16 * 64);
	int status, ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		struct client c;
		uint32_t slab;

		if (client_open(&c, donor, CARRIER_PLAIN, 1000000000ull) ||
		    c.ops->lane_open(c.port, LANE_WRITE, &c.lane) ||
		    c.ops->slab_grant(c.port, &slab))
			_exit(1);
		page_fill(buf, 3);
		if (lane_do(c.ops, c.lane, IO_WRITE, slab, 99, 1, buf))
			_exit(2);
		done_count = done_ok = 0;
		for (unsigned i = 0; i < FLIGHT; i++) {
			ios[i] = (struct io){.op = IO_READ,
					     .slab = slab,
					     .npages = 64,
					     .done = count_done,
					     .buf = buf + (size_t)(i % 16) * 64 * 4096};
			c.ops->submit(c.lane, &ios[i]);
		}
		c.ops->flush(c.lane);
		if (write(ready[1], "x", 1) != 1)
			_exit(3);
		raise(SIGSTOP);
		drive(&c, FLIGHT, 10000);
		if (done_count != FLIGHT || done_ok != FLIGHT)
			_exit(4);
		if (lane_do(c.ops, c.lane, IO_READ, slab, 99, 1, buf) || !page_is(buf, 3))
			_exit(5);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	sleep_ms(2500);
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	pages_free(buf, 16 * 64);
	donor_stop(donor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shm_survives),    cmocka_unit_test(test_lying_donor),
		cmocka_unit_test(test_lying_shm_donor), cmocka_unit_test(test_client_killed),
		cmocka_unit_test(test_client_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
