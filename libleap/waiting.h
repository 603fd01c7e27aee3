/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiting.h - how long faults wait: from their message to the page.
 *
 * A fault that is served at once is measured where it is served. One that waits for a donor stands in a short list
 * until its page is there; when the list is full, it is not measured. Under the shard's lock.
 */
#ifndef LEAP_WAITING_H
#define LEAP_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAITING_MAX 64

struct leap_region;
struct shard;

struct waiting {
	struct waiting_fault {
		const struct leap_region *region;
		size_t index;
		uint64_t since_ns;
	} fault[WAITING_MAX];
	unsigned count;
};

/* The page is there since now; remote: it had to come from a donor. */
void waiting_served(struct shard *shard, uint64_t since_ns, bool remote);
/* The fault waits for this page. */
void waiting_add(struct shard *shard, const struct leap_region *region, size_t index,
		 uint64_t since_ns);
/* The page has come, or is lost. */
void waiting_end(struct shard *shard, const struct leap_region *region, size_t index);

#endif
