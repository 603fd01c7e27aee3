/* SPDX-License-Identifier: Apache-2.0 */
/* waiting.c - see waiting.h. */
#include "libleap/waiting.h"
#include "libleap/shard.h"
#include "libleap/util/sys.h"

void waiting_served(struct shard *shard, uint64_t since_ns, bool remote)
{
	uint64_t ns = clock_ns() - since_ns;

	hist_add(&shard->fault_hist, ns);
	if (remote)
		hist_add(&shard->remote_hist, ns);
}

void waiting_add(struct shard *shard, const struct leap_region *region, size_t index,
		 uint64_t since_ns)
{
	struct waiting *w = &shard->waiting;

	if (w->count < WAITING_MAX)
		w->fault[w->count++] = (struct waiting_fault){region, index, since_ns};
}

void waiting_end(struct shard *shard, const struct leap_region *region, size_t index)
{
	struct waiting *w = &shard->waiting;

	for (unsigned i = w->count; i-- > 0;) {
		if (w->fault[i].region != region || w->fault[i].index != index)
			continue;
		waiting_served(shard, w->fault[i].since_ns, true);
		w->fault[i] = w->fault[--w->count];
	}
}
