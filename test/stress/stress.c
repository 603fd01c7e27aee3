/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress.c - several threads read, write, evict, prefetch, advise, resize and fork on one region while every page's
 * content is checked.
 *
 * Each page holds its number, a version, and words derived from both. A page is owned by one writer thread
 * (page % writers), which alone changes it and knows its version; everybody may check that what they read is
 * consistent in itself. A wrong or zero page ends the run with exit code 1.
 *
 * usage: stress [--mb N] [--local SIZE] [--seconds N] [--threads N] [--seed N] [--fork] [OPTION=VALUE ...]
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "leap.h"
#include "libleap/runtime.h"

#define PAGE  4096ul
#define WORDS (PAGE / 8)

static struct leap *leap;
static struct leap_region *region;
static char *base;
static size_t npages;
static unsigned nthreads = 4;
static uint32_t *version; /* [page], written by the page's owner only */
static volatile int stop, failed;
static int with_fork;
static pthread_rwlock_t fork_lock = PTHREAD_RWLOCK_INITIALIZER;

struct worker {
	pthread_t thread;
	unsigned index;
	uint64_t random;
	uint64_t ops;
};

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint64_t word_of(size_t page, uint32_t v, unsigned i)
{
	uint64_t x = page * 0x9e3779b97f4a7c15ull + v * 0xc2b2ae3d27d4eb4full;

	/* half of the words are constant within the page, so that it compresses */
	return i & 1 ? x : x ^ (i * 0xff51afd7ed558ccdull);
}

static void wrong(size_t page, const char *what, uint64_t got, uint64_t want)
{
	fprintf(stderr, "stress: page %zu %s: got %lx, want %lx (pid %d)\n", page, what, got, want,
		getpid());
	failed = stop = 1;
}

/* want_version < 0: whatever version is there must be consistent on at least its first words. */
static int check_page(size_t page, int64_t want_version)
{
	const volatile uint64_t *w = (const volatile uint64_t *)(base + page * PAGE);
	uint64_t head = w[0];
	uint32_t v = (uint32_t)(head >> 32);

	if (want_version == 0 && head == 0)
		return 0;
	if ((uint32_t)head != (uint32_t)page) {
		wrong(page, "holds another page", head, page);
		return -1;
	}
	if (want_version < 0)
		return 0;
	if (v != (uint32_t)want_version) {
		wrong(page, "has an old version", v, (uint64_t)want_version);
		return -1;
	}
	for (unsigned i = 1; i < WORDS; i++)
		if (w[i] != word_of(page, v, i)) {
			wrong(page, "is torn", w[i], word_of(page, v, i));
			return -1;
		}
	return 0;
}

static void write_page(size_t page)
{
	volatile uint64_t *w = (volatile uint64_t *)(base + page * PAGE);
	uint32_t v = version[page] + 1;

	w[0] = (uint64_t)v << 32 | (uint32_t)page;
	for (unsigned i = 1; i < WORDS; i++)
		w[i] = word_of(page, v, i);
	version[page] = v;
}

static size_t own_page(struct worker *me, size_t near)
{
	size_t p = near - near % nthreads + me->index;

	return p < npages ? p : me->index;
}

/* A run of pages in one of several patterns. */
static void pattern(struct worker *me)
{
	uint64_t r = rnd(&me->random);
	size_t at = (r >> 8) % npages, n = 1 + (r >> 40) % 400;
	size_t stride = (r & 3) == 0 ? 1 : (r & 3) == 1 ? 1 + (r >> 4) % 12 : 0;
	int write = (r >> 3) & 1;

	for (size_t i = 0; i < n && !stop; i++) {
		size_t page = stride ? (at + i * stride) % npages : rnd(&me->random) % npages;
		size_t own = own_page(me, page);

		if (check_page(own, version[own]))
			return;
		if (write)
			write_page(own);
		me->ops++;
	}
}

static void api_call(struct worker *me)
{
	uint64_t r = rnd(&me->random);
	size_t at = (r >> 8) % npages, n = 1 + (r >> 40) % 300;
	char *addr = base + at * PAGE;

	if (at + n > npages)
		n = npages - at;
	switch (r & 15) {
	case 0:
	case 1:
		leap_evict(leap, addr, n * PAGE);
		break;
	case 2:
		leap_prefetch(leap, addr, n * PAGE);
		break;
	case 3:
		leap_advise(leap, addr, n * PAGE, LEAP_ADVISE_WILLNEED);
		break;
	case 4:
		leap_advise(leap, addr, n * PAGE, LEAP_ADVISE_COLD);
		break;
	case 5:
		if (!leap_advise(leap, addr, n * PAGE, LEAP_ADVISE_PIN))
			leap_advise(leap, addr, n * PAGE, LEAP_ADVISE_UNPIN);
		break;
	case 6: { /* drop one's own page */
		size_t own = own_page(me, at);

		leap_advise(leap, base + own * PAGE, PAGE, LEAP_ADVISE_DONTNEED);
		version[own] = 0;
		check_page(own, 0);
		break;
	}
	case 7: {
		char text[32];
		static const unsigned shares[] = {8, 4, 3, 2};

		snprintf(text, sizeof(text), "%zuK", npages * 4 / shares[r >> 60 & 3] + 8192);
		leap_set(leap, "local", text);
		break;
	}
	case 8:
		leap_set(leap, "hits", r >> 50 & 1 ? "cache" : "marker");
		break;
	default:
		break;
	}
}

