/* SPDX-License-Identifier: Apache-2.0 */
/* follow.c - see follow.h. */
#include <string.h>
#include <time.h>

#include "libleap/uffd/anchor.h"
#include "libleap/uffd/follow.h"
#include "libleap/util/clerk.h"
#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

#define FIRST_PERIOD 16
#define PERIOD       64 /* faults */
#define JOIN_NS      60000
#define PART_NS      120000
#define IDLE_MS      2

void follow_init(struct follow *follow, bool anchors)
{
	memset(follow, 0, sizeof(*follow));
	follow->anchors = anchors;
	syscall(SYS_sched_getaffinity, 0, sizeof(follow->allowed), &follow->allowed);
}

/* The clock of the CPU time that a thread of this process has used, as the scheduler counts. */
static int clock_of(uint32_t thread)
{
	return (int)(~thread << 3) | 6;
}

/* 0 when the thread is gone. */
static uint64_t cpu_time(int clock)
{
	struct timespec t = {0};

	syscall(SYS_clock_gettime, clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Field 39 of /proc/self/task/TID/stat: the CPU the thread last ran on; -1 when it is gone. */
static int cpu_of(uint32_t thread)
{
	char path[64], text[1024], *p;
	long n;
	int field = 2, cpu = 0;

	fmt_print(path, sizeof(path), "/proc/self/task/%u/stat", thread);
	n = clerk_read(path, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = 0;
	p = strrchr(text, ')'); /* the name may hold anything */
	if (!p)
		return -1;
	for (p++; *p && field < 39; p++)
		if (*p == ' ')
			field++;
	if (field != 39)
		return -1;
	for (; *p >= '0' && *p <= '9'; p++)
		cpu = cpu * 10 + (*p - '0');
	return cpu;
}

static void begin_period(struct follow *follow, unsigned period)
{
	follow->faults = 0;
	follow->period = period;
	follow->thread_ns = cpu_time(clock_of(follow->thread));
	follow->own_ns = cpu_time(CLOCK_THREAD_CPUTIME_ID);
}

/* The smaller one of what the two do for a fault: what they could do at the same time. */
static uint64_t overlap(const struct follow *follow)
{
	uint64_t thread = cpu_time(clock_of(follow->thread)) - follow->thread_ns;
	uint64_t own = cpu_time(CLOCK_THREAD_CPUTIME_ID) - follow->own_ns;

	return (thread < own ? thread : own) / follow->faults;
}

static void join(struct follow *follow)
{
	cpu_set_t one;
	int cpu;

	if (follow->together && anchor_holds(follow->thread))
		return;
	cpu = cpu_of(follow->thread);
	if (cpu < 0 || !CPU_ISSET(cpu, &follow->allowed))
		return;
	if (follow->anchors)
		cpu = anchor_set(follow->thread, cpu);
	if (cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	syscall(SYS_sched_setaffinity, 0, sizeof(one), &one);
	follow->together = true;
}

static void part(struct follow *follow)
{
	if (!follow->together)
		return;
	if (follow->anchors)
		anchor_clear(follow->thread);
	syscall(SYS_sched_setaffinity, 0, sizeof(follow->allowed), &follow->allowed);
	follow->together = false;
}

void follow_fault(struct follow *follow, uint32_t thread, unsigned n)
{
	uint64_t both;

	if (thread != follow->thread) {
		part(follow);
		follow->thread = thread;
		follow->period =
			0; /* begins when it faults again: threads that take turns cost nothing */
		return;
	}
	if (!follow->period) {
		begin_period(follow, FIRST_PERIOD);
		return;
	}
	follow->faults += n;
	if (follow->faults < follow->period)
		return;
	both = overlap(follow);
	if (both < JOIN_NS)
		join(follow); /* again, if somebody let it go */
	else if (both > PART_NS)
		part(follow);
	begin_period(follow, PERIOD);
}

int follow_timeout(const struct follow *follow)
{
	return follow->together ? IDLE_MS : -1;
}

void follow_idle(struct follow *follow)
{
	part(follow);
	if (follow->thread)
		begin_period(follow, FIRST_PERIOD);
}
