/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.h - every lock of the pager, in the order in which they may be taken.
 *
 * A thread may take a lock only if its rank is higher than all that it holds; debug builds check it.
 * Locks are futex words of our own memory (not pthread mutexes: a forked child must be able to make
 * them anew, and pthread may call malloc in debug builds).
 *
 * Rule for application threads (leap_advise(), munmap() of the preload library, ...): hold locks only
 * between lock_app_enter() and lock_app_leave(), which block all signals. A signal handler of the
 * program could otherwise run while the lock is held, touch a remote page and wait for itself. Nor is the thread
 * cancelled in between: send(), poll() and many others are cancellation points, and a thread that ended in one would
 * keep its locks. A stack that is managed memory is kept local meanwhile (stack.h).
 */
#ifndef LEAP_LOCK_H
#define LEAP_LOCK_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct leap_region;

enum lock_rank {
	LOCK_RANK_ATFORK = 1, /* preload/atfork.c */
	LOCK_RANK_RANGE,      /* preload/range.c, map_fixed.c */
	LOCK_RANK_SESSIONS,   /* leap.c: list of sessions */
	LOCK_RANK_SCRATCH,    /* snapshot.c */
	LOCK_RANK_CHANGE, /* control.c: one at a time moves pages for an option or a donor that goes */
	LOCK_RANK_JOIN,     /* donors.c: one thread at a time connects to new donors */
	LOCK_RANK_SESSION,  /* leap.c: list of regions, run-time control, life of the session */
	LOCK_RANK_REGION,   /* region.c: committing and arming */
	LOCK_RANK_ROLE,     /* shard.c: fault role */
	LOCK_RANK_EVICT,    /* shard.c: evict role */
	LOCK_RANK_RECORDER, /* recorder.c */
	LOCK_RANK_SHARD,  /* shard.c: pages, extents, queues of one shard; several in index order */
	LOCK_RANK_DONORS, /* donors.c: list of donors */
	LOCK_RANK_SLAB,   /* slab.c: slots */
	LOCK_RANK_TRANSPORT, /* inside a transport */
	LOCK_RANK_STORE,     /* loop store */
	LOCK_RANK_CLERK,     /* util/clerk.c */
	LOCK_RANK_PINNED,    /* uffd/pinned.c */
	LOCK_RANK_MEM,       /* mem.c */
	LOCK_RANK_ANCHOR,    /* uffd/anchor.c */
};

struct lock {
	uint32_t word; /* 0 free, 1 held, 2 held and waited for */
	uint16_t rank;
	uint16_t index; /* order among equals */
};

#define LOCK_INIT(r)                               \
	{                                          \
		.word = 0, .rank = (r), .index = 0 \
	}

void lock_init(struct lock *lock, enum lock_rank rank, unsigned index);
void lock_acquire(struct lock *lock);
bool lock_try(struct lock *lock);
void lock_release(struct lock *lock);
/* Debug builds: dies with a message unless this thread holds it. */
void lock_assert_held(const struct lock *lock);

/* Releases the lock, sleeps until *event differs from seen or timeout_ns passed (< 0: no limit), takes
 * it again. Read *event under the lock, before the condition is checked. */
void lock_wait(struct lock *lock, const uint32_t *event, uint32_t seen, int64_t timeout_ns);
/* Adds 1 to the event and wakes all that wait for it (it does both: do not change the event first). */
void lock_signal(uint32_t *event);

/* What lock_app_leave() gives back. */
struct lock_app {
	sigset_t mask;
	int cancel; /* pthread_setcancelstate() */
	struct leap_region
		*kept; /* stack.c: the region of the stack, NULL = not managed, and its pages */
	size_t first, n;
};
void lock_app_enter(struct lock_app *app);
void lock_app_leave(struct lock_app *app);

/* Called by the outermost pair of a thread, signals blocked. Set by stack.c. */
struct lock_app_ops {
	void (*enter)(struct lock_app *app);
	void (*leave)(struct lock_app *app);
};
extern const struct lock_app_ops *lock_app_ops;

#endif
