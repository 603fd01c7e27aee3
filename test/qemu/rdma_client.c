/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_client.c - clients of an RDMA donor, at the level of the transport, for what a well-behaved program never does.
 *
 *   rdma_client cycles N URI   connects, makes a lane, disconnects; N times; each fifth time it takes a slab (to register
 *                              one takes the emulated machine more than a second), writes and reads a page
 *   rdma_client stolen URI     three clients; the second reads with the key and address of the first one's slab
 *
 * "stolen" passes when the read fails, nothing of the first one's page is seen, the second one is dropped, and the first and the
 * third go on reading and writing.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/transport/rdma_conn.h"
#include "libleap/transport/uri.h"
#include "test/donor/harness.h"

#define DEADLINE_NS 60000000000ull /* an emulated machine may stand still for long */

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	printf("rdma_client: not so: %s (%s)\n", what, error_last());
	exit(1);
}

static struct client open_client(const char *text, uint64_t number, uint32_t *ret_slab)
{
	struct transport_params params = {
		.deadline_ns = DEADLINE_NS, .client_id = {7, number}, .client_name = "rdma_client"};
	struct client c = {.ops = &transport_rdma};
	struct donor_uri uri;

	check(uri_parse_list(text, &uri, 1) == 1, "the address can be read");
	check(!c.ops->open(&uri, &params, &c.port), "the donor is reached");
	check(!ret_slab || !c.ops->slab_grant(c.port, ret_slab), "the donor gives a slab");
	check(!c.ops->lane_open(c.port, LANE_DEMAND, &c.lane), "there is a lane");
	return c;
}

static void write_and_read(struct client *c, uint32_t slab, uint32_t page, uint64_t seed)
{
	uint8_t *buf = pages_new(1);

	page_fill(buf, seed);
	check(!lane_do(c->ops, c->lane, IO_WRITE, slab, page, 1, buf), "a page is written");
	memset(buf, 0, 4096);
	check(!lane_do(c->ops, c->lane, IO_READ, slab, page, 1, buf), "a page is read");
	check(page_is(buf, seed), "the page is what was written");
	pages_free(buf, 1);
}

static void cycles(unsigned n, const char *text)
{
	for (unsigned i = 0; i < n; i++) {
		bool full = i % 5 == 0;
		uint32_t slab;
		struct client c = open_client(text, i, full ? &slab : NULL);

		if (full)
			write_and_read(&c, slab, i, i);
		c.ops->lane_close(c.lane);
		c.ops->close(c.port);
	}
	printf("rdma_client: %u cycles\n", n);
}

/* Is the port dead within ten seconds? */
static bool dropped(struct client *c)
{
	for (int i = 0; i < 100; i++) {
		if (c->ops->tick(c->port))
			return true;
		sleep_ms(100);
	}
	return false;
}

static void stolen(const char *text)
{
	uint32_t slab[3];
	struct client owner = open_client(text, 1, &slab[0]);
	struct client thief = open_client(text, 2, &slab[1]);
	struct client other = open_client(text, 3, &slab[2]);
	uint8_t *buf = pages_new(1);
	int status;

	write_and_read(&owner, slab[0], 5, 55);
	write_and_read(&thief, slab[1], 5, 66);
	write_and_read(&other, slab[2], 5, 77);
	/* from here on the thief takes the owner's slab for its own */
	atomic_store(&thief.port->keys[slab[1]].address,
		     atomic_load(&owner.port->keys[slab[0]].address));
	atomic_store(&thief.port->keys[slab[1]].key, atomic_load(&owner.port->keys[slab[0]].key));
	status = lane_do(thief.ops, thief.lane, IO_READ, slab[1], 5, 1, buf);
	printf("rdma_client: the read with another's key ended with %d\n", status);
	check(status < 0, "the device refuses another client's key");
	check(!page_is(buf, 55), "nothing of the other's page is seen");
	check(dropped(&thief), "who tries is dropped");
	write_and_read(&owner, slab[0], 6, 56);
	write_and_read(&other, slab[2], 6, 78);
	check(!owner.ops->tick(owner.port) && !other.ops->tick(other.port),
	      "the others stay connected");
	memset(buf, 0, 4096);
	check(!lane_do(owner.ops, owner.lane, IO_READ, slab[0], 5, 1, buf) && page_is(buf, 55),
	      "the owner's page is unharmed");
	pages_free(buf, 1);
	thief.ops->lane_close(thief.lane);
	thief.ops->close(thief.port);
	owner.ops->lane_close(owner.lane);
	owner.ops->close(owner.port);
	other.ops->lane_close(other.lane);
	other.ops->close(other.port);
	printf("rdma_client: refused, dropped, the others unharmed\n");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(110);
	if (argc == 4 && !strcmp(argv[1], "cycles"))
		cycles((unsigned)atoi(argv[2]), argv[3]);
	else if (argc == 3 && !strcmp(argv[1], "stolen"))
		stolen(argv[2]);
	else
		return 2;
	return 0;
}
