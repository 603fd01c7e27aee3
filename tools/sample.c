/* SPDX-License-Identifier: Apache-2.0 */
/* sample.c - see sample.h: taking samples, rates. */
#include "tools/sample.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "libleap/util/sys.h"

static uint64_t rss_anon(long pid)
{
	char path[40], line[256];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return (uint64_t)kib << 10;
}

int sample_take(long pid, struct sample *ret_sample)
{
	struct timespec t;
	int err = stats_page_read(pid, &ret_sample->page);

	if (err)
		return err;
	clock_gettime(CLOCK_REALTIME, &t);
	ret_sample->pid = pid;
	ret_sample->at_ns = clock_ns();
	ret_sample->unix_time = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	ret_sample->rss_anon_bytes = rss_anon(pid);
	return 0;
}

/* A part of a whole; NAN of nothing. Hits are credited late, so a share may seem above 1. */
static double share(uint64_t part, uint64_t whole)
{
	return whole ? fmin((double)part / (double)whole, 1) : NAN;
}

void sample_rates(const struct sample *before, const struct sample *now, struct rates *ret_rates)
{
	static const struct leap_stats nothing;
	const struct leap_stats *a = before ? &before->page.stats : &nothing, *b = &now->page.stats;
	uint64_t since = before ? before->at_ns : now->page.start_ns;
	double s = now->at_ns > since ? (double)(now->at_ns - since) / 1e9 : NAN;
	uint64_t hits = b->prefetch_hits - a->prefetch_hits;

	ret_rates->seconds = s;
	ret_rates->faults = (double)(b->faults - a->faults) / s;
	ret_rates->faults_remote = (double)(b->faults_remote - a->faults_remote) / s;
	ret_rates->evicted = (double)(b->evicted - a->evicted) / s;
	ret_rates->prefetched = (double)(b->prefetched - a->prefetched) / s;
	ret_rates->read_bytes = (double)((b->read - a->read) << LEAP_PAGE_SHIFT) / s;
	ret_rates->written_bytes = (double)((b->written - a->written) << LEAP_PAGE_SHIFT) / s;
	ret_rates->hit_rate = share(hits, hits + b->faults_remote - a->faults_remote);
	ret_rates->accuracy = share(hits, b->prefetched - a->prefetched);
}
