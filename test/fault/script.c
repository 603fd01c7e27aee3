/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.c - one session from open to close, with every page's content known.
 *
 * A page is its number and its version; version 0 is zeroes. A touch that raises SIGBUS makes a page lost, which it
 * must stay (it may not read as anything) until its content is given up.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leap.h"
#include "libleap/error.h"
#include "libleap/runtime.h"
#include "libleap/session.h"
#include "libleap/transport/faulty.h"
#include "test/fault/fault.h"

#define PAGE  4096ul
#define WORDS (PAGE / 8)
#define PAGES 2560ul /* of the region; the limit is 2048 or less */
#define GUEST 320ul  /* pages of an adopted range */

struct memory {
	char *base;
	size_t npages;
	uint32_t version[PAGES];
	bool lost[PAGES];
	uint64_t salt;
};

static struct outcome *out;
static struct leap *leap;
static struct memory home, guest;
static sigjmp_buf on_bus;
static volatile bool guarded;
static bool linger, adopt_failed;

static void wrong(const char *format, ...)
{
	va_list ap;
	size_t n;

	if (out->wrong[0])
		return;
	n = (size_t)snprintf(out->wrong, sizeof(out->wrong), "%s: ", out->step);
	va_start(ap, format);
	vsnprintf(out->wrong + n, sizeof(out->wrong) - n, format, ap);
	va_end(ap);
}

static void bus(int sig)
{
	static const char text[] = "script: SIGBUS where nothing is managed\n";

	if (guarded)
		siglongjmp(on_bus, 1);
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(98);
	_exit(99);
}

/* An API call: failing is allowed, without a sentence it is not. Returns whether it worked. */
static bool tried(int err, const char *what)
{
	if (!err)
		return true;
	out->errors++;
	dprintf(2, "script: %s: %s: %s (%d)\n", out->step, what, leap_last_error(), err);
	if (err > 0 || strlen(leap_last_error()) < 10)
		wrong("%s failed with %d and no sentence: \"%s\"", what, err, leap_last_error());
	return false;
}
#define TRY(call) (error_clear(), tried((call), #call))

/*
 * Pages
 */
static uint64_t word_of(const struct memory *m, size_t page, uint32_t version, unsigned i)
{
	uint64_t x = (page + m->salt) * 0x9e3779b97f4a7c15ull + version * 0xc2b2ae3d27d4eb4full;

	return i & 1 ? x : x ^ (i * 0xff51afd7ed558ccdull);
}

static void compare(const struct memory *m, size_t page)
{
	const volatile uint64_t *w = (const volatile uint64_t *)(m->base + page * PAGE);
	uint32_t v = m->version[page];

	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t got = w[i], want = v ? word_of(m, page, v, i) : 0;

		if (got == want)
			continue;
		wrong("page %zu version %u word %u is %lx, not %lx%s", page, v, i, got, want,
		      m->lost[page] ? " (and it was lost before)" : "");
		return;
	}
	if (m->lost[page])
		wrong("page %zu was lost and is back", page);
}

static void store(struct memory *m, size_t page)
{
	volatile uint64_t *w = (volatile uint64_t *)(m->base + page * PAGE);
	uint32_t v = m->version[page] + 1;

	for (unsigned i = 0; i < WORDS; i++)
		w[i] = word_of(m, page, v, i);
	m->version[page] = v;
}

static void access_page(struct memory *m, size_t page, bool write)
{
	/* a signal each: not all of them each time */
	if (m->lost[page] && out->lost > 500 && page % 16)
		return;
	guarded = true;
	if (sigsetjmp(on_bus, 1)) {
		out->lost++;
		m->lost[page] = true;
	} else if (write && !m->lost[page]) {
		store(m, page);
	} else {
		compare(m, page);
	}
	guarded = false;
}

static void check(struct memory *m, size_t from, size_t to, size_t stride)
{
	for (size_t k = 0; k < stride && !out->wrong[0]; k++)
		for (size_t p = from + k; p < to && !out->wrong[0]; p += stride)
			access_page(m, p, false);
}

static void change(struct memory *m, size_t from, size_t to)
{
	for (size_t p = from; p < to && !out->wrong[0]; p++)
		access_page(m, p, true);
}

static void scatter(struct memory *m, unsigned n)
{
	uint64_t x = 88172645463325252ull;

	for (unsigned i = 0; i < n && !out->wrong[0]; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		access_page(m, x % m->npages, x >> 40 & 1);
	}
}

static char *at(size_t page)
{
	return home.base + page * PAGE;
}

/*
 * Steps
 */
