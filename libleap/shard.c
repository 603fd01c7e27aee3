/* SPDX-License-Identifier: Apache-2.0 */
/* shard.c - life of a shard, its queue and gauges. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/fetch.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/mem.h"

#define WP_LIMBO_SLOTS 16 /* mover wp: frames are plain memory that stays */

static uint64_t wanted_features(const struct leap *leap, bool inline_faults)
{
	uint64_t want = UFFD_FEATURE_THREAD_ID;

	if (inline_faults)
		want |= UFFD_FEATURE_SIGBUS;
	if (!leap->can_move)
		want |= UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	if (leap->can_move)
		want |= UFFD_FEATURE_MOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	if (leap->can_poison)
		want |= UFFD_FEATURE_POISON;
	return want & leap->features;
}

static int open_fd(struct shard *shard)
{
	struct leap *leap = shard->leap;
	int err;

	shard->inline_faults = leap->frontend == FRONTEND_INLINE;
	err = uffd_open(wanted_features(leap, shard->inline_faults), true, &shard->uffd,
			&leap->user_only);
	if (!err)
		shard->uffd = fd_own(shard->uffd);
	return err;
}

int shard_reopen_uffd(struct shard *shard)
{
	int err = open_fd(shard);

	return err ? err : limbo_register(shard);
}

int shard_open_uffd(struct shard *shard)
{
	struct leap *leap = shard->leap;
	int err = open_fd(shard);

	if (err)
		return err;
	err = limbo_init(shard, leap->can_move, leap->can_move ? LIMBO_SLOTS : WP_LIMBO_SLOTS);
	if (err) {
		fd_close(shard->uffd);
		shard->uffd = -1;
		return error_set(-err, "cannot set up the area of evicted pages: error %d", -err);
	}
	return 0;
}

