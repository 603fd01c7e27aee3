/* SPDX-License-Identifier: Apache-2.0 */
/* evict_room.c - how much to evict, and when: the budget, the callers' waiting, the evictor thread. */
#include <errno.h>
#include <sched.h>

#include "libleap/evict.h"
#include "libleap/log.h"
#include "libleap/session.h"

/* Frees frames: from limbo while it is over its share, else by evicting one more extent. */
static int step(struct shard *shard)
{
	struct leap *leap = shard->leap;
	uint64_t freed = 0, target = evict_limbo_target(shard);
	int out;

	lock_acquire(&shard->lock);
	if (shard->limbo.frames > target) /* several slots at once share one flush */
		freed = limbo_shrink(shard, target > 256 ? target - 256 : 0);
	lock_release(&shard->lock);
	if (freed)
		return (int)freed;
	if (__atomic_load_n(&leap->no_room, __ATOMIC_RELAXED))
		return EVICT_FULL;
	out = evict_oldest(shard);
	if (out == EVICT_FULL && donors_grow(leap) == 0)
		return 1;
	if (out == EVICT_FULL) {
		if (!__atomic_exchange_n(&leap->no_room, true, __ATOMIC_RELAXED))
			log_warn(
				"all donors are full: pages stay local beyond the limit; add a donor "
				"(leap ctl %d donor-add=URI) or memory to one",
				(int)getpid());
		return EVICT_FULL;
	}
	if (out == EVICT_AGAIN) {
		/* nothing to take: limbo, below its share, is all there is */
		lock_acquire(&shard->lock);
		freed = limbo_shrink(shard, 0);
		lock_release(&shard->lock);
		if (freed)
			return (int)freed;
	}
	return out;
}

static bool over(const struct leap *leap, int64_t n)
{
	return local_pages_all(leap) + n > budget_pages(leap);
}

static int make_room_soft(struct shard *shard, unsigned n)
{
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
	lock_release(&shard->evict_lock);
	return err;
}

/* Works until there is room: takes the role, reaps writes, and looks to other shards when its own is empty. */
static int make_room_hard(struct shard *shard, unsigned n)
{
	struct leap *leap = shard->leap;
	int err = 0, idle = 0;

	lock_acquire(&shard->evict_lock);
	while (over(leap, n) && idle < 100000) {
		err = step(shard);
		if (err == EVICT_FULL)
			break;
		idle = err > 0 ? 0 : idle + 1;
		if (err < 0 && !evict_reap(shard)) {
			evictor_kick(leap);
			sched_yield();
		}
	}
	lock_release(&shard->evict_lock);
	return over(leap, n) ? (err == EVICT_FULL ? EVICT_FULL : EVICT_AGAIN) : 0;
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

		lock_acquire(&shard->evict_lock);
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

static bool writes_in_flight(const struct leap *leap)
{
	for (unsigned s = 0; s < leap->nshards; s++)
		if (__atomic_load_n(&leap->shards[s].writes_in_flight, __ATOMIC_RELAXED))
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

		if (over(leap, budget_headroom(leap)) || writes_in_flight(leap)) {
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