static void check_all(const char *who)
{
	for (size_t p = 0; p < npages && !failed; p++)
		if (check_page(p, version[p])) {
			fprintf(stderr, "stress: ... seen by %s\n", who);
			return;
		}
}

/* The child must see every page as it was at fork(), whatever the parent does meanwhile. */
static void fork_once(struct worker *me)
{
	int status = 0;
	pid_t pid;

	pthread_rwlock_wrlock(&fork_lock);
	if (runtime_fork_prepare(leap)) {
		pthread_rwlock_unlock(&fork_lock);
		fprintf(stderr, "stress: fork: %s\n", leap_last_error());
		failed = stop = 1;
		return;
	}
	pid = fork();
	if (pid == 0) {
		runtime_fork_child(leap);
		stop = 0;
		alarm(60);
		check_all("a forked child");
		for (unsigned i = 0; i < 2000 && !failed; i++) {
			size_t page = rnd(&me->random) % npages;

			write_page(page);
			check_page(page, version[page]);
		}
		check_all("a forked child that wrote");
		_exit(failed ? 1 : 0);
	}
	runtime_fork_parent(leap);
	pthread_rwlock_unlock(&fork_lock);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status) {
		fprintf(stderr, "stress: the child ended with status %x\n", status);
		failed = stop = 1;
	}
}

static void *work(void *arg)
{
	struct worker *me = arg;
	unsigned turn = 0;

	while (!stop) {
		pthread_rwlock_rdlock(&fork_lock);
		pattern(me);
		api_call(me);
		pthread_rwlock_unlock(&fork_lock);
		if (with_fork && me->index == 0 && ++turn % 200 == 0)
			fork_once(me);
	}
	return NULL;
}

static int die(const char *what)
{
	fprintf(stderr, "stress: %s: %s\n", what, leap_last_error());
	return 1;
}

static int report(struct worker *w)
{
	struct leap_stats st = {.size = sizeof(st)};
	uint64_t ops = 0;

	leap_stats(leap, &st);
	for (unsigned i = 0; i < nthreads; i++)
		ops += w[i].ops;
	printf("stress: %lu page operations, %lu faults (%lu limbo, %lu staged, %lu wp, %lu spurious), %lu "
	       "evicted, %lu written, %lu prefetched, %lu markers, %lu lost: %s\n",
	       ops, st.faults, st.faults_limbo, st.faults_staged, st.faults_wp, st.faults_spurious,
	       st.evicted, st.written, st.prefetched, st.markers, st.lost_pages,
	       failed ? "WRONG" : "right");
	return failed;
}

/* What main() takes from the command line; NAME=VALUE are options of the session. */
static struct {
	unsigned seconds;
	size_t mb;
	uint64_t seed;
} given = {.seconds = 5, .mb = 64};

static int parse(int argc, char **argv, struct leap_options *options)
{
	for (int i = 1; i < argc; i++) {
		char *eq = strchr(argv[i], '=');

		if (!strcmp(argv[i], "--mb") && i + 1 < argc)
			given.mb = strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--local") && i + 1 < argc)
			leap_options_set(options, "local", argv[++i]);
		else if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
			given.seconds = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
			nthreads = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			given.seed = strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--fork"))
			with_fork = 1;
		else if (eq) {
			*eq = 0;
			if (leap_options_set(options, argv[i], eq + 1))
				return die(argv[i]);
		} else {
			fprintf(stderr, "stress: unknown argument %s\n", argv[i]);
			return 2;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct leap_options *options = leap_options_new();
	struct worker *w;
	int err;

	given.seed = (uint64_t)time(NULL);
	leap_options_set(options, "local", "24M");
	if (leap_options_from_env(options))
		return die("environment");
	err = parse(argc, argv, options);
	if (err)
		return err;
	if (leap_open(options, &leap))
		return die("open");
	leap_options_free(options);
	npages = given.mb * 256;
	if (leap_region_create(leap, npages * PAGE, &region))
		return die("region");
	version = calloc(npages, sizeof(*version));
	w = calloc(nthreads, sizeof(*w));
	base = leap_region_addr(region);
	alarm(given.seconds * 10 + 120); /* a hang is a failure */
	for (size_t p = 0; p < npages; p++)
		write_page(p);
	for (unsigned i = 0; i < nthreads; i++) {
		w[i].index = i;
		w[i].random = given.seed * 1000003 + i + 1;
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (unsigned s = 0; s < given.seconds * 10 && !stop; s++)
		usleep(100000);
	stop = 1;
	for (unsigned i = 0; i < nthreads; i++)
		pthread_join(w[i].thread, NULL);
	if (!failed)
		check_all("the end");
	report(w);
	free(w);
	if (leap_close(leap))
		return die("close");
	free(version);
	if (failed)
		fprintf(stderr, "stress: seed %lu\n", given.seed);
	return failed;
}
