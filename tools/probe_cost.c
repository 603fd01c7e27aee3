/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe_cost.c - see probe.h: what a fault costs, by front end.
 *
 * block and busy are measured by the library (that is what `auto` goes by); inline here, since a
 * library should not take a program's SIGBUS for a measurement. In all three the page is filled
 * with one UFFDIO_COPY.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/uffd/handler.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/hist.h"
#include "libleap/util/sys.h"
#include "tools/probe.h"

#define FAULTS 512

static struct {
	int uffd;
	char *area;
	size_t len;
} trial;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	static const char zero[LEAP_PAGE_BYTES] __attribute__((aligned(4096)));
	char *addr = (char *)((uintptr_t)info->si_addr & ~LEAP_PAGE_MASK);

	if (addr < trial.area || addr >= trial.area + trial.len ||
	    uffd_copy(trial.uffd, addr, zero, LEAP_PAGE_BYTES, false, NULL))
		signal(SIGBUS, SIG_DFL);
}

/* Median ns of a fault that the thread itself serves. */
static uint64_t touch_all(void)
{
	static struct hist h;

	for (size_t i = 0; i < FAULTS; i++) {
		uint64_t start = clock_ns();

		(void)*(volatile char *)(trial.area + (i << LEAP_PAGE_SHIFT));
		hist_add(&h, clock_ns() - start);
	}
	return hist_percentile(&h, 0.5);
}

static uint64_t measure_inline(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO}, before;
	uint64_t ns = 0;
	bool user_only;

	if (uffd_open(UFFD_FEATURE_SIGBUS, true, &trial.uffd, &user_only))
		return 0;
	trial.len = FAULTS << LEAP_PAGE_SHIFT;
	trial.area =
		mmap(NULL, trial.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (trial.area != MAP_FAILED) {
		madvise(trial.area, trial.len, MADV_NOHUGEPAGE);
		sigaction(SIGBUS, &action, &before);
		if (!uffd_register(trial.uffd, trial.area, trial.len, false))
			ns = touch_all();
		sigaction(SIGBUS, &before, NULL);
		munmap(trial.area, trial.len);
	}
	close(trial.uffd);
	return ns;
}

void probe_costs(struct probe_costs *ret_costs)
{
	static struct config config;
	struct fault_costs costs = {0};
	struct mover_choice choice;

	*ret_costs = (struct probe_costs){.frontend = "none", .mover = "none"};
	config_defaults(&config);
	if (handler_measure(true, &costs) || mover_choose(&config, &choice)) {
		snprintf(ret_costs->why, sizeof(ret_costs->why), "%s", error_last());
		return;
	}
	ret_costs->block_ns = costs.block_ns;
	ret_costs->busy_ns = costs.busy_ns;
	ret_costs->inline_ns = measure_inline();
	ret_costs->frontend = handler_calibrate(true) == FRONTEND_BUSY ? "busy" : "block";
	ret_costs->mover = choice.can_move ? "move" : "wp";
	snprintf(ret_costs->why, sizeof(ret_costs->why),
		 sysconf(_SC_NPROCESSORS_ONLN) <= 2
			 ? "a spinning thread would take half of this machine's CPUs"
			 : "the lower cost of block and busy");
}
