/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.c - adding up the shards' figures for leap_stats() and the stats page. */
#include <errno.h>
#include <string.h>

#include "libleap/control.h"
#include "libleap/error.h"
#include "libleap/session.h"
#include "libleap/util/mem.h"

static struct lock scratch_lock = LOCK_INIT(LOCK_RANK_SCRATCH);
static struct hist faults, remote; /* under scratch_lock: too big for small stacks */

void stats_scratch_reset(void)
{
	lock_init(&scratch_lock, LOCK_RANK_SCRATCH, 0);
}

static void fill_latency(struct leap_latency *latency, const struct hist *h)
{
	latency->count = h->count;
	latency->sum_ns = h->sum;
	latency->max_ns = h->max;
	latency->p50_ns = hist_percentile(h, 0.5);
	latency->p90_ns = hist_percentile(h, 0.9);
	latency->p99_ns = hist_percentile(h, 0.99);
	latency->p999_ns = hist_percentile(h, 0.999);
}

static void add_counters(struct leap_stats *st, const struct shard_counters *c)
{
	st->faults += c->faults;
	st->faults_zero += c->faults_zero;
	st->faults_remote += c->faults_remote;
	st->faults_limbo += c->faults_limbo;
	st->faults_staged += c->faults_staged;
	st->faults_wp += c->faults_wp;
	st->faults_spurious += c->faults_spurious;
	st->prefetched += c->prefetched;
	st->prefetch_hits += c->prefetch_hits;
	st->prefetch_unused += c->prefetch_unused;
	st->markers += c->markers;
	st->evicted += c->evicted;
	st->evicted_clean += c->evicted_clean;
	st->evicted_zero += c->evicted_zero;
	st->written += c->written;
	st->read += c->read;
	st->io_errors += c->io_errors;
	st->over_limit += c->over_limit;
}

/* Gauges are read without locks: each is exact, their sum may be off by what moves meanwhile. */
static void add_shard(struct leap_stats *st, const struct shard *shard)
{
	st->local_pages += shard->local;
	st->limbo_pages += shard->limbo.pages;
	st->staged_pages += shard->staged;
	st->remote_pages += shard->remote;
	st->lost_pages += shard->lost;
	st->untouched_pages += shard->untouched;
	add_counters(st, &shard->count);
	if (shard->trend)
		st->trend = shard->trend;
	if (shard->window)
		st->window = shard->window;
}

void stats_snapshot(struct leap *leap, struct leap_stats *st)
{
	memset(st, 0, sizeof(*st));
	st->size = sizeof(*st);
	st->limit_bytes = leap->config.remote ? (uint64_t)limit_bytes(leap) : 0;
	st->held_pages = (uint64_t)__atomic_load_n(leap->armed ? &leap->held : &leap->committed,
						   __ATOMIC_RELAXED);
	st->overhead_bytes = overhead_bytes(leap);
	st->regions = leap->nregions;
	st->slabs = leap->slabs.live;
	st->donors = donors_known(&leap->donors);
	for (uint32_t d = 0; d < leap->donors.count; d++)
		st->donors_alive += donor_alive(&leap->donors.donor[d]);
	lock_acquire(&scratch_lock);
	memset(&faults, 0, sizeof(faults));
	memset(&remote, 0, sizeof(remote));
	for (unsigned s = 0; s < leap->nshards; s++) {
		add_shard(st, &leap->shards[s]);
		hist_merge(&faults, &leap->shards[s].fault_hist);
		hist_merge(&remote, &leap->shards[s].remote_hist);
	}
	if (!leap->armed)
		st->local_pages = st->held_pages;
	fill_latency(&st->fault_latency, &faults);
	fill_latency(&st->remote_latency, &remote);
	lock_release(&scratch_lock);
}

int leap_stats(struct leap *leap, struct leap_stats *ret_stats)
{
	struct leap_stats st;
	size_t size = ret_stats->size;

	if (size < sizeof(size) || size > 65536)
		return error_set(EINVAL, "leap_stats: set size to sizeof(struct leap_stats) first");
	runtime_enter();
	stats_snapshot(leap, &st);
	runtime_leave();
	memset(ret_stats, 0, size);
	memcpy(ret_stats, &st, size < sizeof(st) ? size : sizeof(st));
	ret_stats->size = size;
	return 0;
}
