/* SPDX-License-Identifier: Apache-2.0 */
/* links: */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "libleap/proto.h"
#include "libleap/transport/transport.h"

static_assert(PROTO_SLAB_BYTES == LEAP_SLAB_BYTES, "one slab size");
static_assert(PROTO_IO_PAGES_MAX == LEAP_IO_PAGES_MAX, "one request size");
static_assert(PROTO_KIND_DEMAND + LANE_WRITE == PROTO_KIND_WRITE, "lane kinds in one order");
static_assert(PROTO_KIND_DEMAND + LANE_PREFETCH == PROTO_KIND_PREFETCH, "lane kinds in one order");

static uint64_t random_state = 0x853c49e6748fea9bull;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void test_bytes_on_the_wire(void **state)
{
	static const uint8_t expect[32] = {'L', 'P', 'M',  '1',  0x00, 0x20, 0,    0,    17, 0, 0,
					   0,   2,   0,    0,    0,    8,    7,    6,    5,  4, 3,
					   2,   1,   0x44, 0x33, 0x22, 0x11, 0x78, 0x56, 0,  0};
	struct proto_head h = proto_head_make(PROTO_WRITE, 0x0102030405060708ull, 8192);

	h.npages = 2;
	h.slab = 0x11223344;
	h.page = 0x5678;
	proto_head_order(&h);
	assert_memory_equal(&h, expect, sizeof(expect));
}

static void test_order_is_its_own_inverse(void **state)
{
	struct proto_hello_ack ack = {0}, ack2;
	struct proto_hello hello, hello2;
	struct proto_head head, head2;

	for (size_t i = 0; i < sizeof(ack); i++)
		((uint8_t *)&ack)[i] = (uint8_t)random_next();
	memcpy(&hello, &ack, sizeof(hello));
	memcpy(&head, &ack, sizeof(head));
	ack2 = ack;
	hello2 = hello;
	head2 = head;
	proto_hello_ack_order(&ack2);
	proto_hello_ack_order(&ack2);
	proto_hello_order(&hello2);
	proto_hello_order(&hello2);
	proto_head_order(&head2);
	proto_head_order(&head2);
	assert_memory_equal(&ack, &ack2, sizeof(ack));
	assert_memory_equal(&hello, &hello2, sizeof(hello));
	assert_memory_equal(&head, &head2, sizeof(head));
}

static struct proto_head io_head(enum proto_type type, uint32_t slab, uint32_t page,
				 uint32_t npages)
{
	struct proto_head h = proto_head_make(type, 1, type == PROTO_WRITE ? npages * 4096 : 0);

	h.slab = slab;
	h.page = page;
	h.npages = npages;
	return h;
}

static void test_page_requests(void **state)
{
	struct proto_head h;

	for (int t = PROTO_READ; t <= PROTO_WRITE; t++) {
		h = io_head(t, 0, 0, 1);
		assert_null(proto_request_check(&h, true));
		assert_non_null(proto_request_check(&h, false));
		h = io_head(t, 65535, PROTO_SLAB_PAGES - 64, 64);
		assert_null(proto_request_check(&h, true));
		h = io_head(t, 0, PROTO_SLAB_PAGES - 63, 64);
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 0, PROTO_SLAB_PAGES, 1);
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 0, UINT32_MAX, 1); /* page + npages wraps */
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 65536, 0, 1);
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 0, 0, 0);
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 0, 0, 65);
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 0, 0, 1u << 20); /* npages * 4096 wraps to 0 */
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 0, 0, 1);
		h.length++;
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 0, 0, 1);
		h.status = 1;
		assert_non_null(proto_request_check(&h, true));
		h = io_head(t, 0, 0, 1);
		h.magic ^= 0x100;
		assert_non_null(proto_request_check(&h, true));
	}
}

static void test_control_requests(void **state)
{
	struct proto_head h;

	for (unsigned t = 0; t < 256; t++) {
		bool known = t >= PROTO_GRANT && t <= PROTO_ATTACH;

		h = proto_head_make(t, 1, 0);
		h.page = t == PROTO_CLONE;
		assert_int_equal(proto_request_check(&h, false) == NULL, known);
		assert_int_equal(proto_request_check(&h, true) == NULL, t == PROTO_PING);
		h.length = 1;
		assert_non_null(proto_request_check(&h, false));
		h.length = 0;
		h.npages = 1;
		assert_non_null(proto_request_check(&h, false));
		h.npages = 0;
		h.slab = 65536;
		assert_non_null(proto_request_check(&h, false));
	}
	h = proto_head_make(PROTO_CLONE, 1, 0);
	assert_non_null(proto_request_check(&h, false));
	h.page = PROTO_TICKET_MS_MAX;
	assert_null(proto_request_check(&h, false));
	h.page++;
	assert_non_null(proto_request_check(&h, false));
}

