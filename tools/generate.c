/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c - see generate.h. */
#include "tools/generate.h"

#include <errno.h>
#include <string.h>

#include "libleap/error.h"

#define BASE    0x7f0000000ull /* page number of page 0 */
#define SPACE   (1ull << 24)   /* pages of the region */
#define APART   (1ull << 20)   /* between streams */
#define STRAYS  (1ull << 23)   /* stray accesses lie from here ... */
#define SCATTER (1ull << 20)   /* ... over so many pages */
#define DROP    UINT64_MAX     /* the pattern's page was the last one again */

/* What a pattern remembers between accesses. */
struct walk {
	uint64_t random;
	uint64_t i; /* number of the access */
	uint64_t at[8];
	int64_t step;
	uint32_t thread;
	/* csr */
	uint64_t vertex, edge, left, last[3];
};

static uint64_t next_random(struct walk *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random * 0x2545f4914f6cdd1dull >> 16;
}

static uint64_t below(struct walk *w, uint64_t n)
{
	return next_random(w) % n;
}

static uint64_t stray(struct walk *w)
{
	return STRAYS + below(w, SCATTER);
}

/* The next page of stream n. */
static uint64_t along(struct walk *w, unsigned n, uint64_t step)
{
	uint64_t page = n * APART + w->at[n];

	w->at[n] = (w->at[n] + step) % APART;
	return page;
}

static uint64_t sequential(struct walk *w)
{
	return w->i % STRAYS;
}

static uint64_t backward(struct walk *w)
{
	return STRAYS - 1 - w->i % STRAYS;
}

static uint64_t stride_10(struct walk *w)
{
	return 10 * w->i % STRAYS;
}

static uint64_t noise_30(struct walk *w)
{
	return below(w, 100) < 30 ? stray(w) : along(w, 0, 1);
}

static uint64_t noise_50(struct walk *w)
{
	return below(w, 100) < 50 ? stray(w) : along(w, 0, 1);
}

static uint64_t alternating_2(struct walk *w)
{
	return along(w, w->i % 2, 1);
}

static uint64_t alternating_4(struct walk *w)
{
	return along(w, w->i % 4, 1);
}

static uint64_t shuffled_4(struct walk *w)
{
	return along(w, (unsigned)below(w, 4), 1);
}

static uint64_t threads_3_1(struct walk *w)
{
	unsigned n = (unsigned)below(w, 4);

	w->thread = n + 1;
	return n == 3 ? stray(w) : along(w, n, 1);
}

static uint64_t changing_stride(struct walk *w)
{
	uint64_t page = w->at[0];

	if (w->i % 32 == 0)
		w->step = 1 + (int64_t)below(w, 16);
	w->at[0] = (w->at[0] + (uint64_t)w->step) % STRAYS;
	return page;
}

static uint64_t mixed_strides(struct walk *w)
{
	static const uint64_t strides[] = {1, 3, 7, 20};
	unsigned n = (unsigned)below(w, 9);

	return n == 8 ? stray(w) : along(w, n % 4, strides[n % 4]);
}

static uint64_t ladder(struct walk *w)
{
	return w->i / 7 * 38 % STRAYS + w->i % 7 * 3;
}

/*
 * A pass over a graph in compressed rows: the row offsets and the edges are read in order, and for each edge
 * the property of its other end, a few of which are far more frequent than the others.
 */
static uint64_t csr(struct walk *w)
{
	unsigned array;
	uint64_t page, reach;

	if (!w->left) {
		array = 0;
		page = w->vertex++ / 512;
		w->left = 2 * (1 + (below(w, 16) ? below(w, 16) : below(w, 512)));
	} else if (w->left-- % 2 == 0) {
		array = 1;
		page = APART + w->edge++ / 512 % APART;
	} else {
		array = 2;
		reach = SCATTER >> below(w, 12);
		page = 2 * APART + below(w, reach) / 64;
	}
	if (w->last[array] == page)
		return DROP;
	w->last[array] = page;
	return page;
}

static uint64_t uniform(struct walk *w)
{
	return stray(w);
}

/* clang-format off */
const struct generator generators[] = {
	{"sequential", "one page after the other"},
	{"backward", "the same, downwards"},
	{"stride-10", "every tenth page"},
	{"noise-30", "a scan, three of ten accesses are strays"},
	{"noise-50", "a scan, every other access is a stray, in random order"},
	{"alternating-2", "two scans in turn"},
	{"alternating-4", "four scans in turn"},
	{"shuffled-4", "four scans in random order"},
	{"threads-3-1", "three threads scan, one accesses at random"},
	{"changing-stride", "another stride (1 to 16) after every 32 accesses"},
	{"mixed-strides", "strides of 1, 3, 7 and 20 in random order, one of nine accesses is a stray"},
	{"ladder", "seven pages 3 apart, then 20 further, again and again"},
	{"csr", "a pass over a graph in compressed rows"},
	{"random", "any page"},
};
/* clang-format on */
const unsigned generators_count = sizeof(generators) / sizeof(generators[0]);

static uint64_t (*const patterns[])(struct walk *) = {
	sequential,    backward,      stride_10,  noise_30,    noise_50,
	alternating_2, alternating_4, shuffled_4, threads_3_1, changing_stride,
	mixed_strides, ladder,        csr,        uniform,
};
_Static_assert(sizeof(patterns) / sizeof(patterns[0]) == sizeof(generators) / sizeof(generators[0]),
	       "a function for each name");

static int fill(struct trace *trace, uint64_t (*pattern)(struct walk *), uint64_t accesses,
		uint64_t seed)
{
	struct walk w = {.random = seed * 0x9e3779b97f4a7c15ull + 88172645463325252ull,
			 .thread = 1};
	int err = 0;

	if (!w.random)
		w.random = 1;
	for (unsigned i = 0; i < 16; i++)
		next_random(&w);
	while (trace->header.n_records < accesses && !err) {
		uint64_t page = pattern(&w);
		struct trace_record record = {.vpn = BASE + page, .tid = w.thread, .region = 1};

		w.i++;
		if (page != DROP)
			err = trace_add(trace, &record);
	}
	return err;
}

int generate(const char *name, uint64_t accesses, uint64_t seed, struct trace *ret_trace)
{
	int err;

	for (unsigned i = 0; i < generators_count; i++) {
		if (strcmp(generators[i].name, name))
			continue;
		trace_init(ret_trace, "ACCESS", TRACE_THREADS | TRACE_ACCESSES);
		err = fill(ret_trace, patterns[i], accesses, seed);
		if (!err)
			err = trace_add_region(ret_trace, 1, BASE, SPACE, name);
		if (!err)
			err = trace_complete(ret_trace);
		if (err)
			trace_free(ret_trace);
		return err;
	}
	return -ENOENT;
}
