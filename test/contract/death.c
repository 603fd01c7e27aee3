/* SPDX-License-Identifier: Apache-2.0 */
/*
 * death.c - donors that die or stop with requests in flight: every request is done exactly once, with the right
 * status, within the deadline, and the port is dead for good.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "libleap/error.h"
#include "test/contract/contract.h"

#define FLIGHT   256
#define DEADLINE (600000000ull * slow())  /* ns */
#define SLACK    (1000000000ull * slow()) /* for a machine that is busy */

static struct io ios[FLIGHT];
static unsigned done_count, done_ok, done_other;
static int expect_status;
static struct client *resubmit; /* done() submits once more */
static bool resubmitting;

static void count_done(struct io *io)
{
	if (resubmitting && !io->status) {
		resubmit->ops->submit(resubmit->lane, io);
		return;
	}
	done_count++;
	io->aux[0]++;
	done_ok += io->status == 0;
	done_other += io->status != 0 && io->status != expect_status;
}

/* Reads and writes of 64 pages: far more than sockets hold. */
static void fill_flight(struct client *c, uint32_t slab, uint8_t *buf)
{
	memset(ios, 0, sizeof(ios));
	done_count = done_ok = done_other = 0;
	for (unsigned i = 0; i < FLIGHT; i++) {
		ios[i] = (struct io){.op = i % 3 ? IO_READ : IO_WRITE,
				     .slab = slab,
				     .page = i * 64 % LEAP_SLAB_PAGES,
				     .npages = 64,
				     .buf = buf + (size_t)(i % 16) * 64 * 4096,
				     .done = count_done};
		c->ops->submit(c->lane, &ios[i]);
	}
	c->ops->flush(c->lane);
}

static void check_flight(const struct client *c)
{
	assert_int_equal(done_count, FLIGHT);
	for (unsigned i = 0; i < FLIGHT; i++)
		assert_int_equal(ios[i].aux[0], 1);
	assert_int_equal(done_other, 0);
	if (!(c->ops->flags & TRANSPORT_SYNC) && !subject_one_sided())
		assert_true(done_ok < FLIGHT);
}

static bool timely(uint64_t start, uint64_t ns)
{
	return now_ns() - start < ns + SLACK;
}

/* All that can be asked of a dead port fails at once, with a sentence, not after another deadline. */
static void check_dead(struct client *c, int expect, uint32_t held, uint8_t *buf)
{
	struct io late = {
		.op = IO_WRITE, .slab = held, .npages = 1, .buf = buf, .done = count_done};
	uint64_t start = now_ns();
	struct lane *lane;
	struct port_ticket ticket;
	uint32_t slab;

	assert_int_equal(c->ops->tick(c->port), expect);
	error_clear();
	assert_int_equal(c->ops->slab_grant(c->port, &slab), expect);
	assert_true(strlen(error_last()) > 10);
	assert_int_equal(c->ops->slab_shared(c->port, held), expect);
	assert_int_equal(c->ops->clone_prepare(c->port, &ticket), expect);
	if (!(c->ops->flags & TRANSPORT_SYNC))
		assert_true(c->ops->lane_open(c->port, LANE_DEMAND, &lane) < 0);
	c->ops->submit(c->lane, &late);
	assert_true(contract_drive(c, c->lane, &late.aux[0], 1, 1000));
	assert_int_equal(late.status, expect);
	assert_int_equal(c->ops->slab_release(c->port, held), expect);
	assert_true(timely(start, 0));
}

static void end_donor(struct test_donor *to, int signal)
{
	if (signal == SIGSTOP) {
		donor_pause(to);
		return;
	}
	kill(to->pid, signal);
	donor_wait(to, 5000);
}

