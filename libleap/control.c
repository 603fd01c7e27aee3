/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - options of a running session; see control.h. */
#include <errno.h>
#include <string.h>

#include "libleap/control.h"
#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/log.h"
#include "libleap/policy.h"
#include "libleap/region_int.h"
#include "libleap/session.h"
#include "libleap/util/mem.h"

/* remote=off: everything comes home first; the budget is unlimited from then on. */
static int remote_off(struct leap *leap)
{
	for (uint32_t i = 0; i < leap->nregions; i++) {
		struct leap_region *r = leap->regions[i];
		size_t n = r->reserved ? r->high_page : r->npages;
		int err = region_bring_home(r, 0, n);

		if (err)
			return err;
	}
	return 0;
}

/* Would all that is held fit the memory that the machine has left? */
static int check_fits(struct leap *leap)
{
	uint64_t remote = 0, avail = available_bytes();

	for (unsigned s = 0; s < leap->nshards; s++)
		remote += leap->shards[s].remote << LEAP_PAGE_SHIFT;
	if (remote > avail)
		return error_set(ENOMEM,
				 "%lu MiB are remote, but this machine has only %lu MiB available: "
				 "nothing was changed",
				 (unsigned long)(remote >> 20), (unsigned long)(avail >> 20));
	return 0;
}

/* Waits for evictions that began before. */
static void finish_evictions(struct leap *leap)
{
	for (unsigned s = 0; s < leap->nshards; s++) {
		lock_acquire(&leap->shards[s].evict_lock);
		evict_drain(&leap->shards[s]);
		lock_release(&leap->shards[s].evict_lock);
	}
}

static int set_remote(struct leap *leap, bool on)
{
	int err;

	if (on == leap->config.remote)
		return 0;
	if (on) {
		__atomic_store_n(&leap->config.remote, true, __ATOMIC_RELEASE);
		evictor_kick(leap);
		return 0;
	}
	err = check_fits(leap);
	if (err)
		return err;
	/* nothing is evicted any more, so what comes home stays */
	__atomic_store_n(&leap->config.remote, false, __ATOMIC_RELEASE);
	finish_evictions(leap);
	err = remote_off(leap);
	if (err)
		__atomic_store_n(&leap->config.remote, true, __ATOMIC_RELEASE);
	return err;
}

static int apply(struct leap *leap, const struct config *next, const char *name)
{
	if (!strcmp(name, "remote"))
		return set_remote(leap, next->remote);
	if (!strcmp(name, "prefetch")) {
		const struct prefetcher_ops *ops;
		const struct replay_future *future;
		int err = policy_open(next->prefetch, &ops, &future);

		if (err)
			return err;
		__atomic_store_n(&leap->future, future, __ATOMIC_RELEASE);
		__atomic_store_n(&leap->prefetcher, ops, __ATOMIC_RELEASE);
	}
	if (!strcmp(name, "deadline"))
		leap->donors.params.deadline_ns = next->deadline_ns;
	if (!strcmp(name, "recycle"))
		__atomic_store_n(&leap->recycle, next->recycle, __ATOMIC_RELAXED);
	if (!strcmp(name, "log_level"))
		log_set_level((enum log_level)next->log_level);
	leap->config = *next;
	/* histories are made anew with the new parameters at their next use */
	__atomic_fetch_add(&leap->prefetch_generation, 1, __ATOMIC_RELEASE);
	return 0;
}

static int set_locked(struct leap *leap, const char *name, const char *value)
{
	const struct config_option *option = config_find(name);
	struct config *next;
	int err;

	if (option && !option->live)
		return error_set(EROFS, "option %s can only be given when the session is opened",
				 name);
	next = mem_map(sizeof(*next));
	if (!next)
		return error_set(ENOMEM, "no memory for a change of option %s", name);
	*next = leap->config;
	err = config_set(next, name, value);
	if (!err)
		err = config_check(next);
	if (!err)
		err = apply(leap, next, name);
	mem_unmap(next, sizeof(*next));
	if (!err && !strcmp(name, "local"))
		err = regions_arm_if_needed(leap);
	if (!err)
		evictor_kick(leap);
	return err;
}

int leap_set(struct leap *leap, const char *name, const char *value)
{
	struct lock_app saved;
	int err;

	runtime_enter();
	lock_app_enter(&saved);
	lock_acquire(&leap->lock);
	err = set_locked(leap, name, value);
	lock_release(&leap->lock);
	lock_app_leave(&saved);
	runtime_leave();
	return err;
}