int shard_init(struct leap *leap, struct shard *shard, unsigned index)
{
	int err;

	shard->leap = leap;
	shard->index = index;
	shard->uffd = shard->wake_fd = -1;
	lock_init(&shard->role_lock, LOCK_RANK_ROLE, index);
	lock_init(&shard->evict_lock, LOCK_RANK_EVICT, index);
	lock_init(&shard->lock, LOCK_RANK_SHARD, index);
	shard->zero_window = 1;
	err = stage_init(&shard->stage);
	if (err)
		return error_set(ENOMEM, "no memory for staging buffers");
	err = fetch_init(shard);
	if (!err)
		err = evict_init(shard);
	if (err)
		return error_set(ENOMEM, "no memory for request pools");
	shard->wake_fd = (int)sys_ret(syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (shard->wake_fd < 0)
		return error_set(-shard->wake_fd, "cannot make an eventfd: error %d",
				 -shard->wake_fd);
	shard->wake_fd = fd_own(shard->wake_fd);
	return shard_open_uffd(shard);
}

void shard_destroy(struct shard *shard)
{
#ifdef LEAP_DEBUG_CHECKS
	/* its pages are gone, and each that had the flag was counted out */
	if (!shard->leap->nregions && shard->untouched) {
		log_error("internal error: %lu prefetched pages are left untouched of none",
			  (unsigned long)shard->untouched);
		abort_now();
	}
#endif
	for (uint32_t d = 0; d < LEAP_DONORS_MAX; d++)
		shard_close_lanes(shard, d);
	fd_close(shard->uffd);
	fd_close(shard->wake_fd);
	limbo_destroy(shard);
	evict_destroy(shard);
	fetch_destroy(shard);
	stage_destroy(&shard->stage);
	views_destroy(&shard->views);
}

int lanes_open(const struct donor *d, struct lane **ret_lanes)
{
	static const enum lane_kind kinds[SHARD_LANES] = {LANE_DEMAND, LANE_PREFETCH, LANE_WRITE};
	int err = 0;

	for (unsigned i = 0; i < SHARD_LANES && !err; i++)
		err = d->ops->lane_open(d->port, kinds[i], &ret_lanes[i]);
	if (err)
		lanes_close(d, ret_lanes);
	return err;
}

void lanes_close(const struct donor *d, struct lane **lanes)
{
	for (unsigned i = 0; i < SHARD_LANES; i++) {
		if (lanes[i])
			d->ops->lane_close(lanes[i]);
		lanes[i] = NULL;
	}
}

int shard_open_lanes(struct shard *shard, uint32_t donor)
{
	struct lane *lanes[SHARD_LANES] = {NULL};
	int err = lanes_open(&shard->leap->donors.donor[donor], lanes);

	if (!err)
		shard_set_lanes(shard, donor, lanes);
	return err;
}

void shard_set_lanes(struct shard *shard, uint32_t donor, struct lane *const *lanes)
{
	/* who finds the first uses the second, too */
	__atomic_store_n(&shard->prefetch[donor], lanes[1], __ATOMIC_RELEASE);
	__atomic_store_n(&shard->write[donor], lanes[2], __ATOMIC_RELEASE);
	__atomic_store_n(&shard->demand[donor], lanes[0], __ATOMIC_RELEASE);
}

void shard_close_lanes(struct shard *shard, uint32_t donor)
{
	struct lane *lanes[SHARD_LANES] = {shard->demand[donor], shard->prefetch[donor],
					   shard->write[donor]};

	shard->demand[donor] = shard->prefetch[donor] = shard->write[donor] = NULL;
	lanes_close(&shard->leap->donors.donor[donor], lanes);
}

void shard_queue_remove(struct shard *shard, struct extent *e)
{
	if (!(e->flags & EXTENT_QUEUED))
		return;
	if (e->prev)
		e->prev->next = e->next;
	else
		shard->queue.head = e->next;
	if (e->next)
		e->next->prev = e->prev;
	else
		shard->queue.tail = e->prev;
	e->prev = e->next = NULL;
	e->flags &= (uint8_t)~EXTENT_QUEUED;
}

void shard_queue_tail(struct shard *shard, struct extent *e)
{
	e->prev = shard->queue.tail;
	e->next = NULL;
	if (e->prev)
		e->prev->next = e;
	else
		shard->queue.head = e;
	shard->queue.tail = e;
	e->flags |= EXTENT_QUEUED;
}

void shard_queue_front(struct shard *shard, struct extent *e)
{
	e->next = shard->queue.head;
	e->prev = NULL;
	if (e->next)
		e->next->prev = e;
	else
		shard->queue.tail = e;
	shard->queue.head = e;
	e->flags |= EXTENT_QUEUED;
}

void shard_pages_local(struct shard *shard, struct extent *e, uint64_t mask)
{
	int n = __builtin_popcountll(mask);

	if (!n)
		return;
	e->local |= mask;
	shard->local += (uint64_t)n;
	budget_add(shard->leap, 0, n);
	if (!(e->flags & EXTENT_QUEUED))
		shard_queue_tail(shard, e);
}

void shard_pages_unlocal(struct shard *shard, struct extent *e, uint64_t mask)
{
	int n = __builtin_popcountll(mask);

	e->local &= ~mask;
	shard->local -= (uint64_t)n;
	budget_add(shard->leap, 0, -n);
	if (!e->local)
		shard_queue_remove(shard, e);
}

void shard_kick(struct shard *shard)
{
	uint64_t one = 1;

	syscall(SYS_write, shard->wake_fd, &one, sizeof(one));
}

/* Does the program learn of a loss by SIGBUS? Else it is aborted. */
static bool raises_sigbus(const struct leap *leap)
{
	return leap->config.on_loss != ON_LOSS_ABORT && leap->can_poison;
}

/* The page is LOST from now on: said, and counted. */
static void lose(struct shard *shard, struct leap_region *region, size_t index, const char *why)
{
	struct page *page = &region->pages[index];

	if (shard->lost == 0 || shard->lost % 1024 == 0)
		log_error("the page at %p is lost: %s; the program gets %s",
			  (void *)region_page_addr(region, index), why,
			  raises_sigbus(shard->leap) ? "SIGBUS" : "aborted");
	if (page_state(page) == PAGE_REMOTE)
		shard->remote--;
	if (page_state(page) == PAGE_LOCAL)
		shard_pages_unlocal(shard, region_extent(region, index),
				    1ull << (index % EXTENT_PAGES));
	if (page_state(page) != PAGE_ABSENT)
		budget_add(shard->leap, -1, 0);
	slots_put(&shard->leap->slabs, &page->slot, 1);
	page->slot = 0;
	waiting_end(shard, region, index);
	page_set_flags(page, 0, PAGE_STORED | PAGE_WAITED | PAGE_DEMAND);
	shard_prefetched(shard, page, false);
	page_move(page, PAGE_LOST);
	shard->lost++;
}

/* The next touch raises SIGBUS, and so does the one that waits. */
static void poison(struct shard *shard, char *addr)
{
	if (!shard->inline_faults)
		uffd_poison(shard->uffd, addr, LEAP_PAGE_BYTES);
	uffd_wake(shard->uffd, addr, LEAP_PAGE_BYTES);
}

void page_lost(struct shard *shard, struct leap_region *region, size_t index, const char *why)
{
	if (page_state(&region->pages[index]) != PAGE_LOST)
		lose(shard, region, index, why);
	if (!raises_sigbus(shard->leap))
		abort_now();
	poison(shard, region_page_addr(region, index));
}

void page_gone(struct shard *shard, struct leap_region *region, size_t index)
{
	lose(shard, region, index, PAGE_GONE);
	if (raises_sigbus(shard->leap)) /* else whoever touches it is aborted */
		poison(shard, region_page_addr(region, index));
}
