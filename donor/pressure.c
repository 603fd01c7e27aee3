/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "donor/pressure.h"

#include <stdio.h>
#include <string.h>

#include "donor/report.h"
#include "donor/serve.h"
#include "libleap/util/cgroup.h"
#include "libleap/util/sys.h"

#define ASK_AGAIN_NS 5000000000ull

static uint64_t meminfo_available(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	fclose(f);
	return kib << 10;
}

uint64_t pressure_available(void)
{
	uint64_t machine = meminfo_available();
	struct cgroup_memory group;

	cgroup_memory("", &group);
	return machine < group.available ? machine : group.available;
}

void pressure_check(struct pressure *pressure, struct donor *donor)
{
	uint64_t reserve = pressure->reserve_bytes, available, now, missing;
	bool was = atomic_load(&donor->store.pressed), is;

	if (!reserve) {
		atomic_store(&donor->store.pressed, false);
		return;
	}
	available = pressure_available();
	/* It ends with an eighth to spare, so that it does not flap. */
	is = available < (was ? reserve + reserve / 8 : reserve);
	atomic_store(&donor->store.pressed, is);
	if (is != was)
		report_info(
			is ? "short of memory (%lluM available, %lluM to be kept): granting nothing"
			   : "enough memory again (%lluM available, %lluM to be kept)",
			(unsigned long long)(available >> 20), (unsigned long long)(reserve >> 20));
	now = clock_ns();
	if (!is || available >= reserve || now - pressure->asked_ns < ASK_AGAIN_NS)
		return;
	pressure->asked_ns = now;
	missing = (reserve - available + PROTO_SLAB_BYTES - 1) / PROTO_SLAB_BYTES;
	sessions_ask_reclaim(&donor->sessions, (unsigned)missing);
	workers_notify(donor);
}