static void test_hello(void **state)
{
	struct proto_head h = proto_head_make(PROTO_HELLO, 0, sizeof(struct proto_hello));
	struct proto_hello hello = {
		.version = PROTO_VERSION, .kind = PROTO_KIND_CONTROL, .name = "ok"};

	assert_null(proto_hello_head_check(&h));
	h.length--;
	assert_non_null(proto_hello_head_check(&h));
	h.length = PROTO_BODY_MAX; /* a longer HELLO of a later release */
	assert_null(proto_hello_head_check(&h));
	h.length++;
	assert_non_null(proto_hello_head_check(&h));
	h.length = sizeof(struct proto_hello);
	h.type = PROTO_GRANT;
	assert_non_null(proto_hello_head_check(&h));

	assert_null(proto_hello_check(&hello));
	hello.kind = PROTO_KINDS;
	assert_non_null(proto_hello_check(&hello));
	hello.kind = PROTO_KIND_WRITE;
	hello.name[1] = '\n';
	assert_non_null(proto_hello_check(&hello));
	memset(hello.name, 'a', sizeof(hello.name)); /* no end */
	assert_non_null(proto_hello_check(&hello));
}

static void test_replies(void **state)
{
	struct proto_head request = io_head(PROTO_READ, 3, 5, 2), reply = request;

	reply.length = 8192;
	assert_null(proto_io_reply_check(&reply, &request));
	reply.status = PROTO_BAD_SLAB; /* as long as when it works */
	assert_null(proto_io_reply_check(&reply, &request));
	reply.status = PROTO_STATUSES;
	assert_non_null(proto_io_reply_check(&reply, &request));
	reply.status = 0;
	reply.id++;
	assert_non_null(proto_io_reply_check(&reply, &request));
	reply.id--;
	reply.page++;
	assert_non_null(proto_io_reply_check(&reply, &request));
	reply.page--;
	reply.length = 4096;
	assert_non_null(proto_io_reply_check(&reply, &request));

	reply = proto_head_make(PROTO_GRANT, 1, sizeof(struct proto_info));
	assert_null(proto_control_reply_check(&reply));
	reply.slab = PROTO_SLABS_MAX;
	assert_non_null(proto_control_reply_check(&reply));
	reply.slab = 0;
	reply.length = PROTO_BODY_MAX + 1;
	assert_non_null(proto_control_reply_check(&reply));
	reply.length = 10;
	assert_non_null(proto_control_reply_check(&reply));
	reply.status = PROTO_NO_SPACE;
	assert_null(proto_control_reply_check(&reply));
	/* A type that this release does not know is skipped. */
	reply = proto_head_make(200, 0, 100);
	assert_null(proto_control_reply_check(&reply));
}

/* Whatever passes stays within the bounds that execution relies on. */
static void test_random_heads(void **state)
{
	static const uint8_t types[] = {3, 4, 5, 6, 7, 8, 9, 16, 17, 40};
	unsigned passed = 0;
	struct proto_head h;

	for (int i = 0; i < 2000000; i++) {
		bool lane = random_next() & 1;

		h = proto_head_make(types[random_next() % sizeof(types)], random_next(), 0);
		h.npages = random_next() % 4 ? (uint32_t)(random_next() % 70)
					     : (uint32_t)random_next();
		h.slab = random_next() % 4 ? (uint32_t)(random_next() % 70000)
					   : (uint32_t)random_next();
		h.page = random_next() % 4 ? (uint32_t)(random_next() % 16500)
					   : (uint32_t)random_next();
		h.length = random_next() % 4 ? h.npages * 4096 : (uint32_t)random_next();
		if (random_next() % 2)
			h.npages = h.length = 0;
		if (proto_request_check(&h, lane))
			continue;
		passed++;
		assert_true(h.slab < PROTO_SLABS_MAX);
		assert_true(h.length <= PROTO_IO_PAGES_MAX * 4096);
		if (h.type == PROTO_READ || h.type == PROTO_WRITE) {
			assert_true(lane && h.npages >= 1 && h.npages <= 64);
			assert_true((uint64_t)h.page + h.npages <= PROTO_SLAB_PAGES);
		}
	}
	assert_true(passed > 1000);
}

static void test_statuses(void **state)
{
	assert_int_equal(proto_status_errno(PROTO_OK), 0);
	for (unsigned s = 1; s < 70000; s++)
		assert_true(proto_status_errno(s) < 0);
	assert_int_equal(proto_status_errno(PROTO_NO_SPACE), -ENOSPC);
	assert_int_equal(proto_status_errno(PROTO_QUOTA), -ENOSPC);
	assert_int_equal(proto_status_errno(PROTO_DRAINING), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_on_the_wire),
		cmocka_unit_test(test_order_is_its_own_inverse),
		cmocka_unit_test(test_page_requests),
		cmocka_unit_test(test_control_requests),
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_random_heads),
		cmocka_unit_test(test_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
