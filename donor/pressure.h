/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pressure.h - is this machine short of memory?
 */
#ifndef DONOR_PRESSURE_H
#define DONOR_PRESSURE_H

#include <stdint.h>

struct donor;

struct pressure {
	uint64_t reserve_bytes; /* 0 = do not look */
	uint64_t asked_ns;      /* when clients were last asked to give back */
};

/* What this process could still take: of the machine (MemAvailable) or of its memory cgroup,
 * whichever is less. 0 when it cannot be told. */
uint64_t pressure_available(void);
/* Looks, and stops or resumes granting; asks clients for slabs. Call about once a second. */
void pressure_check(struct pressure *pressure, struct donor *donor);

#endif
