/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c - the mover of kernels >= 6.14: UFFDIO_MOVE, in both directions.
 *
 * One rule: what a call moved is asked of the kernel wherever the call did not say "all". Its count is not to be
 * believed: Linux 6.18 answers EAGAIN with a count that is smaller than what it moved while pages are under migration, and
 * the next try then finds EEXIST (docs/decisions.md). Frames are asked about, not the program's pages: nobody but this
 * thread touches them. A frame is there exactly if its page was moved out and was not moved in.
 */
#include <errno.h>
#include <sched.h>

#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/uffd/content.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"

#define MOVE_TRIES 10000 /* of a call that gets nowhere; about 10 ms */

static char *page_at(char *base, unsigned i)
{
	return base + ((size_t)i << LEAP_PAGE_SHIFT);
}

/* Which of frames [first, first + n) are there. */
static uint64_t frames_there(struct shard *shard, char *frames, unsigned first, unsigned n)
{
	return content_mask(shard->uffd, page_at(frames, first), n) << first;
}

/* --- in ------------------------------------------------------------------------------------------------------- */

uint64_t mover_in(struct shard *shard, char *pages, char *frames, uint64_t mask, bool wake)
{
	uint64_t moved = 0;
	unsigned bit = 0, n;
	int tries = 0;

	while ((n = mask_run(mask & ~moved, &bit))) {
		uint64_t run = mask_range(bit, n), left;
		int err = uffd_move(shard->uffd, page_at(pages, bit), page_at(frames, bit),
				    (size_t)n << LEAP_PAGE_SHIFT, false, wake);

		left = err ? run & ~frames_there(shard, frames, bit, n) : run;
		moved |= left;
		if (left == run && !err)
			continue;
		if (left && wake) /* the kernel woke for what it counted */
			uffd_wake(shard->uffd, page_at(pages, bit), (size_t)n << LEAP_PAGE_SHIFT);
		if (left == run)
			continue;
		if (!left && err == -EAGAIN && ++tries < MOVE_TRIES)
			sched_yield();
		else if (!left)
			break;
	}
	return moved;
}

/* --- out ------------------------------------------------------------------------------------------------------ */

/* Pages of an extent on their way to frames. */
struct out {
	struct shard *shard;
	char *pages, *frames;
	uint64_t rest;    /* still to be tried */
	uint64_t keep;    /* between them, must stay */
	uint64_t moved;   /* their frames are there */
	uint64_t gone;    /* had no content */
	uint64_t refused; /* the kernel does not move such memory */
	unsigned width;   /* most pages in one call */
	bool unshared;    /* break_sharing() was tried for the next page */
	int tries;
};

/*
 * EBUSY: the page is pinned for I/O, or shared: by fork(), or since the kernel merged it with an equal one. Breaking
 * the sharing by a write fault, which changes no byte, tells them apart. Only for pages that are mapped: a hole would
 * fault and wait for this thread.
 */
static bool break_sharing(char *addr)
{
	return !sys_madvise(addr, LEAP_PAGE_BYTES, MADV_POPULATE_WRITE);
}

/* The next pages for one call: up to the last of the rest, the next that must stay, or the width. */
static unsigned out_span(const struct out *o, unsigned first)
{
	uint64_t keep = o->keep >> first, rest = o->rest >> first;
	unsigned n = 64 - (unsigned)__builtin_clzll(rest);

	if (keep && (unsigned)__builtin_ctzll(keep) < n)
		n = (unsigned)__builtin_ctzll(keep);
	if (n > o->width)
		n = o->width;
	/* the width may have cut it after pages that are not to move */
	return 64 - (unsigned)__builtin_clzll(rest & mask_range(0, n));
}

/* The first page of the span was not moved. Decides what is tried next. False: give up, the rest stays. */
static bool out_error(struct out *o, int err, unsigned first, unsigned n)
{
	uint64_t bit = 1ull << first;

	switch (err) {
	case -EAGAIN: /* the address space is changing, or the page is locked or migrates */
		sched_yield();
		return ++o->tries < MOVE_TRIES;
	case -ENOENT: /* no page, or no mapping any more */
		o->gone |= bit;
		break;
	case -EBUSY:
		if (!o->unshared && break_sharing(page_at(o->pages, first))) {
			o->unshared = true;
			return true;
		}
		break;
	case -EINVAL: /* two mappings, or one that cannot be moved */
		if (n > 1) {
			o->width = n / 2;
			return true;
		}
		o->refused |= bit;
		break;
	case -EEXIST: /* a frame that ought to be gone */
		log_error("internal error: a frame at %p was not empty",
			  (void *)page_at(o->frames, first));
		limbo_drop(page_at(o->frames, first), 1);
		break;
	case -EFAULT: /* a page that the machine lost, by a memory error */
		break;
	default: /* ENOMEM */
		return false;
	}
	o->rest &= ~bit;
	o->unshared = false;
	return true;
}

/* Pages that were taken for absent, but had content: the program mapped them by a call that nobody saw. */
static void put_back(struct out *o, uint64_t mask)
{
	for (mask &= ~mover_in(o->shard, o->pages, o->frames, mask, true); mask; mask &= mask - 1) {
		unsigned i = (unsigned)__builtin_ctzll(mask);
		int err = uffd_copy(o->shard->uffd, page_at(o->pages, i), page_at(o->frames, i),
				    LEAP_PAGE_BYTES, true, NULL);

		if (err && err != -EEXIST) {
			log_error("the page at %p is lost: it cannot be mapped again (error %d)",
				  (void *)page_at(o->pages, i), -err);
			uffd_poison(o->shard->uffd, page_at(o->pages, i), LEAP_PAGE_BYTES);
		}
		limbo_drop(page_at(o->frames, i), 1);
	}
}

/* One call. False: the rest stays. */
static bool out_step(struct out *o)
{
	unsigned first = (unsigned)__builtin_ctzll(o->rest), n = out_span(o, first);
	uint64_t span = mask_range(first, n), part = o->rest & span, there = part;
	bool holes = part != span;
	int err = uffd_move(o->shard->uffd, page_at(o->frames, first), page_at(o->pages, first),
			    (size_t)n << LEAP_PAGE_SHIFT, holes, false);

	if (err || holes) {
		there = frames_there(o->shard, o->frames, first, n);
		put_back(o, there & ~o->moved & ~part);
		there &= part;
	}
	o->moved |= there;
	o->rest &= ~there;
	if (!err) {
		o->gone |= part & ~there;
		o->rest &= ~part;
	}
	if (!err || there) {
		o->width = 64;
		o->unshared = false;
		o->tries = 0;
		return true;
	}
	return out_error(o, err, first, n);
}

static uint64_t move_out(struct shard *shard, struct extent *e, uint32_t slot, uint64_t mask,
			 uint64_t keep, uint64_t *ret_gone)
{
	struct out o = {
		.shard = shard,
		.pages = extent_addr(e),
		.frames = limbo_frame(&shard->limbo, slot, 0),
		.rest = mask,
		.keep = keep,
		.width = 64,
	};
	uint64_t gone = 0;

	while (o.rest && out_step(&o))
		;
	/* read-only or locked memory cannot be moved, but can be copied and dropped */
	if (o.refused)
		o.moved |=
			mover_wp.out(shard, e, slot, o.refused, keep | (mask & ~o.refused), &gone);
	*ret_gone = o.gone | gone;
	return o.moved;
}

const struct mover_ops mover_move = {.name = "move", .out = move_out};
