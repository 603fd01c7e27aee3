/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_access.c - see bench.h: the part that is measured.
 *
 * An access is one word of one page. Its latency is the time between two readings of the clock
 * around it, less what two readings cost by themselves. All else (choosing the page, checking what
 * was read, counting) happens outside.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/util/sys.h"
#include "tools/bench.h"

const char *const bench_op_names[OPS] = {"read", "write"};

struct worker {
	struct bench *bench; /* NULL but for the first: it alone draws the progress */
	struct bench_row *row;
	struct cursor cursor;
	uint64_t accesses, wrong;
	uint32_t clock_ns;
	char *base;
	uint8_t *tags, tag;
	struct hist latency;
	pthread_barrier_t *barrier;
	pthread_t thread;
};

static inline uint32_t *page_at(char *base, uint64_t index)
{
	return (uint32_t *)(base + (index << LEAP_PAGE_SHIFT));
}

static inline uint32_t lcg(uint32_t *state)
{
	return *state = *state * 1664525u + 1013904223u;
}

uint32_t bench_clock_ns(void)
{
	struct hist *h = calloc(1, sizeof(*h));
	uint32_t median = 0;

	if (!h)
		return 0;
	for (int i = 0; i < 20000; i++) {
		uint64_t start = clock_ns();

		hist_add(h, clock_ns() - start);
	}
	median = (uint32_t)hist_percentile(h, 0.5);
	free(h);
	return median;
}

void bench_fill(struct bench *bench, struct bench_run *run)
{
	char *base = leap_region_addr(run->region);
	uint64_t start = clock_ns();
	uint32_t r = 1;

	progress_start(&bench->progress, bench->pages, "%s: filling", run->transport);
	for (uint64_t i = 0; i < bench->pages; i++) {
		uint32_t *w = page_at(base, i);

		run->seed[i] = r;
		for (unsigned k = 0; k < BENCH_WORDS; k++) {
			lcg(&r);
			w[k] = k & 1 ? r : 0;
		}
		w[0] = (uint32_t)i;
		if (i % 256 == 0)
			progress_at(&bench->progress, clock_ns(), i);
	}
	progress_end(&bench->progress);
	run->random = r;
	run->fill_s = (double)(clock_ns() - start) / 1e9;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	bool write = w->row->op == OP_WRITE;

	if (w->barrier)
		pthread_barrier_wait(w->barrier);
	for (uint64_t i = 0; i < w->accesses; i++) {
		uint64_t index = cursor_next(&w->cursor), start = clock_ns(), ns;
		volatile uint32_t *page = page_at(w->base, index);
		uint32_t got = page[0];

		if (write)
			page[1] = w->tag;
		ns = clock_ns() - start;
		hist_add(&w->latency, ns > w->clock_ns ? ns - w->clock_ns : 0);
		w->wrong += got != (uint32_t)index;
		if (write)
			__atomic_store_n(&w->tags[index], w->tag, __ATOMIC_RELAXED);
		if (w->bench)
			progress_at(&w->bench->progress, start, i);
	}
	return NULL;
}

/* Starts all but the first, takes part as the first, waits. 0 or -errno. */
static int work_together(struct worker *workers, unsigned n, uint64_t *ret_wall_ns)
{
	pthread_barrier_t barrier;
	uint64_t start;
	unsigned started = 1;
	int err = 0;

	if (n > 1)
		pthread_barrier_init(&barrier, NULL, n);
	for (; started < n && !err; started += !err) {
		workers[started].barrier = &barrier;
		err = pthread_create(&workers[started].thread, NULL, work, &workers[started]);
	}
	if (err) { /* those that wait at the barrier cannot be called back */
		for (unsigned i = 1; i < started; i++)
			pthread_cancel(workers[i].thread);
		return error_set(err, "cannot start %u threads (%s)", n, strerror(err));
	}
	if (n > 1)
		workers[0].barrier = &barrier;
	start = clock_ns();
	work(&workers[0]);
	for (unsigned i = 1; i < n; i++)
		pthread_join(workers[i].thread, NULL);
	*ret_wall_ns = clock_ns() - start;
	if (n > 1)
		pthread_barrier_destroy(&barrier);
	return 0;
}

/* The counters of leap_stats as what was added between two pictures; gauges as they are now. */
static void stats_since(struct leap_stats *now, const struct leap_stats *before)
{
	uint64_t *to = &now->faults;
	const uint64_t *from = &before->faults;

	for (; to <= &now->over_limit; to++, from++)
		*to -= *from;
}

static void worker_init(struct worker *w, struct bench *bench, const struct bench_run *run,
			struct bench_row *row, uint8_t tag, unsigned t)
{
	w->bench = t ? NULL : bench;
	w->row = row;
	w->base = leap_region_addr(run->region);
	w->tags = run->tag;
	w->tag = tag;
	w->clock_ns = bench->clock_ns;
	w->accesses =
		bench->accesses * (t + 1) / bench->threads - bench->accesses * t / bench->threads;
	cursor_init(&w->cursor, row->pattern, bench->pages, t, bench->threads, run->random);
}

int bench_measure(struct bench *bench, struct bench_run *run, struct bench_row *row, uint8_t tag)
{
	struct leap_stats before = {.size = sizeof(before)};
	struct worker *workers = calloc(bench->threads, sizeof(*workers));
	int err;

	if (!workers)
		return error_set(ENOMEM, "no memory");
	progress_start(&bench->progress, bench->accesses / bench->threads, "%s: %s %s",
		       run->transport, row->pattern->name, bench_op_names[row->op]);
	worker_init(&workers[0], bench, run, row, tag, 0);
	for (unsigned t = 1; t < bench->threads; t++)
		worker_init(&workers[t], bench, run, row, tag, t);
	leap_stats(run->leap, &before);
	err = work_together(workers, bench->threads, &row->wall_ns);
	progress_end(&bench->progress);
	row->stats.size = sizeof(row->stats);
	leap_stats(run->leap, &row->stats);
	stats_since(&row->stats, &before);
	run->random = workers[0].cursor.random;
	for (unsigned t = 0; t < bench->threads && !err; t++) {
		hist_merge(&row->latency, &workers[t].latency);
		row->accesses += workers[t].accesses;
		row->wrong += workers[t].wrong;
	}
	free(workers);
	return err;
}

void bench_verify(struct bench *bench, struct bench_run *run)
{
	char *base = leap_region_addr(run->region);

	progress_start(&bench->progress, bench->pages, "%s: verifying", run->transport);
	for (uint64_t i = 0; i < bench->pages; i++) {
		const uint32_t *w = page_at(base, i);
		uint32_t r = run->seed[i], differ = 0;

		for (unsigned k = 0; k < BENCH_WORDS; k++) {
			uint32_t want;

			lcg(&r);
			want = k & 1 ? r : 0;
			if (k == 0)
				want = (uint32_t)i;
			else if (k == 1 && run->tag[i])
				want = run->tag[i];
			differ |= w[k] ^ want;
		}
		run->wrong += differ != 0;
		run->verified++;
		if (i % 256 == 0)
			progress_at(&bench->progress, clock_ns(), i);
	}
	progress_end(&bench->progress);
}
