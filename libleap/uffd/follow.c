/* SPDX-License-Identifier: Apache-2.0 */
/* follow.c - see follow.h. */
#include <fcntl.h>
#include <string.h>

#include "libleap/uffd/follow.h"
#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

#define FIRST_CHECK 16
#define NEXT_CHECK  256

void follow_init(struct follow *follow)
{
	memset(follow, 0, sizeof(*follow));
	follow->cpu = -1;
	CPU_ZERO(&follow->allowed);
	syscall(SYS_sched_getaffinity, 0, sizeof(follow->allowed), &follow->allowed);
}

static void run_on(struct follow *follow, int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	if (cpu >= 0)
		CPU_SET(cpu, &one);
	if (cpu >= 0 && !CPU_ISSET(cpu, &follow->allowed))
		return;
	syscall(SYS_sched_setaffinity, 0, sizeof(one), cpu < 0 ? &follow->allowed : &one);
	follow->cpu = cpu;
}

/* Field 39 of /proc/self/task/TID/stat: the CPU the thread last ran on; -1 when it is gone. */
static int cpu_of(uint32_t thread)
{
	char path[64], text[1024], *p;
	long fd, n;
	int field = 2, cpu = 0;

	fmt_print(path, sizeof(path), "/proc/self/task/%u/stat", thread);
	fd = sys_ret(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
	if (fd < 0)
		return -1;
	n = sys_ret(syscall(SYS_read, (int)fd, text, sizeof(text) - 1));
	sys_close((int)fd);
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

void follow_fault(struct follow *follow, uint32_t thread, unsigned n)
{
	int cpu;

	if (thread != follow->thread) {
		follow->thread = thread;
		follow->streak = 0;
		follow->check = FIRST_CHECK;
		if (follow->cpu >= 0)
			run_on(follow, -1);
		return;
	}
	follow->streak += n;
	if (follow->streak < follow->check)
		return;
	follow->check = follow->streak + NEXT_CHECK;
	cpu = cpu_of(thread);
	if (cpu >= 0 && cpu != follow->cpu)
		run_on(follow, cpu);
}
