/* SPDX-License-Identifier: Apache-2.0 */
/* donors.c - see donors.h. */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/util/mem.h"

#define KEEP_FREE_GROUPS (3 * SLAB_GROUPS) /* more unused slabs than this go back */

static bool usable(const struct donor *d)
{
	return donor_alive(d) && !d->full && !d->leaving;
}

uint64_t donors_random(struct donors *donors)
{
	uint64_t x = donors->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return donors->random = x;
}

bool donors_all_sync(const struct donors *donors)
{
	for (uint32_t i = 0; i < donors->count; i++)
		if (!(donors->donor[i].ops->flags & TRANSPORT_SYNC) &&
		    donor_alive(&donors->donor[i]))
			return false;
	return true;
}

static void update_sync(struct leap *leap)
{
	__atomic_store_n(&leap->all_sync, donors_all_sync(&leap->donors), __ATOMIC_RELAXED);
}

/* Connects one; on success it is complete, with lanes, but not yet counted. */
static int connect_one(struct leap *leap, struct donor *d, const struct donor_uri *uri,
		       uint32_t index, const struct transport_params *params)
{
	char text[300];
	int err;

	memset(d, 0, sizeof(*d));
	d->uri = *uri;
	d->index = index;
	err = transport_open(uri, params, &d->ops, &d->port);
	if (err)
		return err;
	d->joined_ns = clock_ns();
	d->alive = true;
	for (unsigned s = 0; s < leap->nshards; s++) {
		err = shard_open_lanes(&leap->shards[s], index);
		if (err)
			goto close;
	}
	return 0;
close:
	uri_format(uri, text, sizeof(text));
	error_prefix(err, text);
	for (unsigned s = 0; s < leap->nshards; s++)
		shard_close_lanes(&leap->shards[s], index);
	d->ops->close(d->port);
	d->alive = false;
	return err;
}

static void disconnect(struct leap *leap, struct donor *d)
{
	for (unsigned s = 0; s < leap->nshards; s++)
		shard_close_lanes(&leap->shards[s], d->index);
	if (d->port)
		d->ops->close(d->port);
	d->port = NULL;
	__atomic_store_n(&d->alive, false, __ATOMIC_RELEASE);
}

/* Connects to all of the list, beyond the end of the donors that others see; then they see them. */
static int join(struct leap *leap, const struct donor_uri *list, uint32_t n,
		const struct transport_params *params)
{
	struct donors *donors = &leap->donors;
	uint32_t first = donors->count, done = 0;
	int err = 0;

	if (first + n > LEAP_DONORS_MAX)
		return error_set(E2BIG, "at most %d donors a session", LEAP_DONORS_MAX);
	for (; done < n && !err; done++)
		err = connect_one(leap, &donors->donor[first + done], &list[done], first + done,
				  params);
	if (err) {
		while (done-- > 0)
			if (donors->donor[first + done].alive)
				disconnect(leap, &donors->donor[first + done]);
		return err;
	}
	lock_acquire(&donors->lock);
	__atomic_store_n(&donors->count, first + n, __ATOMIC_RELEASE);
	update_sync(leap);
	evict_found_room(leap);
	lock_release(&donors->lock);
	return 0;
}

int donors_add(struct leap *leap, const char *uris)
{
	struct donor_uri *list;
	struct lock_app saved;
	int n, err;

	list = mem_map(LEAP_DONORS_MAX * sizeof(*list));
	if (!list)
		return error_set(ENOMEM, "no memory for the list of donors");
	n = uri_parse_list(uris, list, LEAP_DONORS_MAX);
	err = n < 0 ? n : 0;
	if (!err) {
		lock_app_enter(&saved);
		lock_acquire(&leap->donors.join);
		err = join(leap, list, (uint32_t)n, &leap->donors.params);
		lock_release(&leap->donors.join);
		lock_app_leave(&saved);
	}
	mem_unmap(list, LEAP_DONORS_MAX * sizeof(*list));
	return err;
}

int donors_add_again(struct leap *leap, const struct donor *dead, uint64_t open_ns)
{
	struct transport_params params = leap->donors.params;
	int err;

	params.open_ns = open_ns;
	lock_acquire(&leap->donors.join);
	err = join(leap, &dead->uri, 1, &params);
	if (!err)
		leap->donors.donor[leap->donors.count - 1].wait_ns = dead->wait_ns;
	lock_release(&leap->donors.join);
	return err;
}

void donors_close(struct leap *leap)
{
	struct donors *donors = &leap->donors;

	lock_acquire(&donors->lock);
	for (uint32_t i = 0; i < donors->count; i++)
		if (donors->donor[i].port)
			disconnect(leap, &donors->donor[i]);
	lock_release(&donors->lock);
}

int donors_find(struct leap *leap, const char *uri)
{
	struct donors *donors = &leap->donors;
	struct donor_uri one[2];
	char want[300], have[300];
	int n = uri_parse_list(uri, one, 2), dead = -1;

	if (n < 0)
		return n;
	uri_format(&one[0], want, sizeof(want));
	for (uint32_t i = 0; n == 1 && i < donors->count; i++) {
		const struct donor *d = &donors->donor[i];

		uri_format(&d->uri, have, sizeof(have));
		if (!d->port || strcmp(want, have))
			continue;
		if (donor_alive(d))
			return (int)i;
		if (!d->leaving) /* leaving and dead: removed */
			dead = (int)i;
	}
	if (dead >= 0)
		return dead;
	return error_set(ENOENT, "%s is not a donor of this session", uri);
}

