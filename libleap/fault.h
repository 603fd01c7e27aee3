/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - what a fault means: from a message of the kernel to a page and, behind it, a window.
 *
 * Order within a batch: every waiting page first (demand reads posted before anything else), then the windows
 * that the prefetcher wants, then room for the next batch. Fault role; no lock held by the caller.
 */
#ifndef LEAP_FAULT_H
#define LEAP_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/uffd/compat.h"

struct leap_region;
struct shard;

#define FAULT_BATCH 64

struct fault {
	char *addr;
	bool wp; /* a write to a write-protected page */
	bool write;
	uint32_t thread;
};

/* Decodes what the kernel sent; false for messages that are not page faults. */
bool fault_decode(const struct uffd_msg *msg, struct fault *ret_fault);
void fault_handle(struct shard *shard, const struct fault *faults, unsigned n);
/* Serves the next part of the hints that other threads left (leap_prefetch, WILLNEED): 0 when there is none. */
int fault_hints(struct shard *shard);
/* Leaves a hint; a count of 0 asks to serve the page as if it had been touched. False when the list is full. Any thread, shard lock held. */
bool fault_hint(struct shard *shard, struct leap_region *region, size_t page, size_t count);

#endif
