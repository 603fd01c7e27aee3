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

/*
 * Changes that move pages: one at a time (CHANGE lock), and no other lock is held between two pages. The program maps,
 * unmaps, forks and faults meanwhile; in a forked child the change was never begun (changes_forked()). A region that is
 * unmade meanwhile is left as it is; a session that closes ends the change.
 */
#define CHUNK_PAGES 256

typedef int change_pages(struct leap_region *r, size_t first, size_t n, void *arg);

static int each_region(struct leap *leap, change_pages *change, void *arg)
{
	struct leap_region *r;
	uint32_t id = 0;
	int err = 0;

	while (!err && (r = region_hold_next(leap, id))) {
		size_t n = r->reserved ? r->high_page : r->npages;

		id = r->id + 1;
		for (size_t at = 0; at < n && !err; at += CHUNK_PAGES) {
			if (__atomic_load_n(&leap->stop, __ATOMIC_ACQUIRE))
				err = error_set(ECANCELED, "the session is being closed");
			else if (!__atomic_load_n(&r->dying, __ATOMIC_ACQUIRE))
				err = change(r, at, n - at < CHUNK_PAGES ? n - at : CHUNK_PAGES,
					     arg);
		}
		region_let_go(r);
	}
	return err;
}

static int bring_home(struct leap_region *r, size_t first, size_t n, void *arg)
{
	return region_bring_home(r, first, n);
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

static void set_flag(struct leap *leap, bool remote, bool coming_home)
{
	lock_acquire(&leap->lock);
	__atomic_store_n(&leap->config.remote, remote, __ATOMIC_RELEASE);
	leap->coming_home = coming_home;
	lock_release(&leap->lock);
}

/* Off: everything comes home first; the budget is unlimited from then on. CHANGE lock held. */
static int set_remote(struct leap *leap, bool on)
{
	int err;

	if (on == leap->config.remote)
		return 0;
	if (on) {
		set_flag(leap, true, false);
		return 0;
	}
	err = check_fits(leap);
	if (err)
		return err;
	/* nothing is evicted any more, so what comes home stays */
	set_flag(leap, false, true);
	finish_evictions(leap);
	err = each_region(leap, bring_home, NULL);
	set_flag(leap, err != 0, false);
	return err;
}

static int apply(struct leap *leap, const struct config *next, const char *name)
{
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

/* What the configuration would be. SESSION lock held. */
static int next_config(struct leap *leap, const char *name, const char *value, struct config *next)
{
	const struct config_option *option = config_find(name);
	int err;

	if (option && !option->live)
		return error_set(EROFS, "option %s can only be given when the session is opened",
				 name);
	*next = leap->config;
	err = config_set(next, name, value);
	if (!err)
		err = config_check(next);
	return err ? err : config_check_memory(next, &leap->cgroup);
}

static int set_value(struct leap *leap, const char *name, const char *value, struct config *next)
{
	int err;

	lock_acquire(&leap->lock);
	err = next_config(leap, name, value, next);
	if (!err && strcmp(name, "remote"))
		err = apply(leap, next, name);
	if (!err && !strcmp(name, "local"))
		err = regions_arm_if_needed(leap);
	lock_release(&leap->lock);
	return err;
}

int leap_set(struct leap *leap, const char *name, const char *value)
{
	struct config *next = mem_map(sizeof(*next));
	struct lock_app saved;
	int err;

	if (!next)
		return error_set(ENOMEM, "no memory for a change of option %s", name);
	runtime_enter();
	lock_app_enter(&saved);
	if (!strcmp(name, "remote")) {
		lock_acquire(&leap->change);
		err = set_value(leap, name, value, next);
		if (!err)
			err = set_remote(leap, next->remote);
		lock_release(&leap->change);
	} else {
		err = set_value(leap, name, value, next);
	}
	if (!err)
		evictor_kick(leap);
	lock_app_leave(&saved);
	runtime_leave();
	mem_unmap(next, sizeof(*next));
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

/* The page is here: its slot is let go of. False: it was evicted again meanwhile, or is being written. */
static bool give_up_slot(struct leap *leap, struct shard *shard, struct page *page,
			 const struct donor *donor)
{
	struct slot_place place = {0};
	bool done = true;
	uint32_t slot;

	lock_acquire(&shard->lock);
	slot = page->slot;
	if (slot)
		slot_resolve(&leap->slabs, slot, &place);
	if (place.donor == donor) {
		done = page_state(page) == PAGE_LOCAL && !page_has(page, PAGE_WRITING);
		if (done) {
			page->slot = 0;
			page_set_flags(page, 0, PAGE_STORED);
			slots_put(&leap->slabs, &slot, 1);
		}
	}
	lock_release(&shard->lock);
	return done;
}

/* Rewrites what has a slot on the donor: home, then out again elsewhere. */
static int move_off(struct leap_region *r, size_t first, size_t n, void *arg)
{
	struct leap *leap = r->leap;

	for (size_t at = first; at < first + n; at++) {
		struct shard *shard = region_shard(r, at);

		while (on_donor(leap, shard, &r->pages[at], arg)) {
			bool kept, done = false;
			int err;

			if (__atomic_load_n(&r->dying, __ATOMIC_ACQUIRE))
				return 0;
			/* where no other donor has room it would be the first to go, to where it was */
			kept = region_keep(r, at, 1);
			err = region_bring_home(r, at, 1);
			if (!err)
				done = give_up_slot(leap, shard, &r->pages[at], arg);
			if (kept)
				region_unpin_pages(r, at, 1);
			if (err)
				return err;
			if (done)
				break;
			evictor_kick(leap);
		}
	}
	return 0;
}

static int drop_groups(struct leap_region *r, size_t first, size_t n, void *arg)
{
	for (size_t x = first / EXTENT_PAGES; x * EXTENT_PAGES < first + n; x++) {
		struct extent *e = &r->extents[x];
		struct shard *shard = region_shard(r, x * EXTENT_PAGES);

		if (!region_extent_used(r, x * EXTENT_PAGES) || !e->group ||
		    group_writable(&r->leap->slabs, e->group))
			continue;
		lock_acquire(&shard->lock);
		group_drop(&r->leap->slabs, e->group);
		e->group = 0;
		lock_release(&shard->lock);
	}
	return 0;
}

/* CHANGE lock held. */
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
	err = each_region(leap, move_off, d);
	if (!err)
		err = each_region(leap, drop_groups, NULL);
	if (err) {
		d->leaving =
			false; /* the keeper thaws its slabs, but for those that a forked relative reads */
		return err;
	}
	lock_acquire(&leap->donors.lock);
	while (slabs_take_unused(&leap->slabs, d, UINT32_MAX / 2, &owner, &number))
		if (donor_alive(d))
			d->ops->slab_release(d->port, number);
	__atomic_store_n(&d->removed, true, __ATOMIC_RELEASE);
	__atomic_store_n(&d->alive, false, __ATOMIC_RELEASE);
	lock_release(&leap->donors.lock);
	return 0;
}

int leap_donor_remove(struct leap *leap, const char *uri)
{
	struct lock_app saved;
	int err;

	runtime_enter();
	lock_app_enter(&saved);
	lock_acquire(&leap->change);
	donors_bury(leap, true); /* what died has nothing to be moved */
	lock_acquire(&leap->donors.join);
	err = donors_find(leap, uri);
	lock_release(&leap->donors.join);
	if (err >= 0)
		err = remove_donor(leap, (uint32_t)err);
	if (!err)
		donors_bury(leap, true);
	lock_release(&leap->change);
	lock_app_leave(&saved);
	runtime_leave();
	return err ? error_prefix(err, "leap_donor_remove") : 0;
}
