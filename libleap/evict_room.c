/* SPDX-License-Identifier: Apache-2.0 */
/* evict_room.c - how much to evict, and when: the budget, the callers' waiting, the evictor thread. */
#include <errno.h>
#include <sched.h>

#include "libleap/evict.h"
#include "libleap/log.h"
#include "libleap/session.h"

#define SAY_AGAIN_NS   (60 * 1000000000ull)
#define IDLE_NS        (100 * 1000ull)
#define STARVED_NS     (1000 * 1000ull)
#define STUCK_NS       (20 * 1000000ull) /* without progress */
#define STUCK_AGAIN_NS (500 * 1000000ull)

bool evict_full(const struct leap *leap)
{
	if (!__atomic_load_n(&leap->no_room, __ATOMIC_RELAXED))
		return false;
	return __atomic_load_n(&leap->no_writes, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&leap->slabs.free_slots, __ATOMIC_RELAXED) < EXTENT_PAGES;
}

bool evict_found_full(struct leap *leap)
{
	uint64_t now = clock_ns(), said = leap->no_room_said_ns;

	if (__atomic_exchange_n(&leap->no_room, true, __ATOMIC_RELAXED) ||
	    (said && now - said < SAY_AGAIN_NS))
		return false;
	leap->no_room_said_ns = now;
	return true;
}

void evict_found_room(struct leap *leap)
{
	__atomic_store_n(&leap->no_writes, false, __ATOMIC_RELAXED);
	__atomic_store_n(&leap->no_room, false, __ATOMIC_RELAXED);
}

static void tell_why(struct leap *leap)
{
	char why[DONORS_WHY_BYTES];

	donors_why(leap, why, sizeof(why));
	log_warn("pages stay local beyond the limit: %s", why);
}

/* Frees frames: from limbo while it is over its share, else by evicting one more extent. */
static int step(struct shard *shard)
{
	struct leap *leap = shard->leap;
	uint64_t freed = 0, target = evict_limbo_target(shard);
	bool full;
	int out;

	lock_acquire(&shard->lock);
	if (shard->limbo.frames > target) /* several slots at once share one flush */
		freed = limbo_shrink(shard, target > 256 ? target - 256 : 0);
	lock_release(&shard->lock);
	if (freed)
		return (int)freed;
	full = evict_full(leap);
	out = evict_oldest(shard);
	if (out == EVICT_FULL && !full) {
		int err = donors_grow(leap);

		if (!err)
			return 1;
		if (err == -EAGAIN) /* not all were asked in time */
			return EVICT_AGAIN;
	}
	if (out == EVICT_FULL) {
		if (evict_found_full(leap))
			tell_why(leap);
		return EVICT_FULL;
	}
	if (out == EVICT_AGAIN) {
		/* nothing to take: limbo, below its share, is all there is */
		lock_acquire(&shard->lock);
		freed = limbo_shrink(shard, 0);
		lock_release(&shard->lock);
		if (freed)
			return (int)freed;
		if (full && !shard->writes_in_flight)
			return EVICT_FULL;
	}
	return out;
}

static bool over(const struct leap *leap, int64_t n)
{
	return local_pages_all(leap) + n > budget_pages(leap);
}

static int make_room_soft(struct shard *shard, unsigned n)
{
	unsigned in_flight;
	int err = 0;

	if (!lock_try(&shard->evict_lock)) {
		evictor_kick(shard->leap);
		return EVICT_AGAIN;
	}
	while (over(shard->leap, n)) {
		err = step(shard);
		if (err < 0)
			break;
		err = 0;
	}
	in_flight = shard->writes_in_flight;
	lock_release(&shard->evict_lock);
	if (in_flight) /* the evictor may sleep; it reaps them */
		evictor_kick(shard->leap);
	return err;
}

