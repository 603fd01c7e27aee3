/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - what the memory cgroups of this process allow, version 1 or 2. A group's limit holds for all below it, so the smallest
 * along the path counts. In a container the path may be one of the machine's that is not to be seen: then the groups that are,
 * up to the root of the mount, are asked.
 */
#ifndef LEAP_UTIL_CGROUP_H
#define LEAP_UTIL_CGROUP_H

#include <stdint.h>

struct cgroup_memory {
	uint64_t limit;     /* UINT64_MAX: none */
	uint64_t available; /* the least that is left in a group on the path; UINT64_MAX likewise */
	char group[256];    /* the one whose limit it is */
};

/* How much of it managed memory may take: an eighth is for the rest of the program. */
static inline uint64_t cgroup_managed(const struct cgroup_memory *memory)
{
	return memory->limit == UINT64_MAX ? UINT64_MAX : memory->limit - memory->limit / 8;
}

/* root stands in front of /proc and /sys, "" but for tests. No malloc. */
void cgroup_memory(const char *root, struct cgroup_memory *ret_memory);

#endif
