/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - slabs, what the donor says of itself, peek and tick. */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "test/contract/contract.h"

void test_slabs(void **state)
{
	struct client c = contract_open();
	uint8_t *buf = pages_new(1);
	uint32_t slab[3];

	for (int i = 0; i < 3; i++) {
		slab[i] = contract_grant(&c);
		for (int k = 0; k < i; k++)
			assert_int_not_equal(slab[i], slab[k]);
		assert_int_equal(c.ops->slab_shared(c.port, slab[i]), 0);
		page_fill(buf, (uint64_t)i);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab[i], 5, 1, buf), 0);
	}
	assert_int_equal(c.ops->slab_release(c.port, slab[1]), 0);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab[1], 5, 1, buf), -EIO);
	for (int i = 0; i < 3; i += 2) {
		assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab[i], 5, 1, buf), 0);
		assert_true(page_is(buf, (uint64_t)i));
	}
	/* numbers that are not ours are refused with a sentence; the port goes on */
	error_clear();
	assert_true(c.ops->slab_release(c.port, slab[1]) < 0);
	assert_true(strlen(error_last()) > 10);
	assert_true(c.ops->slab_release(c.port, 1u << 20) < 0);
	assert_true(c.ops->slab_release(c.port, UINT32_MAX) < 0);
	assert_int_equal(c.ops->tick(c.port), 0);
	assert_int_equal(c.ops->slab_release(c.port, slab[0]), 0);
	assert_int_equal(c.ops->slab_release(c.port, slab[2]), 0);
	client_close(&c);
	pages_free(buf, 1);
}

/* A released slab comes back as zeroes, to the same client and to the next. */
void test_zeroed_again(void **state)
{
	uint8_t *buf = pages_new(64);

	for (int session = 0; session < 2; session++) {
		struct client c = contract_open();

		for (int round = 0; round < 2; round++) {
			uint32_t slab = contract_grant(&c);

			for (uint32_t page = 0; page < LEAP_SLAB_PAGES; page += 64 * less()) {
				assert_int_equal(
					lane_do(c.ops, c.lane, IO_READ, slab, page, 64, buf), 0);
				for (int i = 0; i < 64; i++)
					assert_true(page_is_zero(buf + i * 4096));
				memset(buf, 0x5a, 64 * 4096);
				assert_int_equal(
					lane_do(c.ops, c.lane, IO_WRITE, slab, page, 64, buf), 0);
			}
			if (round == 0)
				assert_int_equal(c.ops->slab_release(c.port, slab), 0);
		}
		client_close(&c);
	}
	pages_free(buf, 64);
}

/* A donor that has no slab left says so, and can give again what comes back. */
void test_full(void **state)
{
	struct client c;
	uint32_t slab, last = 0, n = 0;
	int r;

	if (!donor)
		skip(); /* a store inside the process has no slabs to run out of */
	c = contract_open();
	sleep_ms(50); /* what others held returns */
	while (!(r = c.ops->slab_grant(c.port, &slab)) && n < 10) {
		last = slab;
		n++;
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(n, 4);
	assert_true(strlen(error_last()) > 10);
	assert_int_equal(c.ops->tick(c.port), 0);
	assert_int_equal(c.ops->slab_grant(c.port, &slab), -ENOSPC);
	assert_int_equal(c.ops->slab_release(c.port, last), 0);
	assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
	client_close(&c);
}

void test_info(void **state)
{
	struct client c = contract_open();
	struct port_info before, after;
	uint8_t *buf = pages_new(3);
	uint32_t slab;

	for (int i = 0; i < 300; i++) { /* what others held returns */
		assert_int_equal(c.ops->info(c.port, true, &before), 0);
		if (!donor || before.free_bytes == before.total_bytes)
			break;
		sleep_ms(10 * slow());
	}
	assert_true(before.free_bytes <= before.total_bytes);
	assert_true(before.free_bytes >= LEAP_SLAB_BYTES);
	assert_int_equal(before.bytes_read + before.bytes_written, 0);
	if (donor)
		assert_int_equal(before.total_bytes, 256 << 20);
	slab = contract_grant(&c);
	page_fill(buf, 1);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 3, buf), 0);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 0, 2, buf), 0);
	assert_int_equal(c.ops->info(c.port, false, &after), 0);
	assert_int_equal(after.total_bytes, before.total_bytes);
	assert_int_equal(after.free_bytes, before.free_bytes - LEAP_SLAB_BYTES);
	assert_int_equal(after.bytes_written, 3 * 4096);
	assert_int_equal(after.bytes_read, 2 * 4096);
	assert_non_null(memchr(after.text, '\0', sizeof(after.text)));
	assert_non_null(strstr(after.text, c.ops->name));
	/* what a closed lane moved still counts */
	c.ops->lane_close(c.lane);
	c.lane = NULL;
	assert_int_equal(c.ops->slab_release(c.port, slab), 0);
	assert_int_equal(c.ops->info(c.port, true, &after), 0);
	assert_int_equal(after.bytes_written, 3 * 4096);
	assert_int_equal(after.bytes_read, 2 * 4096);
	if (donor)
		assert_int_equal(after.free_bytes, before.free_bytes);
	client_close(&c);
	pages_free(buf, 3);
}

/* With PEEK, a pointer is to the bytes that a read would give; without, there is none. */
void test_peek(void **state)
{
	struct client c = contract_open();
	uint8_t *buf = pages_new(1);
	uint32_t slab = contract_grant(&c), seen = 0;
	const void *p;

	for (uint32_t i = 0; i < 64; i++) {
		for (uint32_t k = 0; k < 4096; k++) /* not compressible */
			buf[k] = (uint8_t)((k * 2654435761u + i * 40503u) >> 11);
		assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, i * 5, 1, buf), 0);
		p = c.ops->peek(c.port, slab, i * 5);
		seen += p != NULL;
		if (p)
			assert_memory_equal(p, buf, 4096);
	}
	if (!(c.ops->flags & TRANSPORT_PEEK))
		assert_int_equal(seen, 0);
	else if (!subject->compress)
		assert_int_equal(seen, 64);
	/* a slot not written, if it can be seen at all, is zero */
	p = c.ops->peek(c.port, slab, 1);
	assert_true(!p || page_is_zero(p));
	assert_null(c.ops->peek(c.port, slab + 1, 0));
	assert_null(c.ops->peek(c.port, UINT32_MAX, 0));
	assert_null(c.ops->peek(c.port, slab, LEAP_SLAB_PAGES));
	client_close(&c);
	pages_free(buf, 1);
}

/* Ticks keep the port alive for longer than the deadline, and never block. */
void test_tick(void **state)
{
	struct client c = contract_open_to(donor, 400000000ull * slow());
	uint8_t *buf = pages_new(1);
	uint32_t slab = contract_grant(&c);

	page_fill(buf, 3);
	assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, 1, 1, buf), 0);
	for (int i = 0; i < 12; i++) {
		assert_int_equal(c.ops->tick(c.port), 0);
		assert_int_equal(c.ops->poll(c.lane), 0);
		sleep_ms(100 * slow());
	}
	for (int i = 0; i < 1000; i++)
		assert_int_equal(c.ops->tick(c.port), 0);
	memset(buf, 0, 4096);
	assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, 1, 1, buf), 0);
	assert_true(page_is(buf, 3));
	client_close(&c);
	pages_free(buf, 1);
}
