/* SPDX-License-Identifier: Apache-2.0 */
#include "donor/metrics.h"

#include "donor/report.h"
#include "donor/store.h"

struct metrics metrics;

static unsigned long long get(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_log(struct store *store)
{
	struct store_figures f;

	store_figures(store, &f);
	report_info(
		"figures: clients %llu (ever %llu, refused %llu, broken %llu), connections "
		"%llu, slabs "
		"%llu of %llu, memory in use %lluM, grants %llu (refused %llu), releases %llu, "
		"clones "
		"%llu, reads %llu, writes %llu, bytes in %llu, bytes out %llu, reclaims %llu, slabs kept by "
		"clients that left %llu",
		get(&metrics.clients), get(&metrics.clients_total), get(&metrics.clients_refused),
		get(&metrics.clients_broken), get(&metrics.connections),
		(unsigned long long)f.slabs, (unsigned long long)f.slabs_max,
		(unsigned long long)(f.used_bytes >> 20), get(&metrics.grants),
		get(&metrics.grants_refused), get(&metrics.releases), get(&metrics.clones),
		get(&metrics.reads), get(&metrics.writes), get(&metrics.bytes_in),
		get(&metrics.bytes_out), get(&metrics.reclaims), (unsigned long long)f.kept);
}