static uint64_t free_bytes(struct donor *d)
{
	struct port_info info = {0};

	return d->ops->info(d->port, false, &info) ? 0 : info.free_bytes;
}

/* The better of two random usable donors by free memory; -1 when none is usable. */
static int choose(struct donors *donors)
{
	int list[LEAP_DONORS_MAX], n = 0, a, b;

	for (uint32_t i = 0; i < donors->count; i++)
		if (usable(&donors->donor[i]))
			list[n++] = (int)i;
	if (!n)
		return -1;
	a = list[donors_random(donors) % (unsigned)n];
	b = list[donors_random(donors) % (unsigned)n];
	return free_bytes(&donors->donor[b]) > free_bytes(&donors->donor[a]) ? b : a;
}

static int grow_locked(struct leap *leap)
{
	struct donors *donors = &leap->donors;
	int i;

	while ((i = choose(donors)) >= 0) {
		struct donor *d = &donors->donor[i];
		uint32_t slab;
		int err = d->ops->slab_grant(d->port, &slab);

		if (!err) {
			err = slabs_add(&leap->slabs, d, slab);
			if (err)
				d->ops->slab_release(d->port, slab);
			if (!donor_alive(d)) /* died meanwhile, before the slab was known */
				slabs_donor_gone(&leap->slabs, d);
			return err;
		}
		if (err == -EPIPE || err == -ETIMEDOUT)
			donor_died(leap, d, err);
		else
			d->full = true;
	}
	return -ENOSPC;
}

int donors_grow(struct leap *leap)
{
	uint32_t before = __atomic_load_n(&leap->slabs.free_groups, __ATOMIC_RELAXED);
	int err = 0;

	lock_acquire(&leap->donors.lock);
	/* another thread may have asked while we waited for the lock */
	if (before || !__atomic_load_n(&leap->slabs.free_groups, __ATOMIC_RELAXED))
		err = grow_locked(leap);
	lock_release(&leap->donors.lock);
	return err;
}

void donor_died(struct leap *leap, struct donor *donor, int err)
{
	char text[300];

	if (!__atomic_exchange_n(&donor->alive, false, __ATOMIC_ACQ_REL))
		return;
	uri_format(&donor->uri, text, sizeof(text));
	log_error("donor %s is lost (%s): pages that only it has cannot be read any more", text,
		  err == -ETIMEDOUT ? "no answer within the deadline" : "the connection broke");
	slabs_donor_gone(&leap->slabs, donor);
	update_sync(leap);
	evictor_kick(leap);
	keeper_kick(leap);
}

/* Slabs that a forked relative let go of may be written again. */
static void thaw(struct leap *leap)
{
	uint32_t cursor = 0, number;
	struct donor *d;

	while (slabs_next_frozen(&leap->slabs, &cursor, &d, &number)) {
		if (!donor_alive(d) || d->leaving)
			continue;
		if (d->ops->slab_shared(d->port, number) == 0)
			slabs_thaw(&leap->slabs, d, number);
	}
}

static void give_back(struct leap *leap)
{
	struct donor *d;
	uint32_t number;

	while (slabs_take_unused(&leap->slabs, NULL, KEEP_FREE_GROUPS, &d, &number))
		if (donor_alive(d))
			d->ops->slab_release(d->port, number);
}

/* A store inside the process gives out bytes, the others slabs. */
static uint64_t room_to_ask(const struct port_info *info)
{
	uint64_t share = info->total_bytes / 16;

	return info->stored_bytes && share < LEAP_SLAB_BYTES ? share : LEAP_SLAB_BYTES;
}

static void ask_again(struct leap *leap)
{
	struct donors *donors = &leap->donors;

	for (uint32_t i = 0; i < donors->count; i++) {
		struct donor *d = &donors->donor[i];
		struct port_info info = {0};

		if (!donor_alive(d) || !d->full || d->ops->info(d->port, true, &info))
			continue;
		if (info.free_bytes >= room_to_ask(&info)) {
			d->full = false;
			evict_found_room(leap);
		}
	}
}

bool donors_ahead(struct leap *leap)
{
	int err;

	__atomic_store_n(&leap->grow_asked, false, __ATOMIC_RELEASE);
	if (!leap->armed || leap->no_room || leap->slabs.free_groups >= DONORS_AHEAD_GROUPS ||
	    __atomic_load_n(&leap->held, __ATOMIC_RELAXED) <=
		    budget_pages(leap) - 2 * budget_headroom(leap))
		return false;
	lock_acquire(&leap->donors.lock);
	err = grow_locked(leap);
	lock_release(&leap->donors.lock);
	return !err;
}

void donors_tick(struct leap *leap)
{
	struct donors *donors = &leap->donors;
	uint64_t now = clock_ns();
	bool second = now - donors->second_ns >= 1000000000;

	lock_acquire(&donors->lock);
	for (uint32_t i = 0; i < donors->count; i++) {
		struct donor *d = &donors->donor[i];
		int err;

		if (!donor_alive(d))
			continue;
		err = d->ops->tick(d->port);
		if (err)
			donor_died(leap, d, err);
	}
	if (second) {
		donors->second_ns = now;
		thaw(leap);
		give_back(leap);
		ask_again(leap);
	}
	lock_release(&donors->lock);
}
