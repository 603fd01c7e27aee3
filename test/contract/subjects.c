/* SPDX-License-Identifier: Apache-2.0 */
/* subjects.c - the transports under test, and what their tests share. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/transport/uri.h"
#include "test/contract/contract.h"

static const struct subject subjects[] = {
	{.name = "loop", .uri = "loop:"},
	{.name = "loop lz4", .uri = "loop:", .compress = true},
	{.name = "shm", .uri = "shm:$SHM"},
	{.name = "tcp io_uring", .uri = "tcp://$TCP", .io_uring = true},
	{.name = "tcp sockets", .uri = "tcp://$TCP"},
	{.name = "tcp sockets IPv6", .uri = "tcp://$TCP6"},
	{.name = "rdma", .uri = "rdma://$RDMA"},
	{.name = "faulty over loop", .uri = "faulty:delay-us=200:loop:"},
	{.name = "faultysync over loop", .uri = "faultysync::loop:"},
	{.name = "faulty over loop lz4", .uri = "faulty::loop:", .compress = true},
	{.name = "faulty over shm", .uri = "faulty:delay-us=200:shm:$SHM"},
	{.name = "faulty over tcp", .uri = "faulty:delay-us=200:tcp://$TCP", .io_uring = true},
};

const struct subject *subject;
struct test_donor *donor;
_Atomic unsigned watch_bad;
static _Thread_local struct lane *inside;

const struct subject *subject_get(unsigned n)
{
	return n < sizeof(subjects) / sizeof(subjects[0]) ? &subjects[n] : NULL;
}

struct test_donor *subject_donor(void)
{
	return strchr(subject->uri, '$') ? donor_start("--memory", "256M", NULL) : NULL;
}

bool subject_one_sided(void)
{
	return strstr(subject->uri, "shm") || strstr(subject->uri, "rdma");
}

bool subject_possible(void)
{
	return (!strstr(subject->uri, "$TCP6") || donor->port6) &&
	       (!strstr(subject->uri, "$RDMA") || donor->port_rdma);
}

/* Puts the donor's addresses into the template. */
static void address(const struct test_donor *to, char *buf, size_t size)
{
	const char *at = strchr(subject->uri, '$');

	if (!at)
		snprintf(buf, size, "%s", subject->uri);
	else if (!strcmp(at, "$RDMA"))
		snprintf(buf, size, "%.*s%s:%u", (int)(at - subject->uri), subject->uri, TEST_RDMA,
			 to->port_rdma);
	else if (!strcmp(at, "$TCP6"))
		snprintf(buf, size, "%.*s[::1]:%u", (int)(at - subject->uri), subject->uri,
			 to->port6);
	else if (!strcmp(at, "$TCP"))
		snprintf(buf, size, "%.*s127.0.0.1:%u", (int)(at - subject->uri), subject->uri,
			 to->port);
	else
		snprintf(buf, size, "%.*s%s", (int)(at - subject->uri), subject->uri, to->shm);
}

int subject_open(struct test_donor *to, uint64_t deadline_ns, struct client *ret_client)
{
	struct transport_params params = {
		.deadline_ns = deadline_ns,
		.client_id = {1, 2},
		.client_name = "contract",
		.io_uring = subject->io_uring,
		.loop_compress = subject->compress,
	};
	struct donor_uri uri;
	char text[256];

	address(to, text, sizeof(text));
	memset(ret_client, 0, sizeof(*ret_client));
	if (uri_parse_list(text, &uri, 1) != 1)
		fail_msg("%s: %s", text, error_last());
	ret_client->ops = transport_find(uri.scheme);
	assert_non_null(ret_client->ops);
	return ret_client->ops->open(&uri, &params, &ret_client->port);
}

struct client contract_open_to(struct test_donor *to, uint64_t deadline_ns)
{
	struct client c;

	if (subject_open(to, deadline_ns, &c))
		fail_msg("%s: %s", subject->name, error_last());
	c.lane = contract_lane(&c, LANE_DEMAND);
	return c;
}

struct client contract_open(void)
{
	return contract_open_to(donor, 5000000000ull * slow());
}

uint32_t contract_grant(struct client *c)
{
	uint32_t slab;

	if (c->ops->slab_grant(c->port, &slab))
		fail_msg("%s: %s", subject->name, error_last());
	return slab;
}

struct lane *contract_lane(struct client *c, enum lane_kind kind)
{
	struct lane *lane;

	if (c->ops->lane_open(c->port, kind, &lane))
		fail_msg("%s: %s", subject->name, error_last());
	return lane;
}

struct lane *watch_inside(void)
{
	return inside;
}

void watch_submit(struct client *c, struct lane *lane, struct io *io)
{
	struct lane *before = inside;

	inside = lane;
	c->ops->submit(lane, io);
	inside = before;
}

void watch_flush(struct client *c, struct lane *lane)
{
	struct lane *before = inside;

	inside = lane;
	c->ops->flush(lane);
	inside = before;
}

int watch_poll(struct client *c, struct lane *lane)
{
	struct lane *before = inside;
	int n;

	inside = lane;
	n = c->ops->poll(lane);
	inside = before;
	return n;
}

void watch_close(struct client *c, struct lane *lane)
{
	struct lane *before = inside;

	inside = lane;
	c->ops->lane_close(lane);
	inside = before;
}

bool contract_drive(struct client *c, struct lane *lane, const unsigned *count, unsigned upto,
		    int ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * 1000000 * slow();

	while (*count < upto) {
		struct pollfd p = {.fd = c->ops->lane_fd(lane), .events = POLLIN};

		if (now_ns() >= end)
			return false;
		watch_flush(c, lane);
		if (!watch_poll(c, lane) && *count < upto)
			poll(&p, 1, 20);
	}
	return true;
}
