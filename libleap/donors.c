/* SPDX-License-Identifier: Apache-2.0 */
/* donors.c - see donors.h. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/fetch.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/util/fmt.h"
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

uint32_t donors_known(const struct donors *donors)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < donors->count; i++)
		n += donors->donor[i].used;
	return n;
}

bool donors_all_sync(const struct donors *donors)
{
	for (uint32_t i = 0; i < donors->count; i++)
		if (donor_alive(&donors->donor[i]) &&
		    !(donors->donor[i].ops->flags & TRANSPORT_SYNC))
			return false;
	return true;
}

static void update_sync(struct leap *leap)
{
	__atomic_store_n(&leap->all_sync, donors_all_sync(&leap->donors), __ATOMIC_RELAXED);
}

/* A donor that is connected, but not yet in the list. */
struct joining {
	struct donor donor;
	struct lane *lanes[SHARDS_MAX][SHARD_LANES];
};

static void disconnect_joining(struct joining *j)
{
	for (unsigned s = 0; s < SHARDS_MAX; s++)
		lanes_close(&j->donor, j->lanes[s]);
	if (j->donor.port)
		j->donor.ops->close(j->donor.port);
}

static int connect_one(struct leap *leap, struct joining *j, const struct donor_uri *uri,
		       const struct transport_params *params)
{
	struct donor *d = &j->donor;
	char text[300];
	int err;

	d->uri = *uri;
	err = transport_open(uri, params, &d->ops, &d->port);
	if (err)
		return err;
	d->joined_ns = clock_ns();
	for (unsigned s = 0; s < leap->nshards && !err; s++)
		err = lanes_open(d, j->lanes[s]);
	if (err) {
		uri_format(uri, text, sizeof(text));
		error_prefix(err, text);
	}
	return err;
}

/* One that died and waits to be tried again gives its entry up when no other is left. NULL: all live, or are still read. */
static struct donor *free_entry(struct donors *donors)
{
	struct donor *waits = NULL;

	for (uint32_t i = 0; i < LEAP_DONORS_MAX; i++) {
		struct donor *d = &donors->donor[i];

		if (!d->used)
			return d;
		if (!donor_alive(d) && !d->port)
			waits = d;
	}
	return waits;
}

static uint32_t count_free(const struct donors *donors)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < LEAP_DONORS_MAX; i++)
		n += !donors->donor[i].used ||
		     (!donor_alive(&donors->donor[i]) && !donors->donor[i].port);
	return n;
}

/* Whoever finds a lane finds its donor complete. JOIN and DONORS locks held. */
static struct donor *enter(struct leap *leap, const struct joining *j, struct donor *d)
{
	struct donors *donors = &leap->donors;
	uint32_t index = (uint32_t)(d - donors->donor);

	*d = j->donor;
	d->index = index;
	d->used = true;
	for (unsigned s = 0; s < leap->nshards; s++)
		shard_set_lanes(&leap->shards[s], index, j->lanes[s]);
	if (index >= donors->count)
		__atomic_store_n(&donors->count, index + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&d->alive, true, __ATOMIC_RELEASE);
	return d;
}

/* Connects to all of the list; then the others see them, in `entry` if it is given. JOIN lock held. */
static int join(struct leap *leap, const struct donor_uri *list, uint32_t n,
		const struct transport_params *params, struct donor *entry, struct donor **ret_last)
{
	struct donors *donors = &leap->donors;
	struct joining *j = mem_map_sparse(n * sizeof(*j));
	uint32_t done = 0;
	int err = 0;

	if (!j)
		return error_set(ENOMEM, "no memory to connect to %u donors", n);
	if (n > count_free(donors))
		err = error_set(E2BIG,
				"a session has at most %d donors that live: remove one first",
				LEAP_DONORS_MAX);
	donors->open_end_ns = run_clock_ns() + transport_open_ns(params);
	while (done < n && !err) {
		err = connect_one(leap, &j[done], &list[done], params);
		done++;
	}
	donors->open_end_ns = 0;
	if (!err) {
		lock_acquire(&donors->lock);
		for (uint32_t i = 0; i < n; i++)
			*ret_last = enter(leap, &j[i], entry ? entry : free_entry(donors));
		update_sync(leap);
		evict_found_room(leap);
		lock_release(&donors->lock);
	}
	while (err && done-- > 0)
		disconnect_joining(&j[done]);
	mem_unmap(j, n * sizeof(*j));
	return err;
}

