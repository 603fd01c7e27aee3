/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calibrate.c - what the front end `auto` stands for: a few faults are served by a spinning thread on another CPU
 * and by a sleeping one, and the faster median wins. With one or two CPUs there is nothing to measure: a
 * spinning thread would take the program's own CPU time.
 */
#include <poll.h>
#include <sched.h>

#include "libleap/session.h"
#include "libleap/uffd/handler.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/mem.h"

#define FAULTS 48

struct trial {
	int uffd;
	bool busy;
	bool stop; /* atomic */
	char *area;
};

static void *serve(void *arg)
{
	static const char zero[LEAP_PAGE_BYTES] __attribute__((aligned(4096)));
	struct trial *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		struct pollfd p = {.fd = t->uffd, .events = POLLIN};
		struct uffd_msg msg;

		if (!t->busy)
			syscall(SYS_poll, &p, 1, 20);
		if (uffd_read(t->uffd, &msg, 1) == 1)
			uffd_copy(t->uffd,
				  (void *)(uintptr_t)(msg.arg.pagefault.address & ~LEAP_PAGE_MASK),
				  zero, LEAP_PAGE_BYTES, true, NULL);
	}
	return NULL;
}

/* Median ns of a fault, or 0 when it cannot be measured. */
static uint64_t median(struct trial *t, unsigned first)
{
	uint64_t ns[FAULTS];
	struct thread thread = { 0 };

	t->stop = false;
	if (thread_start(&thread, serve, t, "leap-calibrate"))
		return 0;
	for (unsigned i = 0; i < FAULTS; i++) {
		uint64_t start = clock_ns();

		(void)*(volatile char *)(t->area + ((size_t)(first + i) << LEAP_PAGE_SHIFT));
		ns[i] = clock_ns() - start;
		for (unsigned k = i; k > 0 && ns[k] < ns[k - 1]; k--) {
			uint64_t swap = ns[k];

			ns[k] = ns[k - 1];
			ns[k - 1] = swap;
		}
	}
	__atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
	thread_join(&thread);
	return ns[FAULTS / 2];
}

enum config_frontend handler_calibrate(void)
{
	struct trial t = {.uffd = -1};
	size_t len = 2 * FAULTS << LEAP_PAGE_SHIFT;
	uint64_t busy = 0, block = 0;
	bool user_only;

	if (sysconf(_SC_NPROCESSORS_ONLN) <= 2)
		return FRONTEND_BLOCK; /* a spinning thread would take half the machine */
	if (uffd_open(0, true, &t.uffd, &user_only))
		return FRONTEND_BLOCK;
	t.area = mem_map_sparse(len);
	if (t.area && !uffd_register(t.uffd, t.area, len, false)) {
		block = median(&t, 0);
		t.busy = true;
		busy = median(&t, FAULTS);
	}
	sys_close(t.uffd);
	mem_unmap(t.area, len);
	return busy && busy < block ? FRONTEND_BUSY : FRONTEND_BLOCK;
}
