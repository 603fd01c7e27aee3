/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mover.h - the seam to how pages leave and enter the address space.
 *
 *   move  UFFDIO_MOVE: the kernel moves the frames themselves; after it nobody can touch them
 *   wp    write-protect, copy, drop: for kernels before 6.14, and for pages that cannot be moved
 *
 * Out: pages of `mask` of one extent, which the caller has claimed (EVICTING, extent BUSY); pages of `keep`
 * are mapped too and must stay. Frames land at limbo_frame(slot, i). Blocks for the ioctls only; no lock is
 * needed. Returns the mask of pages that were taken out and whose frames are there and hold their final content.
 * *ret_gone has those that had no content any more: the program dropped or unmapped them by a call that Leap did not
 * see. The others are untouched and mapped.
 */
#ifndef LEAP_MOVER_H
#define LEAP_MOVER_H

#include <stdbool.h>
#include <stdint.h>
#include "libleap/config.h"

struct extent;
struct shard;

struct mover_ops {
	const char *name;
	uint64_t (*out)(struct shard *shard, struct extent *e, uint32_t slot, uint64_t mask,
			uint64_t keep, uint64_t *ret_gone);
};

extern const struct mover_ops mover_move, mover_wp;

/* In, by UFFDIO_MOVE: pages of mask, whose frames are there, go from frames[i] to pages[i]. Those that left their frames; the
 * others are in their frames still, and may be copied. */
uint64_t mover_in(struct shard *shard, char *pages, char *frames, uint64_t mask, bool wake);

/* What the kernel offers (under config->uffd_features) and what is taken of it. */
struct mover_choice {
	uint64_t features;
	bool can_move; /* mover move; else wp */
	bool has_wp;   /* write-protection is there: mover wp, or the fallback for single pages */
};
/* What was asked for must be there: -ENOSYS, -EPERM with the sentence set. */
int mover_choose(const struct config *config, struct mover_choice *ret_choice);

/* First run of one bits at or above *bit: sets *bit to its start, returns its length (0 = none). */
static inline unsigned mask_run(uint64_t mask, unsigned *bit)
{
	uint64_t rest;

	if (*bit >= 64)
		return 0;
	rest = mask >> *bit;
	if (!rest)
		return 0;
	*bit += (unsigned)__builtin_ctzll(rest);
	rest = ~(mask >> *bit);
	return rest ? (unsigned)__builtin_ctzll(rest) : 64 - *bit;
}

static inline uint64_t mask_range(unsigned first, unsigned n)
{
	return n >= 64 ? ~0ull : ((1ull << n) - 1) << first;
}

#endif