int donors_add(struct leap *leap, const char *uris)
{
	struct donor_uri *list;
	struct lock_app saved;
	struct donor *last;
	int n, err;

	list = mem_map(LEAP_DONORS_MAX * sizeof(*list));
	if (!list)
		return error_set(ENOMEM, "no memory for the list of donors");
	n = uri_parse_list(uris, list, LEAP_DONORS_MAX);
	err = n < 0 ? n : 0;
	if (!err) {
		lock_app_enter(&saved);
		lock_acquire(&leap->donors.join);
		err = join(leap, list, (uint32_t)n, &leap->donors.params, NULL, &last);
		lock_release(&leap->donors.join);
		lock_app_leave(&saved);
	}
	mem_unmap(list, LEAP_DONORS_MAX * sizeof(*list));
	return err;
}

int donors_add_again(struct leap *leap, struct donor *dead, uint64_t open_ns)
{
	struct transport_params params = leap->donors.params;
	struct donor *d;
	int err;

	params.open_ns = open_ns;
	lock_acquire(&leap->donors.join);
	if (!donor_lost(dead)) { /* its entry has become another's */
		lock_release(&leap->donors.join);
		return error_set(ECANCELED, "it is waited for no more");
	}
	const struct donor was = *dead;

	err = join(leap, &was.uri, 1, &params, was.port ? NULL : dead, &d);
	if (!err)
		d->wait_ns = was.wait_ns;
	if (!err && d != dead)
		dead->back = true;
	lock_release(&leap->donors.join);
	return err;
}