static void donor_dies(int signal, int expect)
{
	struct test_donor *to = subject_donor();
	uint8_t *buf = pages_new(16 * 64);
	uint64_t start;
	uint32_t slab;
	struct client c;
	int r = 0;

	if (!to)
		skip();
	c = contract_open_to(to, DEADLINE);
	slab = contract_grant(&c);
	expect_status = expect;
	resubmit = &c;
	resubmitting = !(c.ops->flags & TRANSPORT_SYNC);
	fill_flight(&c, slab, buf);
	contract_drive(&c, c.lane, &done_count, 1, 30); /* it is all moving */
	resubmitting = false;
	start = now_ns();
	end_donor(to, signal);
	assert_true(contract_drive(&c, c.lane, &done_count, FLIGHT, 5000));
	check_flight(&c);
	assert_true(timely(start, DEADLINE));
	/* where the donor takes no part in reads and writes, a call to it tells */
	while (!(r = c.ops->tick(c.port)) && now_ns() - start < DEADLINE)
		sleep_ms(20);
	if (!r)
		r = c.ops->slab_shared(c.port, slab);
	assert_int_equal(r, expect);
	assert_true(timely(start, 2 * DEADLINE));
	check_dead(&c, expect, slab, buf);
	client_close(&c);
	pages_free(buf, 16 * 64);
	donor_free(to);
}

void test_kill(void **state)
{
	donor_dies(SIGKILL, -EPIPE);
}

void test_stop(void **state)
{
	donor_dies(SIGSTOP, -ETIMEDOUT);
}

/* Nothing in flight: heartbeats find it out. */
void test_idle(void **state)
{
	static const int signals[] = {SIGKILL, SIGSTOP};

	if (!donor)
		skip();
	for (int s = 0; s < 2; s++) {
		struct test_donor *to = subject_donor();
		struct client c = contract_open_to(to, DEADLINE);
		uint64_t start;
		int r = 0;

		contract_grant(&c);
		start = now_ns();
		end_donor(to, signals[s]);
		/* a stopped donor whose memory is mapped here is missed by nobody */
		if (s && strstr(subject->uri, "shm"))
			assert_int_equal(c.ops->tick(c.port), 0);
		else {
			while (!(r = c.ops->tick(c.port)) &&
			       now_ns() - start < 5000000000ull * slow())
				sleep_ms(20);
			assert_int_equal(r, s ? -ETIMEDOUT : -EPIPE);
			assert_true(timely(start, DEADLINE / 4 * 5));
		}
		client_close(&c);
		donor_free(to);
	}
}

/* Another thread sleeps on its lane's descriptor while the control thread finds the donor dead. */
struct sleeper {
	struct client *c;
	struct lane *lane;
	uint32_t slab;
	int status;
};

static void *sleeper_main(void *arg)
{
	struct sleeper *s = arg;
	uint8_t *buf = pages_new(1);
	struct io io = {
		.op = IO_READ, .slab = s->slab, .npages = 1, .buf = buf, .done = count_done};
	struct pollfd idle = {.fd = s->c->ops->lane_fd(s->lane), .events = POLLIN};

	/* where a read needs the donor's program it is what we sleep over; elsewhere over nothing, and ask then */
	if (subject_one_sided()) {
		while (poll(&idle, 1, 0) == 1)
			s->c->ops->poll(s->lane);
		poll(&idle, 1, 20000);
		s->c->ops->poll(s->lane);
	}
	s->c->ops->submit(s->lane, &io);
	s->c->ops->flush(s->lane);
	while (!io.aux[0]) {
		struct pollfd p = {.fd = s->c->ops->lane_fd(s->lane), .events = POLLIN};

		if (!s->c->ops->poll(s->lane) && !io.aux[0])
			poll(&p, 1, 20000);
	}
	s->status = io.status;
	pages_free(buf, 1);
	return NULL;
}

void test_sleeper_is_woken(void **state)
{
	struct test_donor *to = subject_donor();
	struct sleeper s = {0};
	pthread_t thread;
	struct client c;
	uint64_t start;
	int r;

	if (!to || strstr(subject->uri, "shm"))
		skip();
	c = contract_open_to(to, DEADLINE);
	s.c = &c;
	s.slab = contract_grant(&c);
	s.lane = contract_lane(&c, LANE_DEMAND);
	donor_pause(to);
	pthread_create(&thread, NULL, sleeper_main, &s);
	start = now_ns();
	while (!(r = c.ops->tick(c.port)) && now_ns() - start < 5000000000ull * slow())
		sleep_ms(20);
	assert_int_equal(r, -ETIMEDOUT);
	pthread_join(thread, NULL);
	assert_int_equal(s.status, -ETIMEDOUT);
	assert_true(timely(start, 2 * DEADLINE));
	c.ops->lane_close(s.lane);
	client_close(&c);
	donor_free(to);
}
