/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork.c - the pager across fork().
 *
 * The child gets a copy of all metadata and of all local pages by fork() itself; what is remote it must be able to
 * read, too. So the donors are told before (clone_prepare): parent and child share the slabs of that moment. What was in
 * use then neither may write (slab.h) until the other has let go. The child's userfaultfd, threads and
 * connections are made anew.
 *
 * prepare takes every lock of the pager in rank order, after letting all I/O finish: the copy is made between two
 * transitions. The kernel does not register the child's memory with our userfaultfd (no UFFD_EVENT_FORK), so
 * the child must not touch managed memory until runtime_fork_child() has returned.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>

#include "libleap/changes.h"
#include "libleap/control.h"
#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/fetch.h"
#include "libleap/log.h"
#include "libleap/log_writer.h"
#include "libleap/region_int.h"
#include "libleap/session.h"
#include "libleap/stack.h"
#include "libleap/uffd/anchor.h"
#include "libleap/uffd/uffd.h"
#include "libleap/uffd/pinned.h"
#include "libleap/util/clerk.h"
#include "libleap/util/mem.h"
#include "libleap/util/proc.h"

#define KEPT_MANY 2048 /* slots that are kept for children and not used any more: 8 MiB */

static struct lock_app fork_saved;

static bool must_clone(const struct donor *d)
{
	return donor_alive(d) && !(d->ops->flags & TRANSPORT_FORK_COPIES);
}

/* Takes the roles and lets all requests finish. */
static void quiesce(struct leap *leap)
{
	for (unsigned s = 0; s < leap->nshards; s++)
		lock_acquire(&leap->shards[s].role_lock);
	for (unsigned s = 0; s < leap->nshards; s++)
		lock_acquire(&leap->shards[s].evict_lock);
	for (unsigned s = 0; s < leap->nshards; s++) {
		evict_drain(&leap->shards[s]);
		fetch_drain(&leap->shards[s]);
	}
}

static void release_roles(struct leap *leap)
{
	for (unsigned s = leap->nshards; s-- > 0;)
		lock_release(&leap->shards[s].evict_lock);
	for (unsigned s = leap->nshards; s-- > 0;)
		lock_release(&leap->shards[s].role_lock);
	lock_release(&leap->lock);
	lock_release(&leap->donors.join);
}

static int clone_begun(struct leap *leap)
{
	struct donors *donors = &leap->donors;

	for (uint32_t i = 0; i < donors->count; i++) {
		struct donor *d = &donors->donor[i];
		int err;

		if (!must_clone(d))
			continue;
		err = d->ops->clone_prepare(d->port, &d->ticket);
		if (err)
			return err;
		slabs_share(&leap->slabs, d);
	}
	return 0;
}

static int clone_all(struct leap *leap)
{
	int err;

	donors_begin(leap);
	if (slabs_kept(&leap->slabs) > KEPT_MANY)
		donors_thaw(leap, false); /* of children that have ended since the last look */
	err = clone_begun(leap);
	donors_end(leap);
	return err;
}

static void clone_release_all(struct leap *leap)
{
	struct donors *donors = &leap->donors;

	for (uint32_t i = 0; i < donors->count; i++)
		if (must_clone(&donors->donor[i]))
			donors->donor[i].ops->clone_release(donors->donor[i].port);
}

static void inherit_all(struct leap *leap, bool on)
{
	for (uint32_t i = 0; i < leap->nregions; i++)
		region_inherit(leap->regions[i], on);
}

int runtime_fork_prepare(struct leap *leap)
{
	struct lock_app saved;
	int err;

	if (leap->config.fork == FORK_DENY)
		return error_set(ENOTSUP, "fork is not allowed here (option fork=deny)");
	lock_app_enter(&saved);
	runtime_enter();
	anchor_hold(); /* the child inherits this thread's affinity */
	lock_acquire(&leap->donors.join);
	lock_acquire(&leap->lock);
	quiesce(leap);
	shards_lock_all(leap);
	lock_acquire(&leap->donors.lock);
	err = clone_all(leap);
	if (err) {
		log_error("fork refused: %s", error_last());
		clone_release_all(leap);
		lock_release(&leap->donors.lock);
		shards_unlock_all(leap);
		release_roles(leap);
		anchor_unhold();
		runtime_leave();
		lock_app_leave(&saved);
		return -ENOTSUP;
	}
	inherit_all(leap, true);
	lock_acquire(&leap->slabs.lock);
	mem_fork_lock();
	fork_saved = saved;
	return 0;
}

