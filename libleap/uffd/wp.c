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
#include "libleap/uffd/pinned.h"
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
 * Pages that the program dropped by a call that Leap did not see. Reading one would fault, and the fault would wait for
 * this eviction.
 */
static uint64_t find_gone(const struct shard *shard, const char *addr, unsigned first, unsigned n)
{
	return mask_range(first, n) & ~(content_mask(shard->uffd, addr, n) << first);
}

static uint64_t copy_run(struct shard *shard, struct extent *e, uint32_t slot, uint64_t mask)
{
	uint64_t copied = 0;

	for (; mask; mask &= mask - 1) {
		unsigned i = (unsigned)__builtin_ctzll(mask);

		if (copy_page(shard, limbo_frame(&shard->limbo, slot, i),
			      extent_addr(e) + ((size_t)i << LEAP_PAGE_SHIFT)))
			copied |= 1ull << i;
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
		limbo_drop(limbo_frame(&shard->limbo, slot, bit), n);
}

/* Which pages are protected, of those of mask. */
static uint64_t protect(struct shard *shard, struct extent *e, uint64_t mask, bool on)
{
	unsigned bit = 0, n;
	uint64_t done = 0;

	for (; (n = mask_run(mask, &bit)); bit += n)
		if (!uffd_wp(shard->uffd, extent_addr(e) + ((size_t)bit << LEAP_PAGE_SHIFT),
			     (size_t)n << LEAP_PAGE_SHIFT, on, !on))
			done |= mask_range(bit, n);
	return done;
}

/* One run of neighbouring pages, protected and not pinned. */
static uint64_t out_run(struct shard *shard, struct extent *e, uint32_t slot, unsigned first,
			unsigned n, uint64_t *gone)
{
	char *addr = extent_addr(e) + ((size_t)first << LEAP_PAGE_SHIFT);
	uint64_t copied, missing, dropped = 0;
	unsigned bit = 0, k;

	missing = find_gone(shard, addr, first, n);
	*gone |= missing;
	copied = copy_run(shard, e, slot, mask_range(first, n) & ~missing);
	for (; (k = mask_run(copied, &bit)); bit += k)
		dropped |= drop_run(e, bit, k);
	drop_frames(shard, slot, copied & ~dropped);
	return dropped;
}

static uint64_t wp_out(struct shard *shard, struct extent *e, uint32_t slot, uint64_t mask,
		       uint64_t keep, uint64_t *ret_gone)
{
	uint64_t ready = protect(shard, e, mask, true), held, out = 0;
	unsigned bit = 0, n;

	(void)keep;
	*ret_gone = 0;
	held = ready ? pinned_pages(extent_addr(e), ready) : 0;
	for (; (n = mask_run(ready & ~held, &bit)); bit += n)
		out |= out_run(shard, e, slot, bit, n, ret_gone);
	protect(shard, e, ready & ~out, false);
	return out;
}

const struct mover_ops mover_wp = {.name = "wp", .out = wp_out};
