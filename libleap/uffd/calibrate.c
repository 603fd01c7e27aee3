/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calibrate.c - what the front end `auto` stands for: a few faults are served by a spinning thread on another CPU
 * and by a sleeping one that follows the faulting thread (as the front end block does), and the faster median
 * wins. With one or two CPUs there is nothing to choose: a spinning thread would take the program's own CPU time.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>

#include "libleap/error.h"
#include "libleap/session.h"
#include "libleap/uffd/follow.h"
#include "libleap/uffd/handler.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/mem.h"

#define FAULTS 64
#define WARM   24 /* not counted: until the sleeping thread has followed, and caches are warm */

struct trial {
	int uffd;
	bool busy, anchors;
	bool stop; /* atomic */
	char *area;
	int cpu; /* of the faulting thread */
};

/* Off the CPU of the faulting thread, where the front end busy would be no use. */
static void keep_off(const struct follow *follow, int cpu)
{
	cpu_set_t others = follow->allowed;

	if (cpu < 0 || !CPU_ISSET(cpu, &others) || CPU_COUNT(&others) < 2)
		return;
	CPU_CLR(cpu, &others);
	syscall(SYS_sched_setaffinity, 0, sizeof(others), &others);
}

static void *serve(void *arg)
{
	static const char zero[LEAP_PAGE_BYTES] __attribute__((aligned(4096)));
	struct trial *t = arg;
	struct follow follow;

	follow_init(&follow, t->anchors);
	if (t->busy)
		keep_off(&follow, t->cpu);
	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		struct pollfd p = {.fd = t->uffd, .events = POLLIN};
		struct uffd_msg msg;

		if (!t->busy)
			syscall(SYS_poll, &p, 1, 20);
		if (uffd_read(t->uffd, &msg, 1) != 1)
			continue;
		uffd_copy(t->uffd, (void *)(uintptr_t)(msg.arg.pagefault.address & ~LEAP_PAGE_MASK),
			  zero, LEAP_PAGE_BYTES, true, NULL);
		if (!t->busy)
			follow_fault(&follow, msg.arg.pagefault.feat.ptid, 1);
	}
	follow_idle(&follow);
	return NULL;
}

/* Median ns of a fault, or 0 when it cannot be measured. */
static uint64_t median(struct trial *t, unsigned first)
{
	uint64_t ns[FAULTS - WARM];
	struct thread thread = {0};

	t->stop = false;
	t->cpu = sched_getcpu();
	if (thread_start(&thread, serve, t, "leap-calibrate"))
		return 0;
	for (unsigned i = 0; i < FAULTS; i++) {
		uint64_t start = clock_ns();
		unsigned k = i - WARM;

		(void)*(volatile char *)(t->area + ((size_t)(first + i) << LEAP_PAGE_SHIFT));
		if (i < WARM)
			continue;
		ns[k] = clock_ns() - start;
		for (; k > 0 && ns[k] < ns[k - 1]; k--) {
			uint64_t swap = ns[k];

			ns[k] = ns[k - 1];
			ns[k - 1] = swap;
		}
	}
	__atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
	thread_join(&thread);
	return ns[(FAULTS - WARM) / 2];
}

int handler_measure(bool anchors, struct fault_costs *ret_costs)
{
	struct trial t = {.uffd = -1, .anchors = anchors};
	size_t len = 2 * FAULTS << LEAP_PAGE_SHIFT;
	struct fault_costs costs = {0};
	bool user_only;
	int err;

	err = uffd_open(UFFD_FEATURE_THREAD_ID, true, &t.uffd, &user_only);
	if (err)
		return err;
	t.area = mem_map_sparse(len);
	err = t.area ? uffd_register(t.uffd, t.area, len, false) : -ENOMEM;
	if (!err) {
		costs.block_ns = median(&t, 0);
		t.busy = true;
		costs.busy_ns = median(&t, FAULTS);
	}
	sys_close(t.uffd);
	mem_unmap(t.area, len);
	if (err)
		return error_set(-err, "cannot measure what faults cost (error %d)", -err);
	*ret_costs = costs;
	return 0;
}

enum config_frontend handler_calibrate(bool anchors)
{
	struct fault_costs costs = {0};

	if (sysconf(_SC_NPROCESSORS_ONLN) <= 2)
		return FRONTEND_BLOCK; /* a spinning thread would take half the machine */
	if (handler_measure(anchors, &costs))
		return FRONTEND_BLOCK;
	return costs.busy_ns && costs.busy_ns < costs.block_ns ? FRONTEND_BUSY : FRONTEND_BLOCK;
}