static void release_all(struct leap *leap)
{
	lock_release(&leap->slabs.lock);
	lock_release(&leap->donors.lock);
	shards_unlock_all(leap);
	release_roles(leap);
}

void runtime_fork_parent(struct leap *leap)
{
	struct lock_app saved = fork_saved;

	leap->forked = true;
	mem_fork_unlock();
	inherit_all(leap, false);
	clone_release_all(leap);
	release_all(leap);
	anchor_unhold();
	runtime_leave();
	lock_app_leave(&saved);
}

static int reopen_shard(struct shard *shard)
{
	bool was_user_only = shard->leap->user_only;
	int err;

	fd_close(shard->uffd);
	fd_close(shard->wake_fd);
	shard->thread_runs = false;
	shard->wake_fd = (int)sys_ret(syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (shard->wake_fd < 0)
		return shard->wake_fd;
	shard->wake_fd = fd_own(shard->wake_fd);
	err = shard_reopen_uffd(shard);
	if (!err && shard->leap->user_only && !was_user_only)
		err = error_set(
			EPERM, "this process may not serve system calls any more, since it gave up "
			       "its rights: let it have /dev/userfaultfd, or 'sysctl "
			       "vm.unprivileged_userfaultfd=1'");
	return err;
}

static int readopt_donors(struct leap *leap)
{
	struct donors *donors = &leap->donors;

	for (uint32_t i = 0; i < donors->count; i++) {
		struct donor *d = &donors->donor[i];
		int err;

		if (!must_clone(d))
			continue;
		for (unsigned s = 0; s < leap->nshards; s++)
			leap->shards[s].demand[i] = leap->shards[s].prefetch[i] =
				leap->shards[s].write[i] = NULL;
		slabs_set_frozen(&leap->slabs, d, true);
		err = d->ops->clone_adopt(d->port, &d->ticket);
		for (unsigned s = 0; s < leap->nshards && !err; s++)
			err = shard_open_lanes(&leap->shards[s], i);
		if (err)
			return err;
	}
	return 0;
}

static int rearm(struct leap *leap)
{
	for (uint32_t i = 0; i < leap->nregions; i++) {
		struct leap_region *r = leap->regions[i];

		for (size_t s = 0; s < r->nstripes; s++) {
			size_t first = s * REGION_STRIPE_PAGES;
			int err;

			if (!r->armed[s])
				continue;
			err = region_register(r, first, region_stripe_end(r, first));
			if (err)
				return err;
		}
	}
	return 0;
}

static int remake(struct leap *leap)
{
	int err = session_start_clerk();

	if (err)
		return err;
	leap->evictor_runs = leap->keeper_runs = false;
	fd_close(leap->keeper_fd);
	leap->keeper_fd = (int)sys_ret(syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (leap->keeper_fd < 0)
		return leap->keeper_fd;
	leap->keeper_fd = fd_own(leap->keeper_fd);
	control_forget(leap);
	recorder_forked(leap);
	for (unsigned s = 0; s < leap->nshards; s++) {
		err = reopen_shard(&leap->shards[s]);
		if (err)
			return err;
	}
	err = rearm(leap);
	if (err)
		return err;
	lock_release(
		&leap->slabs.lock); /* a donor that fails to be adopted is marked in the table */
	leap->donors.open_end_ns = run_clock_ns() + leap->config.deadline_ns;
	err = readopt_donors(leap);
	leap->donors.open_end_ns = 0;
	lock_acquire(&leap->slabs.lock);
	return err;
}

int runtime_fork_child(struct leap *leap)
{
	struct lock_app saved = fork_saved;
	int err;

	mem_fork_child();
	stack_fork_child();
	threads_forked();
	anchor_forked();
	stats_scratch_reset();
	proc_forked();
	pinned_forked();
	clerk_forked();
	log_writer_forked();
	leap->forked = true;
	leap->start_ns = clock_ns();
	changes_forked(leap);
	err = remake(leap);
	if (!err) {
		inherit_all(leap, false);
		release_all(leap);
		err = session_start_threads(leap);
		if (!err && leap->config.publish)
			control_open(leap);
	}
	if (err) {
		log_error("fork failed, since its child cannot be served: %s", error_last());
		return err;
	}
	runtime_leave();
	lock_app_leave(&saved);
	return 0;
}
