/* SPDX-License-Identifier: Apache-2.0 */
/* evict_int.h - between evict.c, which takes pages out, and evict_write.c, which has them stored. */
#ifndef LEAP_EVICT_INT_H
#define LEAP_EVICT_INT_H

#include "libleap/evict.h"

/* Page i, in the limbo slot, goes back into the program: its content could not be stored. Lock held. */
void evict_undo(struct shard *shard, struct extent *e, uint32_t slot, unsigned i);
/* Slots for those of the dirty pages that have none; pages that get none go home. Returns what is to be written.
 * Lock held. */
uint64_t evict_find_slots(struct shard *shard, struct extent *e, uint32_t slot, uint64_t dirty);
/* Writes the pages of the limbo slot to their slots. Evict role, lock not held. */
void evict_write(struct shard *shard, struct extent *e, uint32_t slot, uint64_t dirty);

#endif