static void disconnect(struct leap *leap, struct donor *d)
{
	struct port *port = d->port;

	for (unsigned s = 0; s < leap->nshards; s++)
		shard_close_lanes(&leap->shards[s], d->index);
	__atomic_store_n(&d->alive, false, __ATOMIC_RELEASE);
	d->port = NULL;
	d->ops->close(port);
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

/* No request to it is under way in any shard afterwards, and no thread looks at its lanes. */
static void close_lanes(struct leap *leap, const struct donor *d)
{
	for (unsigned s = 0; s < leap->nshards; s++) {
		struct shard *shard = &leap->shards[s];

		lock_acquire(&shard->role_lock);
		lock_acquire(&shard->evict_lock);
		fetch_drain(shard);
		evict_drain(shard);
		shard_close_lanes(shard, d->index);
		lock_release(&shard->evict_lock);
		lock_release(&shard->role_lock);
	}
}

/* Is nothing left to read from it? What can be read of a dead one is what is mapped here. */
static bool is_over(struct leap *leap, struct donor *d)
{
	bool removed = __atomic_load_n(&d->removed, __ATOMIC_ACQUIRE);

	if (donor_alive(d) || (d->leaving && !removed))
		return false;
	if (!(d->ops->flags & TRANSPORT_SYNC) && !removed) {
		leap->donors.lost.ops = d->ops;
		slabs_disown(&leap->slabs, d, &leap->donors.lost);
	}
	return !slabs_of_donor(&leap->slabs, d);
}

/* JOIN lock held. */
static void bury(struct leap *leap, struct donor *d)
{
	struct donors *donors = &leap->donors;
	struct port *port = d->port;

	if (port && !is_over(leap, d))
		return;
	if (port) {
		close_lanes(leap, d);
		lock_acquire(&donors->lock);
		/* a slab may have been granted meanwhile, just before it died */
		d->port = is_over(leap, d) ? NULL : port;
		lock_release(&donors->lock);
		if (d->port)
			return;
		d->ops->close(port);
	}
	if (d->removed || d->back)
		d->used = false;
}

void donors_bury(struct leap *leap, bool wait)
{
	struct donors *donors = &leap->donors;

	if (wait)
		lock_acquire(&donors->join);
	else if (!lock_try(&donors->join))
		return;
	for (uint32_t i = 0; i < donors->count; i++)
		if (donors->donor[i].used && !donor_alive(&donors->donor[i]))
			bury(leap, &donors->donor[i]);
	lock_release(&donors->join);
}

int donors_find(struct leap *leap, const char *uri)
{
	struct donors *donors = &leap->donors;
	struct donor_uri one[2];
	char want[300], have[300];
	int n = uri_parse_list(uri, one, 2), alive = -1, dead = -1;

	if (n < 0)
		return n;
	uri_format(&one[0], want, sizeof(want));
	lock_acquire(&donors->lock);
	for (uint32_t i = 0; n == 1 && i < donors->count && alive < 0; i++) {
		const struct donor *d = &donors->donor[i];

		uri_format(&d->uri, have, sizeof(have));
		if (!d->used || d->removed || strcmp(want, have))
			continue;
		if (donor_alive(d))
			alive = (int)i;
		else
			dead = (int)i;
	}
	lock_release(&donors->lock);
	if (alive >= 0 || dead >= 0)
		return alive >= 0 ? alive : dead;
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

void donors_begin(struct leap *leap)
{
	struct donors *donors = &leap->donors;
	uint32_t alive = 0;

	donors->call_end_ns = run_clock_ns() + donors->params.deadline_ns;
	for (uint32_t i = 0; i < donors->count; i++)
		alive += donor_alive(&donors->donor[i]);
	for (uint32_t i = 0; alive > 1 && i < donors->count; i++) {
		struct donor *d = &donors->donor[i];
		int err = donor_alive(d) ? d->ops->tick(d->port) : 0;

		if (err)
			donor_died(leap, d, err);
	}
}

void donors_end(struct leap *leap)
{
	leap->donors.call_end_ns = 0;
}

static bool time_over(const struct donors *donors)
{
	return run_clock_ns() >= donors->call_end_ns;
}

static void note_refusal(struct donors *donors, struct donor *d)
{
	d->full = true;
	fmt_print(donors->refusal, sizeof(donors->refusal), "%s", error_last());
}

void donors_why(struct leap *leap, char *buf, size_t size)
{
	struct donors *donors = &leap->donors;
	uint32_t alive = 0;

	lock_acquire(&donors->lock);
	for (uint32_t i = 0; i < donors->count; i++)
		alive += donor_alive(&donors->donor[i]);
	if (!alive)
		fmt_print(
			buf, size,
			"no donor lives any more (%u lost): start one again, or add another (leap "
			"ctl %d donor-add=URI)",
			donors_known(donors), (int)getpid());
	else if (donors->refusal[0])
		fmt_print(buf, size, "no donor takes more; the last that was asked, %s",
			  donors->refusal);
	else
		fmt_print(
			buf, size,
			"all donors are full: add one (leap ctl %d donor-add=URI), or memory to one",
			(int)getpid());
	lock_release(&donors->lock);
}

static int grow_begun(struct leap *leap)
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
		else if (err == -EAGAIN) /* it may answer later */
			return err;
		else
			note_refusal(donors, d);
	}
	return -ENOSPC;
}

static int grow_locked(struct leap *leap)
{
	int err;

	donors_begin(leap);
	err = grow_begun(leap);
	donors_end(leap);
	return err;
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

void donors_thaw(struct leap *leap, bool all)
{
	uint32_t cursor = 0, number;
	struct donor *d;

	while (slabs_next_frozen(&leap->slabs, &cursor, &d, &number)) {
		if (time_over(&leap->donors))
			break;
		if (!donor_alive(d) || d->leaving)
			continue;
		if (d->ops->slab_shared(d->port, number) == 0)
			slabs_thaw(&leap->slabs, d, number);
		else if (!all)
			break;
	}
}

static void give_back(struct leap *leap)
{
	struct donor *d;
	uint32_t number;

	while (!time_over(&leap->donors) &&
	       slabs_take_unused(&leap->slabs, NULL, KEEP_FREE_GROUPS, &d, &number))
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
	if (!leap->armed || leap->no_room || !slabs_short(&leap->slabs, DONORS_AHEAD_GROUPS) ||
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
		donors_begin(leap);
		donors_thaw(leap, true);
		give_back(leap);
		ask_again(leap);
		donors_end(leap);
	}
	lock_release(&donors->lock);
}
