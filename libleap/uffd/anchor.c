/* SPDX-License-Identifier: Apache-2.0 */
/* anchor.c - see anchor.h. */
#include <errno.h>
#include <sched.h>

#include "libleap/lock.h"
#include "libleap/uffd/anchor.h"
#include "libleap/util/sys.h"

static struct {
	struct lock lock;
	uint32_t thread; /* 0: none */
	int cpu;
	unsigned holds;
	cpu_set_t before; /* what the thread was allowed */
} anchor = {.lock = LOCK_INIT(LOCK_RANK_ANCHOR)};

static long affinity(long call, uint32_t thread, cpu_set_t *set)
{
	return sys_ret(syscall(call, thread, sizeof(*set), set));
}

static int set_locked(uint32_t thread, int cpu)
{
	cpu_set_t one, before;

	if (anchor.thread == thread)
		return anchor.cpu;
	if (anchor.holds || anchor.thread)
		return -1;
	CPU_ZERO(&one);
	CPU_ZERO(&before);
	if (affinity(SYS_sched_getaffinity, thread, &before) < 0 || !CPU_ISSET(cpu, &before))
		return -1;
	CPU_SET(cpu, &one);
	if (affinity(SYS_sched_setaffinity, thread, &one) < 0)
		return -1;
	anchor.cpu = cpu;
	anchor.before = before;
	__atomic_store_n(&anchor.thread, thread, __ATOMIC_RELAXED);
	return cpu;
}

static void clear_locked(void)
{
	if (anchor.thread) /* it may have ended */
		affinity(SYS_sched_setaffinity, anchor.thread, &anchor.before);
	__atomic_store_n(&anchor.thread, 0, __ATOMIC_RELAXED);
}

int anchor_set(uint32_t thread, int cpu)
{
	lock_acquire(&anchor.lock);
	cpu = set_locked(thread, cpu);
	lock_release(&anchor.lock);
	return cpu;
}

bool anchor_holds(uint32_t thread)
{
	return __atomic_load_n(&anchor.thread, __ATOMIC_RELAXED) == thread;
}

void anchor_clear(uint32_t thread)
{
	lock_acquire(&anchor.lock);
	if (anchor.thread == thread)
		clear_locked();
	lock_release(&anchor.lock);
}

void anchor_hold(void)
{
	int saved_errno = errno;
	struct lock_app saved;

	lock_app_enter(&saved);
	lock_acquire(&anchor.lock);
	clear_locked();
	anchor.holds++;
	lock_release(&anchor.lock);
	lock_app_leave(&saved);
	errno = saved_errno;
}

void anchor_unhold(void)
{
	int saved_errno = errno;
	struct lock_app saved;

	lock_app_enter(&saved);
	lock_acquire(&anchor.lock);
	if (anchor.holds) /* a forked child has forgotten those of other threads */
		anchor.holds--;
	lock_release(&anchor.lock);
	lock_app_leave(&saved);
	errno = saved_errno;
}

void anchor_forked(void)
{
	lock_init(&anchor.lock, LOCK_RANK_ANCHOR, 0);
	anchor.thread = 0;
	anchor.holds = 0;
}
