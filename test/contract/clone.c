/* SPDX-License-Identifier: Apache-2.0 */
/* clone.c - fork(): tickets, and slabs held by several sessions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "test/contract/contract.h"

#define TICKET_DEADLINE (1000000000ull * slow())

static bool copies(const struct client *c)
{
	return c->ops->flags & TRANSPORT_FORK_COPIES;
}

/* In the child: its own connection and lane, whichever way the transport has. 0 or an exit status. */
static int child_begin(struct client *c, const struct port_ticket *ticket)
{
	if (copies(c))
		return 0;
	if (c->ops->clone_adopt(c->port, ticket)) {
		fprintf(stderr, "child: %s\n", error_last());
		return 10;
	}
	return c->ops->lane_open(c->port, LANE_DEMAND, &c->lane) ? 11 : 0;
}

static bool reads_as(struct client *c, uint32_t slab, uint32_t page, uint64_t seed)
{
	uint8_t *buf = pages_new(1);
	bool ok = !lane_do(c->ops, c->lane, IO_READ, slab, page, 1, buf) && page_is(buf, seed);

	pages_free(buf, 1);
	return ok;
}

static int write_page(struct client *c, uint32_t slab, uint32_t page, uint64_t seed)
{
	uint8_t *buf = pages_new(1);
	int r;

	page_fill(buf, seed);
	r = lane_do(c->ops, c->lane, IO_WRITE, slab, page, 1, buf);
	pages_free(buf, 1);
	return r;
}

/* Waits until the slab is nobody else's. */
static int unshared(struct client *c, uint32_t slab)
{
	for (int i = 0; i < 300 * (int)slow() && c->ops->slab_shared(c->port, slab) == 1; i++)
		sleep_ms(10);
	return c->ops->slab_shared(c->port, slab);
}

static int child_run(struct client *c, const struct port_ticket *ticket, uint32_t slab, int go)
{
	int r = child_begin(c, ticket);
	uint32_t more;
	char byte;

	if (r)
		return r;
	if (!reads_as(c, slab, 3, 33))
		return 12;
	if (c->ops->slab_shared(c->port, slab) != !!donor)
		return 13;
	if (c->ops->slab_grant(c->port, &more) || more == slab || write_page(c, more, 3, 7))
		return 14;
	if (write(go, "x", 1) != 1 || read(go, &byte, 1) != 1) /* the parent has left */
		return 15;
	if (unshared(c, slab) != 0)
		return 16;
	if (!reads_as(c, slab, 3, 33) || !reads_as(c, more, 3, 7))
		return 17;
	if (write_page(c, slab, 3, 44) || !reads_as(c, slab, 3, 44))
		return 18;
	if (c->ops->slab_release(c->port, slab) || c->ops->tick(c->port))
		return 19;
	client_close(c);
	return 0;
}

/* The child takes over with a ticket; pages outlive whoever leaves first. */
void test_clone(void **state)
{
	struct client c = contract_open();
	struct lane *other = contract_lane(&c, LANE_WRITE);
	uint32_t slab = contract_grant(&c), new;
	struct port_ticket ticket;
	int go[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(c.ops->slab_shared(c.port, slab), 0);
	assert_int_equal(write_page(&c, slab, 3, 33), 0);
	assert_int_equal(c.ops->clone_prepare(c.port, &ticket), 0);
	assert_int_equal(c.ops->slab_shared(c.port, slab), !!donor);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, go), 0);
	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(child_run(&c, &ticket, slab, go[0]));
	close(go[0]); /* so that the end of the child is heard */
	c.ops->clone_release(c.port);
	/* the parent's connections are untouched by what the child does with its copies */
	sleep_ms(50);
	assert_true(reads_as(&c, slab, 3, 33));
	new = contract_grant(&c);
	assert_int_equal(c.ops->slab_shared(c.port, new), 0);
	assert_int_equal(write_page(&c, new, 3, 55), 0);
	sleep_ms(50);
	assert_true(reads_as(&c, new, 3, 55));
	(void)!read(go[1], &byte,
		    1); /* the child has seen that the slab is shared, or has failed */
	c.ops->lane_close(other);
	client_close(&c);
	(void)!send(go[1], "x", 1, MSG_NOSIGNAL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(go[1]);
}

static int grandchild(struct client *c, uint32_t slab, int depth)
{
	struct port_ticket ticket;
	int status, r;
	pid_t pid;

	if (!reads_as(c, slab, 9, 99))
		return 21;
	if (!depth)
		return 0;
	if (c->ops->clone_prepare(c->port, &ticket))
		return 22;
	pid = fork();
	if (!pid) {
		r = child_begin(c, &ticket);
		_exit(r ? r : grandchild(c, slab, depth - 1));
	}
	c->ops->clone_release(c->port);
	if (waitpid(pid, &status, 0) != pid || status)
		return 23;
	return reads_as(c, slab, 9, 99) ? 0 : 24;
}

/* A child that forks; and when all are gone, the slab is the parent's own again. */
void test_clone_of_clone(void **state)
{
	struct client c = contract_open();
	uint32_t slab = contract_grant(&c);

	assert_int_equal(write_page(&c, slab, 9, 99), 0);
	fflush(NULL);
	assert_int_equal(grandchild(&c, slab, 3), 0);
	assert_int_equal(unshared(&c, slab), 0);
	assert_int_equal(write_page(&c, slab, 9, 100), 0);
	assert_true(reads_as(&c, slab, 9, 100));
	client_close(&c);
}

/* A ticket is good once, and only for a while. */
void test_ticket(void **state)
{
	struct port_ticket ticket, forged;
	struct client c, d;
	uint32_t slab;

	if (!donor)
		skip(); /* what needs no donor needs no ticket */
	c = contract_open_to(donor, TICKET_DEADLINE);
	slab = contract_grant(&c);
	assert_int_equal(c.ops->clone_prepare(c.port, &ticket), 0);
	forged = ticket;
	forged.bytes[31] ^= 1;
	assert_int_equal(subject_open(donor, TICKET_DEADLINE, &d), 0);
	assert_true(d.ops->clone_adopt(d.port, &forged) < 0);
	assert_non_null(strstr(error_last(), "ticket"));
	assert_true(d.ops->slab_grant(d.port, &slab) < 0); /* dead from then on */
	client_close(&d);
	assert_int_equal(subject_open(donor, TICKET_DEADLINE, &d), 0);
	assert_int_equal(d.ops->clone_adopt(d.port, &ticket), 0);
	client_close(&d);
	assert_int_equal(subject_open(donor, TICKET_DEADLINE, &d), 0);
	assert_true(d.ops->clone_adopt(d.port, &ticket) < 0);
	client_close(&d);
	/* nobody comes: it expires, and the slab is not shared any more */
	assert_int_equal(c.ops->clone_prepare(c.port, &ticket), 0);
	assert_int_equal(c.ops->slab_shared(c.port, slab), 1);
	assert_int_equal(unshared(&c, slab), 0);
	assert_int_equal(subject_open(donor, TICKET_DEADLINE, &d), 0);
	assert_true(d.ops->clone_adopt(d.port, &ticket) < 0);
	client_close(&d);
	client_close(&c);
}
