/* SPDX-License-Identifier: Apache-2.0 */
/* The faults of the faulty transport: each happens when it was asked for, and not else. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/transport/uri.h"
#include "test/donor/harness.h"

#define DEADLINE 200000000ull

static int try_open(const char *spec, struct client *ret_client)
{
	struct transport_params params = {.deadline_ns = DEADLINE, .client_name = "test"};
	struct donor_uri uri;
	char text[256];

	alarm(20);
	memset(ret_client, 0, sizeof(*ret_client));
	snprintf(text, sizeof(text), "faulty:%s:loop:", spec);
	assert_int_equal(uri_parse_list(text, &uri, 1), 1);
	ret_client->ops = transport_find(uri.scheme);
	assert_ptr_equal(ret_client->ops, &transport_faulty);
	return ret_client->ops->open(&uri, &params, &ret_client->port);
}

static struct client open_with(const char *spec)
{
	struct client c;

	if (try_open(spec, &c))
		fail_msg("%s: %s", spec, error_last());
	return c;
}

static struct client open_lane(const char *spec, uint32_t *ret_slab)
{
	struct client c = open_with(spec);

	assert_int_equal(c.ops->lane_open(c.port, LANE_DEMAND, &c.lane), 0);
	assert_int_equal(c.ops->slab_grant(c.port, ret_slab), 0);
	return c;
}

static void test_spec(void **state)
{
	static const char *const bad[] = {
		"read-error",
		"read-error=",
		"read-error=0",
		"read-error=x",
		"read-error=1++",
		"nonsense=1",
		"=1",
		"read-error=1 ",
		"read-error=-1",
		"delay-us=0",
		"corrupt=99999999999",
		"a-very-long-name-that-fits-nowhere-at-all-so-it-must-be-refused=1"};
	struct client c;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct transport_params params = {.deadline_ns = DEADLINE};
		struct donor_uri uri = {.scheme = "faulty"};

		snprintf(uri.host, sizeof(uri.host), "%s:loop:", bad[i]);
		error_clear();
		if (transport_faulty.open(&uri, &params, &c.port) != -EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
		assert_non_null(strstr(error_last(), "faulty"));
	}
	c = open_with("");
	c.ops->close(c.port);
	c = open_with("read-error=5,write-error=2+,delay-us=10,corrupt=7");
	c.ops->close(c.port);
}

static void test_io_errors(void **state)
{
	uint8_t *buf = pages_new(2);
	uint32_t slab;
	struct client c = open_lane("read-error=3,write-error=2+", &slab);

	page_fill(buf, 1);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 1, buf), 0);
	page_fill(buf, 2);
	for (int i = 0; i < 3; i++)
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 1, buf), -EIO);
	for (int i = 1; i <= 6; i++) {
		memset(buf, 0, 4096);
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, buf),
				 i == 3 ? -EIO : 0);
		assert_true(i == 3 ? page_is_zero(buf) : page_is(buf, 1)); /* nothing got through */
	}
	assert_int_equal(c.ops->tick(c.port), 0);
	client_close(&c);
	pages_free(buf, 2);
}

static unsigned bits_differ(const uint8_t *a, const uint8_t *b)
{
	unsigned n = 0;

	for (int i = 0; i < 4096; i++)
		n += (unsigned)__builtin_popcount((unsigned)(a[i] ^ b[i]));
	return n;
}

/* The seventh page read is the third of the second request. */
static void test_corrupt(void **state)
{
	static const char *const spec[] = {"corrupt=7", "corrupt=7+"};
	uint8_t *want = pages_new(8), *buf = pages_new(8);

	for (int k = 0; k < 2; k++) {
		uint32_t slab;
		struct client c = open_lane(spec[k], &slab);

		for (int i = 0; i < 8; i++)
			page_fill(want + i * 4096, (uint64_t)i);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 8, want), 0);
		for (unsigned request = 1; request <= 4; request++) {
			assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 4, buf), 0);
			for (unsigned i = 0; i < 4; i++) {
				unsigned n = bits_differ(buf + i * 4096, want + i * 4096);

				if (request == 2 && i == 2)
					assert_int_equal(n, 1);
				else if (request < 2 || (request == 2 && i < 2) || !k)
					assert_int_equal(n, 0);
			}
			if (k && request > 2) /* at least one page of each later request */
				assert_true(bits_differ(buf, want) == 1);
		}
		client_close(&c);
	}
	pages_free(want, 8);
	pages_free(buf, 8);
}