void evict_for_kernel(struct shard *shard)
{
	if (lock_try(&shard->evict_lock)) {
		evict_oldest(shard);
		lock_acquire(&shard->lock);
		limbo_shrink(shard, 0);
		lock_release(&shard->lock);
		lock_release(&shard->evict_lock);
	}
	evictor_kick(shard->leap);
	sys_sleep_ns(STARVED_NS);
}

static bool writes_in_flight(const struct leap *leap)
{
	for (unsigned s = 0; s < leap->nshards; s++)
		if (__atomic_load_n(&leap->shards[s].writes_in_flight, __ATOMIC_RELAXED))
			return true;
	return false;
}

/*
 * Works until there is room. What this shard cannot give, the evictor takes from others: the role is free in
 * between, for it may need it. When nobody gets on (all is pinned, or cannot leave), the limit is broken, and for a
 * while one try is enough.
 */
static int make_room_hard(struct shard *shard, unsigned n)
{
	struct leap *leap = shard->leap;
	uint64_t idle_since = 0, now;
	int64_t least = INT64_MAX;
	int err = 0;

	while (over(leap, n)) {
		bool reaped;

		lock_acquire(&shard->evict_lock);
		err = step(shard);
		reaped = err < 0 && evict_reap(shard);
		lock_release(&shard->evict_lock);
		if (err == EVICT_FULL)
			return over(leap, n) ? EVICT_FULL : 0;
		if (err > 0 || reaped || local_pages_all(leap) < least || writes_in_flight(leap)) {
			least = local_pages_all(leap);
			idle_since = 0;
		}
		if (err > 0 || reaped)
			continue;
		now = clock_ns();
		if (now < shard->stuck_until_ns)
			return EVICT_AGAIN;
		if (!idle_since)
			idle_since = now;
		if (now - idle_since > STUCK_NS) {
			shard->stuck_until_ns = now + STUCK_AGAIN_NS;
			return EVICT_AGAIN;
		}
		evictor_kick(leap);
		sys_sleep_ns(IDLE_NS); /* the role stays free for so long */
	}
	return 0;
}

int evict_make_room(struct shard *shard, unsigned n, bool hard)
{
	if (!over(shard->leap, n))
		return 0;
	return hard ? make_room_hard(shard, n) : make_room_soft(shard, n);
}

/* One round over all shards; true if some progress was made or is under way. */
static bool evictor_round(struct leap *leap)
{
	bool progress = false;

	for (unsigned s = 0; s < leap->nshards; s++) {
		struct shard *shard = &leap->shards[s];
		int out;

		if (!lock_try(&shard->evict_lock)) /* who has it makes room there */
			continue;
		if (evict_reap(shard))
			progress = true;
		for (int k = 0; k < 8 && over(leap, budget_headroom(leap)); k++) {
			out = step(shard);
			progress |= out > 0;
			if (out <= 0)
				break;
		}
		progress |= shard->writes_in_flight > 0;
		lock_release(&shard->evict_lock);
	}
	return progress;
}

static bool deaths_unseen(const struct leap *leap)
{
	for (unsigned s = 0; s < leap->nshards; s++)
		if (evict_deaths_unseen(&leap->shards[s]))
			return true;
	return false;
}

void evictor_kick(struct leap *leap)
{
	lock_signal(&leap->evict_event);
}

void *evictor_main(void *arg)
{
	struct leap *leap = arg;

	while (!__atomic_load_n(&leap->stop, __ATOMIC_ACQUIRE)) {
		uint32_t seen = __atomic_load_n(&leap->evict_event, __ATOMIC_ACQUIRE);

		if (over(leap, budget_headroom(leap)) || writes_in_flight(leap) ||
		    deaths_unseen(leap)) {
			if (evictor_round(leap)) {
				if (!over(leap, budget_headroom(leap)))
					sched_yield();
				continue;
			}
			/* stuck: donors full, or all busy */
			sys_futex_wait(&leap->evict_event, seen, 20 * 1000000);
			continue;
		}
		sys_futex_wait(&leap->evict_event, seen, -1);
	}
	return NULL;
}
