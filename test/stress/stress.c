/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress.c - several threads read, write, evict, prefetch, advise, resize and fork on one region while every page's
 * content is checked.
 *
 * Each page holds its number, a version, and words derived from both. A page is owned by one writer thread
 * (page % writers), which alone changes it and knows its version. A wrong or zero page ends the run with exit code 1; so does
 * SIGBUS, unless a donor was killed.
 *
 * usage: stress [--mb N] [--local SIZE] [--seconds N] [--threads N] [--seed N] [ENEMY...] [--flat] [OPTION=VALUE ...]
 *
 *   --fork              children that check all and write
 *   --pins              the kernel writes pages that an io_uring has registered
 *   --own tcp|shm[:N]   N leap-donor processes are started and used (3)
 *   --kill              all but one of them are killed over and over, and started anew
 *   --disturb           test/disturb/disturb.py beside it, and hints to the kernel from inside
 *   --flat              descriptors and memory of this process and its donors must not grow
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libleap/runtime.h"
#include "test/stress/enemies.h"
#include "test/stress/stress.h"

#define PIN_PAGES   256ul
#define SAMPLES_MAX 64
#define GROWTH_KIB  8192

struct leap *leap;
char *base;
static struct leap_region *region;
uint32_t *version;
volatile int stop, failed;
static size_t npages; /* of the writers; those of the pins follow */
static unsigned nthreads = 4;
static pthread_rwlock_t fork_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static uint64_t unserved_forks;

/* What main() takes from the command line; NAME=VALUE are options of the session. */
static struct {
	unsigned seconds;
	size_t mb;
	uint64_t seed;
	const char *own;
	bool fork, pins, kill, disturb, flat;
	char local[32];
} given = {.seconds = 5, .mb = 64, .local = "24M"};

struct worker {
	pthread_t thread;
	unsigned index;
	uint64_t random;
};

static uint64_t all_checked, all_lost; /* of the threads that have ended */

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static size_t own_page(struct worker *me, size_t near)
{
	size_t p = near - near % nthreads + me->index;

	return p < npages ? p : me->index;
}

/* A run of pages in one of several patterns, anywhere or where there were some just now. */
static void pattern(struct worker *me)
{
	uint64_t r = rnd(&me->random);
	size_t at = (r >> 8) % npages, n = 1 + (r >> 40) % 400;
	size_t stride = (r & 3) == 0 ? 1 : (r & 3) == 1 ? 1 + (r >> 4) % 12 : 0;
	size_t span = r >> 60 & 3 ? npages / 16 : npages;
	bool write = (r >> 3) & 1;

	for (size_t i = 0; i < n && !stop; i++) {
		uint64_t some = rnd(&me->random);
		size_t page = (at + (stride ? i * stride : some % span)) % npages;
		size_t own = own_page(me, page);

		if (!check_page(own, some >> 60 == 0, some >> 8))
			return;
		if (write)
			write_page(own);
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

		if (leap_advise(leap, base + own * PAGE, PAGE, LEAP_ADVISE_DONTNEED))
			break;
		version[own] = 0;
		check_page(own, true, 0);
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
		if (given.disturb)
			disturb_advise(r >> 4, addr, n * PAGE);
		break;
	}
}

static void check_all(const char *who)
{
	volatile size_t p;

	for (p = 0; p < npages + PIN_PAGES && !failed; p++) {
		if (sigsetjmp(*touch_begin(), 1)) {
			touch_lost();
			continue;
		}
		check_page(p, true, 0);
		touch_end();
	}
	if (failed)
		fprintf(stderr, "stress: ... seen by %s\n", who);
}

static void child_main(struct worker *me)
{
	volatile unsigned i;

	if (runtime_fork_child(leap))
		_exit(127);
	stop = 0;
	alarm(60);
	check_all("a forked child");
	for (i = 0; i < 2000 && !failed; i++) {
		size_t page = rnd(&me->random) % npages;

		if (sigsetjmp(*touch_begin(), 1)) {
			touch_lost();
			continue;
		}
		write_page(page);
		check_page(page, true, 0);
		touch_end();
	}
	check_all("a forked child that wrote");
	_exit(failed ? 1 : 0);
}

