/* SPDX-License-Identifier: Apache-2.0 */
/* handler.c - the fault thread of a shard: front ends busy and block. */
#include <errno.h>
#include <poll.h>
#include <sched.h>

#include "libleap/error.h"
#include "libleap/fault.h"
#include "libleap/fetch.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/uffd/follow.h"
#include "libleap/uffd/handler.h"
#include "libleap/uffd/uffd.h"

#define POLL_FDS    (2 + 2 * LEAP_DONORS_MAX)
#define DEADLINE_MS 50
#define LANE_SPINS  200 /* looks at the lanes before sleeping while reads are in flight */

/* One look at everything. Returns true if there was something. */
static bool turn(struct shard *shard, struct follow *follow)
{
	struct uffd_msg msgs[FAULT_BATCH];
	struct fault faults[FAULT_BATCH];
	unsigned n = 0;
	int got, reaped;

	lock_acquire(&shard->role_lock);
	got = uffd_read(shard->uffd, msgs, FAULT_BATCH);
	for (int i = 0; i < got; i++)
		n += fault_decode(&msgs[i], &faults[n]);
	if (n) {
		fault_handle(shard, faults, n);
		if (follow)
			follow_fault(follow, faults[0].thread, n);
	}
	reaped = fetch_reap(shard);
	reaped += fault_hints(shard);
	if (reaped)
		fetch_flush(shard);
	lock_release(&shard->role_lock);
	return n || reaped;
}

static int shorter(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* At most timeout_ms (< 0: for ever). Returns false when nothing came. */
static bool sleep_until_work(struct shard *shard, int timeout_ms)
{
	struct pollfd fds[POLL_FDS];
	const struct donors *donors = &shard->leap->donors;
	uint64_t drained;
	nfds_t n = 0;

	fds[n++] = (struct pollfd){.fd = shard->uffd, .events = POLLIN};
	fds[n++] = (struct pollfd){.fd = shard->wake_fd, .events = POLLIN};
	lock_acquire(&shard->role_lock); /* lanes end under it */
	for (uint32_t d = 0; shard->fetches_in_flight && d < donors->count; d++) {
		const struct transport_ops *ops = donors->donor[d].ops;

		if (!shard->demand[d] || ops->flags & TRANSPORT_SYNC)
			continue;
		fds[n++] = (struct pollfd){.fd = ops->lane_fd(shard->demand[d]), .events = POLLIN};
		fds[n++] =
			(struct pollfd){.fd = ops->lane_fd(shard->prefetch[d]), .events = POLLIN};
	}
	lock_release(&shard->role_lock);
	if (shard->fetches_in_flight) /* wake up now and then to see deadlines pass */
		timeout_ms = shorter(timeout_ms, DEADLINE_MS);
	if (syscall(SYS_poll, fds, n, timeout_ms) <= 0)
		return false;
	if (fds[1].revents & POLLIN)
		syscall(SYS_read, shard->wake_fd, &drained, sizeof(drained));
	return true;
}

static void run_busy(struct shard *shard)
{
	uint64_t idle_since = clock_ns();

	while (!__atomic_load_n(&shard->stop, __ATOMIC_ACQUIRE)) {
		if (turn(shard, NULL)) {
			idle_since = clock_ns();
			continue;
		}
		if (clock_ns() - idle_since < shard->leap->config.spin_ns) {
			__builtin_ia32_pause();
			continue;
		}
		sleep_until_work(shard, -1);
		idle_since = clock_ns();
	}
}

static void run_block(struct shard *shard)
{
	struct follow follow;
	int spins = 0;

	follow_init(&follow, shard->leap->config.anchor == ANCHOR_ON);
	while (!__atomic_load_n(&shard->stop, __ATOMIC_ACQUIRE)) {
		if (turn(shard, &follow)) {
			spins = 0;
			continue;
		}
		if (shard->fetches_in_flight && spins++ < LANE_SPINS) {
			if (spins % 8 == 0)
				sched_yield();
			continue;
		}
		spins = 0;
		if (!sleep_until_work(shard, follow_timeout(&follow)))
			follow_idle(&follow);
	}
	follow_idle(&follow);
}

static void *handler_main(void *arg)
{
	struct shard *shard = arg;

	shard->tid = sys_gettid();
	if (shard->leap->frontend == FRONTEND_BUSY)
		run_busy(shard);
	else
		run_block(shard);
	return NULL;
}

int handler_start(struct shard *shard)
{
	int err;

	if (shard->inline_faults)
		return inline_install();
	shard->stop = false;
	err = thread_start(&shard->thread, handler_main, shard, "leap-fault");
	shard->thread_runs = !err;
	return err;
}

void handler_stop(struct shard *shard)
{
	if (!shard->thread_runs)
		return;
	__atomic_store_n(&shard->stop, true, __ATOMIC_RELEASE);
	shard_kick(shard);
	thread_join(&shard->thread);
	shard->thread_runs = false;
}