static void give_up(size_t from, size_t to)
{
	if (!TRY(leap_advise(leap, at(from), (to - from) * PAGE, LEAP_ADVISE_DONTNEED)))
		return;
	for (size_t p = from; p < to; p++) {
		home.version[p] = 0;
		home.lost[p] = false;
	}
}

/* Pages that are here, and that the program drops by itself: zeroes, wherever they go. */
static void step_dropped(void)
{
	const size_t from = 1300, to = 1340;

	if (!TRY(leap_advise(leap, at(from), (to - from) * PAGE, LEAP_ADVISE_PIN)))
		return;
	if (madvise(at(from), (to - from) / 2 * PAGE, MADV_DONTNEED))
		wrong("madvise() fails");
	for (size_t p = from; p < from + (to - from) / 2; p++)
		home.version[p] = 0;
	check(&home, from, from + 5, 1);
	TRY(leap_advise(leap, at(from), (to - from) * PAGE, LEAP_ADVISE_UNPIN));
	TRY(leap_evict(leap, at(from), (to - from) * PAGE));
	check(&home, from, to, 1);
}

static void step_hints(void)
{
	TRY(leap_evict(leap, at(0), 500 * PAGE));
	check(&home, 100, 110, 1);
	TRY(leap_prefetch(leap, at(0), 400 * PAGE));
	check(&home, 0, 500, 1);
	TRY(leap_evict(leap, at(600), 300 * PAGE));
	TRY(leap_advise(leap, at(600), 200 * PAGE, LEAP_ADVISE_WILLNEED));
	change(&home, 650, 760);
	TRY(leap_advise(leap, at(1200), 100 * PAGE, LEAP_ADVISE_COLD));
	if (TRY(leap_advise(leap, at(700), 64 * PAGE, LEAP_ADVISE_PIN))) {
		check(&home, 1500, 2000, 1);
		TRY(leap_advise(leap, at(700), 64 * PAGE, LEAP_ADVISE_UNPIN));
	}
	step_dropped();
	TRY(leap_evict(leap, at(1000), 128 * PAGE));
	give_up(1010, 1100);
	check(&home, 990, 1140, 1);
	change(&home, 1020, 1060);
}

static void step_cache(void)
{
	TRY(leap_set(leap, "hits", "cache"));
	check(&home, 0, 900, 1);
	give_up(300, 310); /* staged, perhaps */
	TRY(leap_set(leap, "prefetch", "readahead"));
	check(&home, 900, 1500, 1);
	TRY(leap_set(leap, "hits", "marker"));
	check(&home, 0, 700, 1);
	TRY(leap_set(leap, "prefetch", "majority"));
}

