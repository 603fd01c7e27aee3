/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fill.h - putting bytes behind addresses: verification, installation, and the read of donors that
 * answer at once. Shard lock held, fault role.
 */
#ifndef LEAP_FILL_H
#define LEAP_FILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/fetch.h"

struct page;
struct slot_place;

/* Are these the bytes that were stored? */
bool fill_verify(const struct page *page, const void *bytes);
/* Maps one page with these bytes: LOCAL. The kernel may have dropped the mapping: then the page stays what it
 * was (REMOTE). wake: also wakes whoever waits. */
void fill_install(struct shard *shard, struct leap_region *region, size_t index, const void *bytes,
		  bool wake);
/* The kernel did not map a page (err): fault_handle() gives it memory before the thread tries again. */
void fill_not_mapped(struct shard *shard, const char *addr, int err);
/* n neighbours of one extent at once, without waking. False if the kernel did not take them all (nothing changed then). */
bool fill_install_run(struct shard *shard, struct leap_region *region, size_t index, unsigned n,
		      const void *bytes);
/* Reads and maps the page from a donor that answers at once. */
void fill_demand(struct shard *shard, struct leap_region *region, size_t index,
		 const struct slot_place *place);
/* The same for a run of n pages from page i of the extent, with neighbouring slots; returns how many. */
unsigned fill_run(struct shard *shard, struct extent *e, unsigned i, unsigned n,
		  const struct slot_place *place, enum fetch_how how);
/* First touch: maps n zero pages (ABSENT, neighbours in one extent), wakes the first. */
void fill_zero(struct shard *shard, struct leap_region *region, size_t index, unsigned n);
/* Whole-extent prefetch from such a donor by recycled frames: pages brought, 0 when it cannot be done that way. */
unsigned fill_recycled(struct shard *shard, struct extent *e, uint64_t mask);

#endif
