/* SPDX-License-Identifier: Apache-2.0 */
/* move.c - the mover of kernels >= 6.14: UFFDIO_MOVE. */
#include <errno.h>

#include "libleap/session.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"

/*
 * EBUSY: the page is pinned for I/O, or was shared by fork() and not written since. In a process that
 * forked, breaking the sharing by a write fault (which changes no byte) tells the two apart.
 */
static bool break_sharing(struct shard *shard, char *addr)
{
	return __atomic_load_n(&shard->leap->forked, __ATOMIC_RELAXED) &&
	       !sys_madvise(addr, LEAP_PAGE_BYTES, MADV_POPULATE_WRITE);
}

/* Moves pages [first, first + n); holes are skipped. Returns those that left, sets *refused if the
 * kernel will not move this memory at all. Only pages of mask are written to: they are mapped, while a hole
 * would fault, and wait for this thread. */
static uint64_t out_run(struct shard *shard, struct extent *e, uint32_t slot, uint64_t mask,
			unsigned first, unsigned n, bool *refused)
{
	char *base = extent_addr(e);
	uint64_t moved = 0;
	bool unshared = false;

	while (n) {
		char *src = base + ((size_t)first << LEAP_PAGE_SHIFT);
		size_t bytes = 0;
		unsigned done;
		int err = uffd_move(shard->uffd, limbo_frame(&shard->limbo, slot, first), src,
				    (size_t)n << LEAP_PAGE_SHIFT, true, true, &bytes);

		done = (unsigned)(bytes >> LEAP_PAGE_SHIFT);
		moved |= done ? mask_range(first, done) : 0;
		first += done;
		n -= done;
		if (!err)
			break;
		if (done)
			unshared = false;
		if (err == -EBUSY && n && !unshared && mask & 1ull << first &&
		    break_sharing(shard, base + ((size_t)first << LEAP_PAGE_SHIFT))) {
			unshared = true;
			continue;
		}
		if (err != -EBUSY) {
			*refused = true;
			break;
		}
		first++; /* pinned: leave it */
		n--;
		unshared = false;
	}
	return moved;
}

static uint64_t move_out(struct shard *shard, struct extent *e, uint32_t slot, uint64_t mask,
			 uint64_t keep)
{
	uint64_t moved = 0, rest;
	bool refused = false;
	unsigned bit = 0, n;

	while ((n = mask_run(~keep, &bit)) && !refused) {
		uint64_t part = mask & mask_range(bit, n);

		if (part) {
			unsigned first = (unsigned)__builtin_ctzll(part);
			unsigned last = 63 - (unsigned)__builtin_clzll(part);

			moved |= out_run(shard, e, slot, mask, first, last - first + 1, &refused);
		}
		bit += n;
	}
	moved &= mask;
	rest = mask & ~moved;
	/* read-only or locked memory cannot be moved, but can be copied and dropped */
	if (refused && rest)
		moved |= mover_wp.out(shard, e, slot, rest, keep | (mask & ~rest));
	return moved;
}

const struct mover_ops mover_move = {.name = "move", .out = move_out};
