/* SPDX-License-Identifier: Apache-2.0 */
/* pins.c - pages that an io_uring has registered, and that the kernel writes by it while everybody tries to evict them. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test/stress/enemies.h"
#include "test/stress/stress.h"

static struct {
	size_t first, n;
	bool tell;
	int ring_fd, data_fd;
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
	size_t from, held; /* registered now: pages from, held of them */
	uint64_t written;
} pins = {.ring_fd = -1, .data_fd = -1};

static void *ring_map(size_t bytes, off_t what)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, pins.ring_fd, what);
}

int pins_open(size_t first, size_t n, bool tell)
{
	struct io_uring_params *params = &pins.params;

	pins.first = first;
	pins.n = n;
	pins.tell = tell;
	pins.ring_fd = (int)syscall(SYS_io_uring_setup, 8, params);
	if (pins.ring_fd < 0)
		return -errno;
	pins.data_fd = memfd_create("stress", MFD_CLOEXEC);
	pins.sq = ring_map(params->sq_off.array + params->sq_entries * 4, IORING_OFF_SQ_RING);
	pins.cq = ring_map(params->cq_off.cqes + params->cq_entries * 16, IORING_OFF_CQ_RING);
	pins.sqes = ring_map(params->sq_entries * sizeof(*pins.sqes), IORING_OFF_SQES);
	if (pins.data_fd < 0 || pins.sq == MAP_FAILED || pins.cq == MAP_FAILED ||
	    pins.sqes == MAP_FAILED)
		return -ENOMEM;
	return 0;
}

void pins_close(void)
{
	close(pins.data_fd);
	close(pins.ring_fd);
}

/* The kernel reads the data file from its beginning into registered memory. */
static int ring_read(void *buf, size_t len)
{
	unsigned *tail = (unsigned *)(pins.sq + pins.params.sq_off.tail);
	unsigned *mask = (unsigned *)(pins.sq + pins.params.sq_off.ring_mask);
	unsigned *array = (unsigned *)(pins.sq + pins.params.sq_off.array);
	unsigned *head = (unsigned *)(pins.cq + pins.params.cq_off.head);
	unsigned *ready = (unsigned *)(pins.cq + pins.params.cq_off.tail);
	unsigned *cq_mask = (unsigned *)(pins.cq + pins.params.cq_off.ring_mask);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(pins.cq + pins.params.cq_off.cqes);
	unsigned at = *tail & *mask, submit = 1;
	int result;

	pins.sqes[at] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ_FIXED,
		.fd = pins.data_fd,
		.addr = (uintptr_t)buf,
		.len = (unsigned)len,
	};
	array[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(ready, __ATOMIC_ACQUIRE) == *head) {
		long n = syscall(SYS_io_uring_enter, pins.ring_fd, submit, 1,
				 IORING_ENTER_GETEVENTS, NULL, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			submit = 0;
	}
	result = cqes[*head & *cq_mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

/* Lost pages, and a user's limit, are no fault of the session. */
static bool pins_register(uint64_t random)
{
	struct iovec iov;
	int err;

	pins.from = pins.first + random % (pins.n / 2);
	pins.held = 1 + (random >> 20) % (pins.n / 2);
	iov = (struct iovec){base + pins.from * PAGE, pins.held * PAGE};
	if (pins.tell && leap_advise(leap, iov.iov_base, iov.iov_len, LEAP_ADVISE_PIN)) {
		pins.held = 0;
		return true;
	}
	if (!syscall(SYS_io_uring_register, pins.ring_fd, IORING_REGISTER_BUFFERS, &iov, 1))
		return true;
	err = errno;
	if (pins.tell)
		leap_advise(leap, iov.iov_base, iov.iov_len, LEAP_ADVISE_UNPIN);
	pins.held = 0;
	if (err == EFAULT || err == ENOMEM)
		return true;
	fprintf(stderr, "stress: IORING_REGISTER_BUFFERS: %s\n", strerror(err));
	return false;
}

static void pins_release(void)
{
	syscall(SYS_io_uring_register, pins.ring_fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
	if (pins.tell)
		leap_advise(leap, base + pins.from * PAGE, pins.held * PAGE, LEAP_ADVISE_UNPIN);
	pins.held = 0;
}

/* The kernel writes the next version of some of them. */
static bool pins_write(uint64_t random)
{
	static uint64_t content[WORDS];
	size_t skip = random % pins.held, n = 1 + (random >> 20) % (pins.held - skip);
	size_t page = pins.from + skip;
	int got;

	for (size_t i = 0; i < n; i++) {
		page_content(content, page + i, version[page + i] + 1);
		if (pwrite(pins.data_fd, content, PAGE, (off_t)(i * PAGE)) != (ssize_t)PAGE)
			return false;
	}
	got = ring_read(base + page * PAGE, n * PAGE);
	if (got != (int)(n * PAGE)) {
		fprintf(stderr, "stress: a fixed read of %zu pages said %d\n", n, got);
		return false;
	}
	for (size_t i = 0; i < n; i++)
		version[page + i]++;
	pins.written += n;
	return true;
}

bool pins_turn(uint64_t random)
{
	if (!pins.held) {
		for (size_t p = pins.first; p < pins.first + pins.n; p++)
			if (!check_page(p, true, 0))
				return true;
		return pins_register(random);
	}
	leap_evict(leap, base + pins.first * PAGE, pins.n * PAGE);
	if (!pins_write(random >> 3))
		return false;
	leap_evict(leap, base + pins.first * PAGE, pins.n * PAGE);
	for (size_t p = pins.from; p < pins.from + pins.held; p++)
		if (!check_page(p, true, 0))
			return true;
	write_page(pins.from + (random >> 40) % pins.held);
	if (random % 8 == 0)
		pins_release();
	return true;
}

uint64_t pins_written(void)
{
	return pins.written;
}