static void test_control_errors(void **state)
{
	struct client c =
		open_with("grant-error=2,release-error=1,shared-error=1,info-error=1,lane-error=1,"
			  "clone-error=1");
	struct port_ticket ticket;
	struct port_info info;
	uint32_t slab, other;

	assert_int_equal(c.ops->lane_open(c.port, LANE_DEMAND, &c.lane), -EIO);
	assert_int_equal(c.ops->lane_open(c.port, LANE_DEMAND, &c.lane), 0);
	assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
	error_clear();
	assert_int_equal(c.ops->slab_grant(c.port, &other), -ENOSPC);
	assert_non_null(strstr(error_last(), "faulty"));
	assert_int_equal(c.ops->slab_grant(c.port, &other), 0);
	assert_int_equal(c.ops->slab_shared(c.port, slab), -EIO);
	assert_int_equal(c.ops->slab_shared(c.port, slab), 0);
	assert_int_equal(c.ops->info(c.port, false, &info), 0);
	assert_int_equal(c.ops->info(c.port, true, &info), -EIO);
	assert_int_equal(c.ops->info(c.port, true, &info), 0);
	assert_int_equal(c.ops->slab_release(c.port, other), -EIO);
	assert_int_equal(c.ops->slab_release(c.port, other), 0);
	assert_int_equal(c.ops->clone_prepare(c.port, &ticket), -EIO);
	assert_int_equal(c.ops->clone_prepare(c.port, &ticket), 0);
	client_close(&c);
}

static void check_dead(struct client *c, int code)
{
	uint32_t slab;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(c->ops->tick(c->port), code);
		assert_int_equal(c->ops->slab_grant(c->port, &slab), code);
	}
}

static void test_die(void **state)
{
	uint8_t *buf = pages_new(1);
	uint32_t slab;
	struct client c = open_lane("die=3", &slab);
	struct lane *other;

	assert_int_equal(c.ops->lane_open(c.port, LANE_WRITE, &other), 0);
	assert_int_equal(lane_do(c.ops, other, IO_WRITE, slab, 0, 1, buf), 0);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, buf), 0);
	assert_int_equal(c.ops->tick(c.port), 0);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, buf), -EPIPE);
	assert_int_equal(lane_do(c.ops, other, IO_WRITE, slab, 0, 1, buf), -EPIPE);
	check_dead(&c, -EPIPE);
	c.ops->lane_close(other);
	client_close(&c);
	c = open_lane("tick-error=3", &slab);
	assert_int_equal(c.ops->tick(c.port), 0);
	assert_int_equal(c.ops->tick(c.port), 0);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, buf), 0);
	assert_int_equal(c.ops->tick(c.port), -EPIPE);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, buf), -EPIPE);
	check_dead(&c, -EPIPE);
	client_close(&c);
	pages_free(buf, 1);
}

/* No answer until the deadline; another thread that sleeps on a lane of the port is woken, too. */
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

	s->status = lane_do(s->c->ops, s->lane, IO_READ, s->slab, 0, 1, buf);
	pages_free(buf, 1);
	return NULL;
}

static void test_hang(void **state)
{
	uint8_t *buf = pages_new(1);
	struct sleeper s = {0};
	struct client c = open_lane("hang=2", &s.slab);
	uint64_t start;
	pthread_t thread;

	s.c = &c;
	assert_int_equal(c.ops->lane_open(c.port, LANE_PREFETCH, &s.lane), 0);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, s.slab, 0, 1, buf), 0);
	start = now_ns();
	pthread_create(&thread, NULL, sleeper_main, &s);
	sleep_ms(30);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, s.slab, 0, 1, buf), -ETIMEDOUT);
	pthread_join(thread, NULL);
	assert_int_equal(s.status, -ETIMEDOUT);
	assert_true(now_ns() - start >= DEADLINE);
	check_dead(&c, -ETIMEDOUT);
	c.ops->lane_close(s.lane);
	client_close(&c);
	/* writes of other lanes pass; a hung lane can be closed */
	c = open_lane("hang=1", &s.slab);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, s.slab, 0, 1, buf), 0);
	client_close(&c);
	pages_free(buf, 1);
}

static void test_delay(void **state)
{
	uint8_t *buf = pages_new(1);
	uint32_t slab;
	struct client c = open_lane("delay-us=30000", &slab);
	uint64_t start = now_ns();

	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, buf), 0);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 1, buf), 0);
	assert_true(now_ns() - start >= 60000000);
	client_close(&c);
	pages_free(buf, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec),    cmocka_unit_test(test_io_errors),
		cmocka_unit_test(test_corrupt), cmocka_unit_test(test_control_errors),
		cmocka_unit_test(test_die),     cmocka_unit_test(test_hang),
		cmocka_unit_test(test_delay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