/* Memory that was there before comes home again. */
static void step_adopt(void)
{
	struct leap_region *region;

	guest.npages = GUEST;
	guest.salt = 1u << 20;
	guest.base = mmap(NULL, GUEST * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	change(&guest, 0, GUEST);
	if (!TRY(leap_region_adopt(leap, guest.base, GUEST * PAGE, &region))) {
		check(&guest, 0, GUEST, 1);
		munmap(guest.base, GUEST * PAGE);
		return;
	}
	TRY(leap_evict(leap, guest.base, GUEST * PAGE));
	check(&guest, 0, GUEST, 3);
	change(&guest, 100, 150);
	TRY(leap_evict(leap, guest.base, GUEST * PAGE / 2));
	if (!TRY(leap_region_destroy(region))) {
		check(&guest, 0, GUEST, 1);
		return; /* it stays managed until leap_close() */
	}
	check(&guest, 0, GUEST, 1);
	if (!out->wrong[0])
		munmap(guest.base, GUEST * PAGE);
}

static void step_limit(void)
{
	TRY(leap_set(leap, "local", "64M"));
	check(&home, 0, PAGES, 1);
	TRY(leap_set(leap, "local", "8M"));
	scatter(&home, 200);
}

/* The child sees all as it was; what it writes is its own. */
static void step_fork(void)
{
	int status;
	pid_t pid;

	if (!TRY(runtime_fork_prepare(leap)))
		return;
	pid = fork();
	if (!pid) {
		if (runtime_fork_child(leap))
			_exit(127); /* its signals are blocked, and nobody serves its pages */
		alarm(30);
		out->step = "fork, child";
		check(&home, 0, PAGES, 1);
		change(&home, 0, 200);
		check(&home, 0, 400, 1);
		_exit(0);
	}
	runtime_fork_parent(leap);
	change(&home, 0, 100);
	waitpid(pid, &status, 0);
	adopt_failed = WIFEXITED(status) && WEXITSTATUS(status) == 127;
	if (adopt_failed)
		out->errors++; /* it said that it cannot go on */
	else if (status)
		wrong("the child ended with status %x", status);
	out->step = "fork, after";
	check(&home, 0, PAGES, 1);
	if (linger) {
		usleep(2200000);
		change(&home, 0, PAGES / 2);
		check(&home, 0, PAGES, 1);
	}
}

static void step_donors(const char *first)
{
	if (TRY(leap_donor_add(leap, "loop:"))) {
		change(&home, 0, 300);
		if (TRY(leap_donor_remove(leap, first)))
			check(&home, 0, PAGES, 1);
	}
	change(&home, 300, 500);
	if (TRY(leap_set(leap, "remote", "off")))
		check(&home, 0, PAGES, 1);
	TRY(leap_set(leap, "remote", "on"));
	check(&home, 0, PAGES, 1);
}

static bool port_fired(const struct port *port, unsigned nth)
{
	for (int k = 0; k < FAULT_KINDS; k++)
		if (port->spec.rule[k].nth == nth && atomic_load(&port->spec.rule[k].count) >= nth)
			return true;
	return false;
}

/* The faulty donor is disconnected when it is removed: its counters are looked at before. */
static struct transport_ops watched;
static const struct transport_ops *faulty_ops;
static unsigned watched_nth;
static bool fired_before;

static void watched_close(struct port *port)
{
	fired_before = port_fired(port, watched_nth);
	faulty_ops->close(port);
}

static void watch_close(unsigned nth)
{
	struct donor *d = &leap->donors.donor[0];

	watched_nth = nth;
	faulty_ops = d->ops;
	watched = *faulty_ops;
	watched.close = watched_close;
	d->ops = &watched;
}

/* Asks the faulty donor how far its counters came. */
static bool transport_fired(const struct injection *injection, unsigned nth)
{
	const struct donor *d = &leap->donors.donor[0];

	if (!strcmp(injection->name, "adopt-error"))
		return adopt_failed;
	return d->port ? port_fired(d->port, nth) : fired_before;
}

static void open_session(const struct script *script, const char *donors)
{
	struct leap_options *options = leap_options_new();
	char text[512], *word, *rest, *value;

	if (!options) {
		out->errors++; /* NULL is what is promised */
		return;
	}
	snprintf(text, sizeof(text), "local=8M publish=off deadline=400ms %s", script->options);
	for (word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		value = strchr(word, '=');
		*value++ = '\0';
		TRY(leap_options_set(options, word, value));
	}
	TRY(leap_options_set(options, "donors", donors));
	if (TRY(leap_open(options, &leap)))
		out->opened = true;
	leap_options_free(options);
}

static void use_session(const char *donors)
{
	struct leap_region *region;
	struct leap_stats stats = {.size = sizeof(stats)};

	out->step = "create";
	if (!TRY(leap_region_create(leap, PAGES * PAGE, &region)))
		return;
	home.base = leap_region_addr(region);
	home.npages = PAGES;
	out->step = "fill";
	change(&home, 0, PAGES);
	out->step = "scan";
	check(&home, 0, PAGES, 1);
	out->step = "stride";
	check(&home, 0, PAGES, 7);
	out->step = "scatter";
	scatter(&home, 300);
	out->step = "hints";
	step_hints();
	out->step = "cache";
	step_cache();
	out->step = "adopt";
	step_adopt();
	out->step = "limit";
	step_limit();
	out->step = "fork";
	step_fork();
	out->step = "donors";
	step_donors(donors);
	out->step = "stats";
	TRY(leap_stats(leap, &stats));
	out->step = "destroy";
	if (!out->wrong[0])
		TRY(leap_region_destroy(region));
}

void script_run(const struct script *script, struct outcome *outcome)
{
	const struct injection *injection = script->injection;
	struct sigaction action = {.sa_handler = bus};
	char donors[300];

	out = outcome;
	out->step = "open";
	sigaction(SIGBUS, &action, NULL);
	snprintf(donors, sizeof(donors), script->donor, script->nth);
	linger = injection->linger;
	inject_arm(injection, script->nth, true);
	open_session(script, donors);
	if (!leap) {
		out->fired = 1;
		_exit(0);
	}
	if (injection->kind == INJECT_TRANSPORT)
		watch_close(script->nth);
	use_session(donors);
	out->step = "close";
	out->fired = injection->kind == INJECT_TRANSPORT ? transport_fired(injection, script->nth)
							 : inject_fired();
	if (!out->wrong[0] && TRY(leap_close(leap)))
		out->closed = true;
	_exit(0);
}