/* The child must see every page as it was at fork(), whatever the parent does meanwhile. */
static void fork_once(struct worker *me)
{
	int status = 0, err;
	pid_t pid;

	pthread_rwlock_wrlock(&fork_lock);
	err = runtime_fork_prepare(leap);
	if (err) {
		pthread_rwlock_unlock(&fork_lock);
		unserved_forks++;
		if (given.kill) /* a donor that has just died cannot serve a child */
			return;
		fprintf(stderr, "stress: fork: %s\n", leap_last_error());
		failed = stop = 1;
		return;
	}
	pid = fork();
	if (pid == 0)
		child_main(me);
	runtime_fork_parent(leap);
	pthread_rwlock_unlock(&fork_lock);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status) {
		fprintf(stderr, "stress: the child ended with status %x\n", status);
		failed = stop = 1;
	}
}

/* Under the lock; a page that was lost ends the turn. */
static void guarded_turn(struct worker *me)
{
	if (sigsetjmp(*touch_begin(), 1)) {
		touch_lost();
		return;
	}
	if (me->index == nthreads) {
		if (!pins_turn(rnd(&me->random)))
			failed = stop = 1;
	} else {
		pattern(me);
		api_call(me);
	}
	touch_end();
}

static void *work(void *arg)
{
	struct worker *me = arg;
	unsigned turn = 0;

	while (!stop) {
		pthread_rwlock_rdlock(&fork_lock);
		guarded_turn(me);
		pthread_rwlock_unlock(&fork_lock);
		if (given.fork && me->index == 0 && ++turn % 200 == 0)
			fork_once(me);
	}
	__atomic_fetch_add(&all_checked, checked, __ATOMIC_RELAXED);
	__atomic_fetch_add(&all_lost, lost, __ATOMIC_RELAXED);
	return NULL;
}

/* --- what must not grow ------------------------------------------------------------------------------------------ */

static struct sample {
	unsigned fds;
	long own_kib, donors_kib;
} samples[SAMPLES_MAX];
static unsigned nsamples;

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* All is evicted before, and nobody works: what is left is the pager's. */
static void sample(void)
{
	struct sample *s = &samples[nsamples++];

	pthread_rwlock_wrlock(&fork_lock);
	leap_set(leap, "local", given.local);
	leap_evict(leap, base, (npages + PIN_PAGES) * PAGE);
	*s = (struct sample){open_fds(), process_kib(getpid()), donors_kib()};
	pthread_rwlock_unlock(&fork_lock);
}

static long mean(unsigned from, unsigned n, bool donors)
{
	long sum = 0;

	for (unsigned i = from; i < from + n; i++)
		sum += donors ? samples[i].donors_kib : samples[i].own_kib;
	return sum / (long)n;
}

/* The first quarter, without the very first, against the last. */
static void check_flat(void)
{
	unsigned n = nsamples / 4, last = nsamples - n;
	long own, donors;

	if (nsamples < 8) {
		printf("stress: too short to tell whether anything grows\n");
		return;
	}
	own = mean(last, n, false) - mean(1, n, false);
	donors = mean(last, n, true) - mean(1, n, true);
	printf("stress: %u descriptors at first, %u at last; memory grew by %ld KiB, that of the donors by %ld KiB\n",
	       samples[1].fds, samples[nsamples - 1].fds, own, donors);
	if (own > GROWTH_KIB || (!given.kill && donors > GROWTH_KIB) ||
	    (!given.kill && samples[nsamples - 1].fds > samples[1].fds)) {
		fprintf(stderr, "stress: something grows\n");
		failed = 1;
	}
}

