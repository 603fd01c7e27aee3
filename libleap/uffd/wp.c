/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wp.c - the mover of older kernels: write-protect, copy, drop.
 *
 * The write-protection is complete when the ioctl returns (the kernel has flushed), so no store slips in
 * between copy and drop. A writer meanwhile sleeps on a write-protect fault; dropping the page does
 * not wake it, so the caller wakes the extent afterwards (its message set EXTENT_WAITED).
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "libleap/session.h"
#include "libleap/uffd/content.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"

/* The kernel copies for us: memory that the program made unreadable gives an error, not a signal. */
static bool copy_page(struct shard *shard, char *frame, char *src)
{
	struct iovec local = {frame, LEAP_PAGE_BYTES}, remote = {src, LEAP_PAGE_BYTES};

	if (shard->limbo.movable)
		return !uffd_copy(shard->uffd, frame, src, LEAP_PAGE_BYTES, false, NULL);
	return sys_ret(syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0)) ==
	       (long)LEAP_PAGE_BYTES;
}

/*
 * Pages that the program dropped behind our back (madvise() of its own) are zeroes. Reading them would fault, and
 * the fault would wait for this eviction.
 */
static uint64_t dropped_before(const char *addr, unsigned n)
{
	bool there[EXTENT_PAGES];
	uint64_t mask = 0;

	if (!content_find(addr, n, there))
		for (unsigned i = 0; i < n; i++)
			mask |= there[i] ? 0 : 1ull << i;
	return mask;
}

static bool zero_page(struct shard *shard, char *frame)
{
	static const char zeroes[LEAP_PAGE_BYTES] __attribute__((aligned(4096)));

	if (shard->limbo.movable)
		return !uffd_copy(shard->uffd, frame, zeroes, LEAP_PAGE_BYTES, false, NULL);
	memset(frame, 0, LEAP_PAGE_BYTES);
	return true;
}

static uint64_t copy_run(struct shard *shard, struct extent *e, uint32_t slot, unsigned first,
			 unsigned n)
{
	char *addr = extent_addr(e) + ((size_t)first << LEAP_PAGE_SHIFT);
	uint64_t copied = 0, holes = dropped_before(addr, n);

	for (unsigned i = 0; i < n; i++) {
		char *frame = limbo_frame(&shard->limbo, slot, first + i);
		bool done = holes & 1ull << i ? zero_page(shard, frame)
					      : copy_page(shard, frame,
							  addr + ((size_t)i << LEAP_PAGE_SHIFT));

		if (done)
			copied |= 1ull << (first + i);
	}
	return copied;
}

/* Which of the copied pages left the program. Memory that it locked does not, and ends a call half-way. */
static uint64_t drop_run(struct extent *e, unsigned first, unsigned n)
{
	char *at = extent_addr(e) + ((size_t)first << LEAP_PAGE_SHIFT);
	uint64_t dropped = 0;

	if (!sys_madvise(at, (size_t)n << LEAP_PAGE_SHIFT, MADV_DONTNEED))
		return mask_range(first, n);
	for (unsigned i = 0; i < n; i++)
		if (!sys_madvise(at + ((size_t)i << LEAP_PAGE_SHIFT), LEAP_PAGE_BYTES,
				 MADV_DONTNEED))
			dropped |= 1ull << (first + i);
	return dropped;
}

/* Frames of an area that is registered must be gone when the slot is used again. */
static void drop_frames(struct shard *shard, uint32_t slot, uint64_t mask)
{
	unsigned bit = 0, n;

	for (; shard->limbo.movable && (n = mask_run(mask, &bit)); bit += n)
		sys_madvise(limbo_frame(&shard->limbo, slot, bit), (size_t)n << LEAP_PAGE_SHIFT,
			    MADV_DONTNEED);
}

/* One run of neighbouring claimed pages. */
static uint64_t out_run(struct shard *shard, struct extent *e, uint32_t slot, unsigned first,
			unsigned n)
{
	char *addr = extent_addr(e) + ((size_t)first << LEAP_PAGE_SHIFT);
	size_t len = (size_t)n << LEAP_PAGE_SHIFT;
	uint64_t copied, dropped = 0;
	unsigned bit = 0, k;

	if (uffd_wp(shard->uffd, addr, len, true, false))
		return 0;
	copied = copy_run(shard, e, slot, first, n);
	for (; (k = mask_run(copied, &bit)); bit += k)
		dropped |= drop_run(e, bit, k);
	drop_frames(shard, slot, copied & ~dropped);
	if (dropped != mask_range(first, n))
		uffd_wp(shard->uffd, addr, len, false, true);
	return dropped;
}

static uint64_t wp_out(struct shard *shard, struct extent *e, uint32_t slot, uint64_t mask,
		       uint64_t keep)
{
	uint64_t out = 0;
	unsigned bit = 0, n;

	(void)keep;
	while ((n = mask_run(mask, &bit))) {
		out |= out_run(shard, e, slot, bit, n);
		bit += n;
	}
	return out;
}

const struct mover_ops mover_wp = {.name = "wp", .out = wp_out};
