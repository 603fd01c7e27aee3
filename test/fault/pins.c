/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pins.c - memory that the kernel writes although no call is under way: fixed buffers of io_uring, registered by plain
 * system calls that nobody replaces.
 *
 * usage: pins [CASE...]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "libleap/region_int.h"
#include "libleap/uffd/pinned.h"
#include "test/fault/cases.h"

struct ring {
	int fd;
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static bool ring_open(struct ring *r)
{
	memset(r, 0, sizeof(*r));
	r->fd = (int)syscall(SYS_io_uring_setup, 8, &r->params);
	if (r->fd < 0)
		return false;
	r->sq = mmap(NULL, r->params.sq_off.array + r->params.sq_entries * 4,
		     PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->cq = mmap(NULL, r->params.cq_off.cqes + r->params.cq_entries * 16,
		     PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	r->sqes = mmap(NULL, r->params.sq_entries * 64, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		       IORING_OFF_SQES);
	return true;
}

/* Reads into the ring's fixed buffer. */
static int ring_read(struct ring *r, int fd, void *buf, unsigned len)
{
	unsigned *tail = (unsigned *)(r->sq + r->params.sq_off.tail);
	unsigned *mask = (unsigned *)(r->sq + r->params.sq_off.ring_mask);
	unsigned *array = (unsigned *)(r->sq + r->params.sq_off.array);
	unsigned *head = (unsigned *)(r->cq + r->params.cq_off.head);
	unsigned *cq_mask = (unsigned *)(r->cq + r->params.cq_off.ring_mask);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(r->cq + r->params.cq_off.cqes);
	unsigned at = *tail & *mask;
	int result;

	r->sqes[at] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED,
		.fd = fd,
		.addr = (uintptr_t)buf,
		.len = len,
	};
	array[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	result = cqes[*head & *cq_mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

/* A pinned page does not leave, although its extent lies in several mappings. */
static void pinned(void (*split)(void))
{
	char name[] = "/tmp/leap-truth-XXXXXX", *buf;
	struct iovec iov;
	struct ring ring;
	int fd = mkstemp(name);

	unlink(name);
	start("local=8M mover=move prefetch=none");
	make(8192);
	fill(0, 8192, 1);
	check(128, 64, 1);
	buf = base + 136 * PAGE;
	if (!ring_open(&ring)) {
		printf("pinned: io_uring is not allowed here\n");
		return;
	}
	iov = (struct iovec){buf, 4 * PAGE};
	if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &iov, 1))
		FAIL("IORING_REGISTER_BUFFERS: %s", strerror(errno));
	split();
	MUST(leap_evict(leap, base, 8192 * PAGE));
	if (page_state(&region->pages[200]) == PAGE_LOCAL)
		FAIL("nothing was evicted");
	for (size_t p = 136; p < 140; p++)
		for (unsigned i = 0; i < PAGE / 8; i++) {
			uint64_t w = word_of(p, 2, i);

			if (write(fd, &w, sizeof(w)) != sizeof(w))
				FAIL("write: %s", strerror(errno));
		}
	if (ring_read(&ring, fd, buf, 4 * PAGE) != 4 * (int)PAGE)
		FAIL("the fixed read failed");
	check(136, 4, 2);
	check(0, 136, 1);
	MUST(leap_close(leap));
}

static void split_none(void)
{
}

static void split_guard(void)
{
	if (mprotect(base + 168 * PAGE, PAGE, PROT_NONE))
		FAIL("mprotect: %s", strerror(errno));
}

static void split_locked(void)
{
	if (mlock(base + 130 * PAGE, 2 * PAGE))
		FAIL("mlock: %s", strerror(errno));
}

static void case_pinned(void)
{
	pinned(split_none);
}

static void case_pinned_guard(void)
{
	pinned(split_guard);
}

static void case_pinned_locked(void)
{
	pinned(split_locked);
}

/* --- the same for the mover wp, which sees no pins: nothing but the kernel's count tells of them ------------------ */

static bool wp_open(struct ring *rings, unsigned n)
{
	start("local=8M mover=wp prefetch=none");
	make(8192);
	fill(0, 8192, 1);
	for (unsigned i = 0; i < n; i++)
		if (!ring_open(&rings[i])) {
			printf("pinned: io_uring is not allowed here\n");
			return false;
		}
	return true;
}

static void ring_register(const struct ring *r, void *buf, size_t pages)
{
	struct iovec iov = {buf, pages * PAGE};

	if (syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_BUFFERS, &iov, 1))
		FAIL("IORING_REGISTER_BUFFERS: %s", strerror(errno));
}

static void ring_unregister(const struct ring *r)
{
	if (syscall(SYS_io_uring_register, r->fd, IORING_UNREGISTER_BUFFERS, NULL, 0))
		FAIL("IORING_UNREGISTER_BUFFERS: %s", strerror(errno));
}

/* Reads version v of pages [first, first + n) by the ring, after an eviction of all. */
static void read_pinned(struct ring *r, size_t first, size_t n, uint64_t v)
{
	char name[] = "/tmp/leap-truth-XXXXXX";
	int fd = mkstemp(name);

	unlink(name);
	for (size_t p = first; p < first + n; p++)
		for (unsigned i = 0; i < PAGE / 8; i++) {
			uint64_t w = word_of(p, v, i);

			if (write(fd, &w, sizeof(w)) != sizeof(w))
				FAIL("write: %s", strerror(errno));
		}
	if (ring_read(r, fd, base + first * PAGE, (unsigned)(n * PAGE)) != (int)(n * PAGE))
		FAIL("the fixed read failed");
	check(first, n, v);
	close(fd);
}

static bool is_local(size_t page)
{
	return page_state(&region->pages[page]) == PAGE_LOCAL;
}

/* All that is local, except what stays. */
static void evict_all(void)
{
	leap_evict(leap, base, 8192 * PAGE);
}

static void must_leave(size_t page)
{
	check(page, 1, 1);
	evict_all();
	if (is_local(page))
		FAIL("page %zu stays", page);
}

static void case_pinned_wp(void)
{
	struct ring ring;

	if (!wp_open(&ring, 1))
		return;
	check(128, 64, 1);
	ring_register(&ring, base + 136 * PAGE + 100, 3);
	evict_all();
	if (is_local(200) || is_local(135) || is_local(140))
		FAIL("what is not pinned stays, too");
	for (size_t p = 136; p < 140; p++)
		if (!is_local(p))
			FAIL("page %zu is pinned, and left", p);
	ring_unregister(&ring);
	ring_register(&ring, base + 136 * PAGE, 4);
	evict_all();
	read_pinned(&ring, 136, 4, 2);
	ring_unregister(&ring);
	evict_all();
	if (is_local(136))
		FAIL("nothing is pinned any more, and page 136 stays");
	check(136, 4, 2);
	check(0, 136, 1);
	MUST(leap_close(leap));
}

static void case_pinned_wp_guard(void)
{
	struct ring ring;

	if (!wp_open(&ring, 1))
		return;
	check(128, 64, 1);
	ring_register(&ring, base + 136 * PAGE, 4);
	split_guard();
	evict_all();
	read_pinned(&ring, 136, 4, 2);
	check(0, 136, 1);
	MUST(leap_close(leap));
}

/* Rings with one and with many buffers, more than one read of the file holds. */
static void case_pinned_wp_rings(void)
{
	struct ring rings[3];
	struct iovec many[512];

	if (!wp_open(rings, 3))
		return;
	check(0, 1500, 1);
	ring_register(&rings[0], base + 70 * PAGE, 4);
	ring_register(&rings[1], base + 100 * PAGE, 4);
	for (size_t i = 0; i < 512; i++)
		many[i] = (struct iovec){base + (200 + 2 * i) * PAGE, PAGE};
	if (syscall(SYS_io_uring_register, rings[2].fd, IORING_REGISTER_BUFFERS, many, 512))
		FAIL("IORING_REGISTER_BUFFERS: %s", strerror(errno));
	evict_all();
	for (size_t p = 0; p < 1500; p++) {
		bool held = (p >= 70 && p < 74) || (p >= 100 && p < 104) ||
			    (p >= 200 && p < 1224 && p % 2 == 0);

		if (is_local(p) != held)
			FAIL("page %zu is %s", p, held ? "pinned, and left" : "free, and stays");
	}
	read_pinned(&rings[0], 70, 4, 2);
	read_pinned(&rings[1], 100, 4, 2);
	read_pinned(&rings[2], 200, 1, 2);
	check(201, 1000, 1);
	MUST(leap_close(leap));
}

/* One registration goes, another of the same size comes: the count is the same. */
static void case_pinned_wp_rotated(void)
{
	struct ring ring;

	if (!wp_open(&ring, 1))
		return;
	for (size_t round = 0; round < 16; round++) {
		size_t at = 64 * round + 8;

		check(64 * round, 64, 1);
		ring_register(&ring, base + at * PAGE, 4);
		evict_all();
		read_pinned(&ring, at, 4, 2);
		if (round) {
			if (is_local(at - 64))
				FAIL("page %zu stays after its buffer went", at - 64);
			check(at - 64, 4, 2);
		}
		ring_unregister(&ring);
	}
	MUST(leap_close(leap));
}

/* Memory that is not the pager's: a part of a huge page counts as all of it. */
static void case_pinned_wp_outside(void)
{
	char *area =
		mmap(NULL, 4ul << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *huge = (char *)(((uintptr_t)area + (2ul << 20) - 1) & ~((2ul << 20) - 1));
	struct ring rings[2];

	if (!wp_open(rings, 2))
		return;
	madvise(huge, 2ul << 20, MADV_HUGEPAGE);
	memset(huge, 1, 2ul << 20);
	ring_register(&rings[0], huge + 8 * PAGE, 100);
	must_leave(10);
	check(128, 64, 1);
	ring_register(&rings[1], base + 136 * PAGE, 4);
	must_leave(10);
	read_pinned(&rings[1], 136, 4, 2);
	pinned_own_begin();
	pinned_own_end(-4); /* as many pages that nothing explains, beside a huge one */
	check(10, 1, 1);
	evict_all();
	if (!is_local(10))
		FAIL("a page is pinned that nothing explains, and page 10 left");
	pinned_own_begin();
	pinned_own_end(4);
	ring_unregister(&rings[1]);
	must_leave(10);
	ring_unregister(&rings[0]);
	must_leave(10);
	MUST(leap_close(leap));
}

/* A ring that is no descriptor of the process any more: its mapping keeps it. Nothing leaves until it is gone. */
static void case_pinned_wp_unknown(void)
{
	struct ring ring;

	if (!wp_open(&ring, 1))
		return;
	check(128, 64, 1);
	ring_register(&ring, base + 136 * PAGE, 4);
	close(ring.fd);
	evict_all();
	for (size_t p = 128; p < 192; p++)
		if (!is_local(p))
			FAIL("page %zu left, although it may be the pinned one", p);
	munmap(ring.sq, ring.params.sq_off.array + ring.params.sq_entries * 4);
	munmap(ring.cq, ring.params.cq_off.cqes + ring.params.cq_entries * 16);
	munmap(ring.sqes, ring.params.sq_entries * 64);
	while (is_local(136)) { /* the kernel takes the ring down later */
		usleep(10000);
		evict_all();
	}
	check(0, 256, 1);
	MUST(leap_close(leap));
}

/* The pager's own registrations explain as much as they are, while they are. */
static void case_pinned_wp_own(void)
{
	char *own =
		mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ring rings[2];
	long before;

	if (!wp_open(rings, 2))
		return;
	madvise(own, 8 * PAGE, MADV_NOHUGEPAGE);
	before = pinned_own_begin();
	ring_register(&rings[0], own, 8);
	close(rings[0].fd);
	if (pinned_own_end_counted(before) != 8)
		FAIL("8 pages were pinned, and not counted");
	must_leave(10);
	check(128, 64, 1);
	ring_register(&rings[1], base + 136 * PAGE, 4);
	must_leave(10);
	read_pinned(&rings[1], 136, 4, 2);
	pinned_own_begin();
	pinned_own_end(-1);
	check(10, 1, 1);
	evict_all();
	if (!is_local(10))
		FAIL("a page is pinned that nothing explains, and page 10 left");
	MUST(leap_close(leap));
}

static const struct fault_case cases[] = {
	{"pinned", case_pinned},
	{"pinned_guard", case_pinned_guard},
	{"pinned_locked", case_pinned_locked},
	{"pinned_wp", case_pinned_wp},
	{"pinned_wp_guard", case_pinned_wp_guard},
	{"pinned_wp_rings", case_pinned_wp_rings},
	{"pinned_wp_rotated", case_pinned_wp_rotated},
	{"pinned_wp_outside", case_pinned_wp_outside},
	{"pinned_wp_unknown", case_pinned_wp_unknown},
	{"pinned_wp_own", case_pinned_wp_own},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_cases(cases, argc, argv);
}