int leap_get(struct leap *leap, const char *name, char *buf, size_t size)
{
	struct lock_app saved;
	int err;

	runtime_enter();
	lock_app_enter(&saved);
	lock_acquire(&leap->lock);
	err = config_get(&leap->config, name, buf, size);
	lock_release(&leap->lock);
	lock_app_leave(&saved);
	runtime_leave();
	return err;
}

int leap_donor_add(struct leap *leap, const char *uris)
{
	int err;

	runtime_enter();
	err = donors_add(leap, uris);
	runtime_leave();
	return err ? error_prefix(err, "leap_donor_add") : 0;
}

static bool on_donor(struct leap *leap, struct shard *shard, const struct page *page,
		     const struct donor *donor)
{
	struct slot_place place = {0};

	if (!__atomic_load_n(&page->slot, __ATOMIC_RELAXED))
		return false;
	lock_acquire(&shard->lock);
	if (page->slot)
		slot_resolve(&leap->slabs, page->slot, &place);
	lock_release(&shard->lock);
	return place.donor == donor;
}

/* Rewrites everything that has a slot on the donor: home, then out again elsewhere. */
static int move_off(struct leap *leap, struct donor *donor)
{
	for (uint32_t i = 0; i < leap->nregions; i++) {
		struct leap_region *r = leap->regions[i];
		size_t n = r->reserved ? r->high_page : r->npages;

		for (size_t at = 0; at < n; at++) {
			struct shard *shard = region_shard(r, at);
			struct slot_place place = {0};
			uint32_t slot;
			int err;

			if (!on_donor(leap, shard, &r->pages[at], donor))
				continue;
			err = region_bring_home(r, at, 1);
			if (err)
				return err;
			lock_acquire(&shard->lock);
			slot = r->pages[at].slot;
			if (slot)
				slot_resolve(&leap->slabs, slot, &place);
			if (place.donor == donor && page_state(&r->pages[at]) == PAGE_LOCAL &&
			    !page_has(&r->pages[at], PAGE_WRITING)) {
				r->pages[at].slot = 0;
				page_set_flags(&r->pages[at], 0, PAGE_STORED);
				slots_put(&leap->slabs, &slot, 1);
			} else if (place.donor == donor) {
				at--; /* evicted again meanwhile, or being written */
				evictor_kick(leap);
			}
			lock_release(&shard->lock);
		}
	}
	return 0;
}

static void drop_groups(struct leap *leap)
{
	for (uint32_t i = 0; i < leap->nregions; i++) {
		struct leap_region *r = leap->regions[i];

		for (size_t x = 0; x < r->nextents; x++) {
			struct extent *e = &r->extents[x];
			struct shard *shard = region_shard(r, x * EXTENT_PAGES);

			if (!e->group || group_writable(&leap->slabs, e->group))
				continue;
			lock_acquire(&shard->lock);
			group_drop(&leap->slabs, e->group);
			e->group = 0;
			lock_release(&shard->lock);
		}
	}
}

static int remove_donor(struct leap *leap, uint32_t index)
{
	struct donor *d = &leap->donors.donor[index];
	uint32_t number, others = 0;
	struct donor *owner;
	int err;

	for (uint32_t i = 0; i < leap->donors.count; i++)
		others += i != index && donor_alive(&leap->donors.donor[i]);
	if (!others && slabs_of_donor(&leap->slabs, d) && leap->config.remote)
		return error_set(ENOSPC,
				 "it is the only donor: add another first, or set remote=off");
	d->leaving = true;
	slabs_set_frozen(&leap->slabs, d, true);
	err = move_off(leap, d);
	if (err) {
		d->leaving =
			false; /* the keeper thaws its slabs, but for those that a forked relative reads */
		return err;
	}
	drop_groups(leap);
	while (slabs_take_unused(&leap->slabs, d, UINT32_MAX / 2, &owner, &number))
		if (donor_alive(d))
			d->ops->slab_release(d->port, number);
	__atomic_store_n(&d->removed, true, __ATOMIC_RELEASE);
	__atomic_store_n(&d->alive, false, __ATOMIC_RELEASE);
	return 0;
}

int leap_donor_remove(struct leap *leap, const char *uri)
{
	struct lock_app saved;
	int err;

	runtime_enter();
	lock_app_enter(&saved);
	donors_bury(leap, true); /* what died has nothing to be moved */
	lock_acquire(&leap->lock);
	err = donors_find(leap, uri);
	if (err >= 0)
		err = remove_donor(leap, (uint32_t)err);
	lock_release(&leap->lock);
	if (!err)
		donors_bury(leap, true);
	lock_app_leave(&saved);
	runtime_leave();
	return err ? error_prefix(err, "leap_donor_remove") : 0;
}
