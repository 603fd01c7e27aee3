/* SPDX-License-Identifier: Apache-2.0 */
/* fork(): clone tickets, and slabs held by several sessions. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
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

/*
 * fork(): the child takes over with a ticket; pages outlive whoever leaves first.
 */
static int child_run(struct client *c, const struct port_ticket *ticket, uint32_t slab, int go)
{
	uint8_t *buf = pages_new(1);
	struct lane *lane;
	uint32_t more;
	char byte;

	if (c->ops->clone_adopt(c->port, ticket)) {
		fprintf(stderr, "child: %s\n", error_last());
		return 10;
	}
	if (c->ops->lane_open(c->port, LANE_DEMAND, &lane))
		return 11;
	if (lane_do(c->ops, lane, IO_READ, slab, 3, 1, buf) || !page_is(buf, 33))
		return 12;
	if (c->ops->slab_shared(c->port, slab) != 1)
		return 13;
	if (read(go, &byte, 1) != 1) /* the parent has left */
		return 14;
	for (int i = 0; i < 100 && c->ops->slab_shared(c->port, slab) != 0; i++)
		sleep_ms(10);
	if (c->ops->slab_shared(c->port, slab) != 0)
		return 15;
	if (lane_do(c->ops, lane, IO_READ, slab, 3, 1, buf) || !page_is(buf, 33))
		return 16;
	page_fill(buf, 44);
	if (lane_do(c->ops, lane, IO_WRITE, slab, 3, 1, buf) ||
	    lane_do(c->ops, lane, IO_READ, slab, 3, 1, buf))
		return 17;
	if (!page_is(buf, 44) || c->ops->slab_grant(c->port, &more) || more == slab)
		return 18;
	c->ops->lane_close(lane);
	c->ops->close(c->port);
	return 0;
}

static void test_clone(void **state)
{
	for (int k = 0; k < CARRIERS; k++) {
		struct port_ticket ticket;
		int go[2], status;
		struct client c;
		uint32_t slab, new;
		uint8_t *buf;
		pid_t pid;

		if (!carrier_exists(k))
			continue;
		c = open_or_fail(k);
		buf = pages_new(1);
		assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
		assert_int_equal(c.ops->slab_shared(c.port, slab), 0);
		page_fill(buf, 33);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 3, 1, buf), 0);
		assert_int_equal(c.ops->clone_prepare(c.port, &ticket), 0);
		assert_int_equal(c.ops->slab_shared(c.port, slab), 1);
		assert_int_equal(pipe(go), 0);
		fflush(NULL);
		pid = fork();
		if (!pid)
			_exit(child_run(&c, &ticket, slab, go[0]));
		/* The parent's connections are untouched by what the child does with its copies. */
		sleep_ms(50);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 3, 1, buf), 0);
		assert_true(page_is(buf, 33));
		assert_int_equal(c.ops->slab_grant(c.port, &new), 0);
		assert_int_equal(c.ops->slab_shared(c.port, new), 0);
		client_close(&c);
		assert_int_equal(write(go[1], "x", 1), 1);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		close(go[0]);
		close(go[1]);
		pages_free(buf, 1);
	}
}

/* A ticket is good once, and only for a while. */
static void test_ticket(void **state)
{
	for (int k = 0; k < CARRIERS; k++) {
		struct port_ticket ticket, forged;
		struct client c, d;
		uint32_t slab;

		if (!carrier_exists(k))
			continue;
		assert_int_equal(client_open(&c, donor, k, 300000000), 0);
		assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
		assert_int_equal(c.ops->clone_prepare(c.port, &ticket), 0);
		forged = ticket;
		forged.bytes[31] ^= 1;
		assert_int_equal(client_open(&d, donor, k, 300000000), 0);
		assert_true(d.ops->clone_adopt(d.port, &forged) < 0);
		assert_non_null(strstr(error_last(), "ticket"));
		assert_true(d.ops->slab_grant(d.port, &slab) < 0); /* dead from then on */
		client_close(&d);
		assert_int_equal(client_open(&d, donor, k, 300000000), 0);
		assert_int_equal(d.ops->clone_adopt(d.port, &ticket), 0);
		client_close(&d);
		assert_int_equal(client_open(&d, donor, k, 300000000), 0);
		assert_true(d.ops->clone_adopt(d.port, &ticket) < 0);
		client_close(&d);
		/* Nobody comes: it expires, and the slab is not shared any more. */
		assert_int_equal(c.ops->clone_prepare(c.port, &ticket), 0);
		assert_int_equal(c.ops->slab_shared(c.port, slab), 1);
		for (int i = 0; i < 200 && c.ops->slab_shared(c.port, slab) == 1; i++)
			sleep_ms(10);
		assert_int_equal(c.ops->slab_shared(c.port, slab), 0);
		assert_int_equal(client_open(&d, donor, k, 300000000), 0);
		assert_true(d.ops->clone_adopt(d.port, &ticket) < 0);
		client_close(&d);
		client_close(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clone),
		cmocka_unit_test(test_ticket),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