static void run(struct worker *w, unsigned n)
{
	uint64_t random = given.seed * 77 + 1;
	unsigned tenths = given.seconds * 10, every = tenths / SAMPLES_MAX + 10;

	for (unsigned i = 0; i < n; i++) {
		w[i].index = i;
		w[i].random = given.seed * 1000003 + i + 1;
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (unsigned s = 0; s < tenths && !stop; s++) {
		usleep(100000);
		if (given.kill)
			donors_torment(rnd(&random));
		if (given.flat && s % every == every - 1)
			sample();
	}
	stop = 1;
	for (unsigned i = 0; i < n; i++)
		pthread_join(w[i].thread, NULL);
	if (!failed)
		check_all("the end");
	if (given.flat && !failed)
		check_flat();
}

static int die(const char *what)
{
	fprintf(stderr, "stress: %s: %s\n", what, leap_last_error());
	return 1;
}

static void report(void)
{
	struct leap_stats st = {.size = sizeof(st)};

	leap_stats(leap, &st);
	printf("stress: %lu faults (%lu limbo, %lu staged, %lu wp, %lu spurious), %lu evicted, %lu written, %lu "
	       "prefetched, %lu markers\n",
	       st.faults, st.faults_limbo, st.faults_staged, st.faults_wp, st.faults_spurious,
	       st.evicted, st.written, st.prefetched, st.markers);
	printf("stress: seed %lu: %lu checked accesses, %lu pages written by the kernel, %u donors killed, %lu "
	       "touches of lost pages, %lu forks not served: %s\n",
	       given.seed, all_checked + checked, pins_written(), donors_killed(), all_lost + lost,
	       unserved_forks, failed ? "WRONG" : "right");
}

static int parse_value(const char *name, const char *value)
{
	if (!strcmp(name, "--mb"))
		given.mb = strtoul(value, NULL, 10);
	else if (!strcmp(name, "--local"))
		snprintf(given.local, sizeof(given.local), "%s", value);
	else if (!strcmp(name, "--seconds"))
		given.seconds = (unsigned)strtoul(value, NULL, 10);
	else if (!strcmp(name, "--threads"))
		nthreads = (unsigned)strtoul(value, NULL, 10);
	else if (!strcmp(name, "--seed"))
		given.seed = strtoul(value, NULL, 10);
	else if (!strcmp(name, "--own"))
		given.own = value;
	else
		return -1;
	return 0;
}

static int parse(int argc, char **argv, struct leap_options *options)
{
	const struct {
		const char *name;
		bool *value;
	} flags[] = {{"--fork", &given.fork}, {"--pins", &given.pins},
		     {"--kill", &given.kill}, {"--disturb", &given.disturb},
		     {"--flat", &given.flat}, {NULL, NULL}};

	for (int i = 1; i < argc; i++) {
		char *eq = strchr(argv[i], '=');
		unsigned f = 0;

		while (flags[f].name && strcmp(argv[i], flags[f].name))
			f++;
		if (flags[f].name) {
			*flags[f].value = true;
		} else if (i + 1 < argc && !parse_value(argv[i], argv[i + 1])) {
			i++;
		} else if (eq) {
			*eq = 0;
			if (leap_options_set(options, argv[i], eq + 1))
				return die(argv[i]);
		} else {
			fprintf(stderr, "stress: unknown argument %s\n", argv[i]);
			return 2;
		}
	}
	if (given.kill && !given.own) {
		fprintf(stderr, "stress: --kill needs donors of its own: --own tcp, --own shm\n");
		return 2;
	}
	return 0;
}

/* Donors, session, region, and all that is set against them. */
static int start(struct leap_options *options)
{
	char uris[512], transport[8], mover[16], frontend[16];
	unsigned n = 3;
	int err;

	if (given.own) {
		if (sscanf(given.own, "%7[a-z]:%u", transport, &n) < 1 ||
		    donors_start(transport, n, uris, sizeof(uris)))
			return die("the donors did not start");
		leap_options_set(options, "donors", uris);
	}
	leap_options_set(options, "local", given.local);
	touch_init(given.kill);
	if (leap_open(options, &leap))
		return die("open");
	if (leap_region_create(leap, (npages + PIN_PAGES) * PAGE, &region))
		return die("region");
	base = leap_region_addr(region);
	for (size_t p = 0; p < npages + PIN_PAGES; p++)
		write_page(p);
	leap_get(leap, "mover", mover, sizeof(mover));
	leap_get(leap, "frontend", frontend, sizeof(frontend));
	if (given.pins) {
		err = pins_open(npages, PIN_PAGES,
				strcmp(mover, "move") || !strcmp(frontend, "inline"));
		if (err)
			printf("stress: no pins, io_uring is not allowed here: %s\n",
			       strerror(-err));
		given.pins = !err;
	}
	if (given.disturb && disturb_start(given.seconds + 60))
		return die("the disturber did not start");
	return 0;
}

int main(int argc, char **argv)
{
	struct leap_options *options = leap_options_new();
	struct worker *w;
	int err;

	given.seed = (uint64_t)time(NULL);
	if (leap_options_from_env(options))
		return die("environment");
	err = parse(argc, argv, options);
	if (err)
		return err;
	npages = given.mb * 256;
	version = calloc(npages + PIN_PAGES, sizeof(*version));
	w = calloc(nthreads + 1, sizeof(*w));
	alarm(given.seconds * 10 + 120); /* a hang is a failure */
	err = start(options);
	leap_options_free(options);
	if (!err) {
		run(w, nthreads + given.pins);
		report();
	}
	disturb_stop();
	if (given.pins)
		pins_close();
	if (!err && leap_close(leap))
		err = die("close");
	donors_stop();
	free(w);
	free(version);
	return err ? err : failed;
}
