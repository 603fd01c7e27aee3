/* SPDX-License-Identifier: Apache-2.0 */
/*
 * death.c - a donor is killed, or stopped, or stopped and goes on, while pages are in each state.
 *
 * The donor stands still while the states are made, so that reads and writes stay in flight; then it meets its end. A
 * page must read as what it is, or, if its only copy was the donor's, raise SIGBUS with a sentence, and go on doing
 * so. Afterwards another donor is added and the session goes on with it.
 *
 * usage: death [--verbose] [--way TEXT]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leap.h"
#include "libleap/evict.h"
#include "libleap/fetch.h"
#include "libleap/session.h"
#include "test/donor/harness.h"
#include "test/fault/must.h"

#define PAGE   4096ul
#define PAGES  6144ul
#define FILLED 2560ul /* pages that the donor has */
#define PRESSING \
	4700ul /* pages written before it stands still: more than LOCAL, by less than limbo can take */
#define WRITTEN_LATE 520ul /* in an extent of its own, as is STORED: see make_stored_limbo() */
#define STORED       650ul
#define LOCAL        "8M"
#define HANG_S       60
#define DEADLINE     "2s"
#define SOON_NS      1000000000ull /* the states must be made well before the deadline */
#define LATE         75            /* exit status */
#define TRIES        5             /* of a run that was late; then it has failed */

enum end { END_KILLED, END_STOPPED, END_GOES_ON, ENDS };
static const char *const end_name[ENDS] = {"killed", "stopped", "goes on"};

struct way {
	const char *name, *options;
	const char *donor; /* $TCP, $SHM */
	bool survives;     /* the donor's memory outlives it */
	bool sync;         /* nothing is ever in flight */
};

static const struct way ways[] = {
	{"tcp move busy", "mover=move frontend=busy", "tcp://$TCP", false, false},
	{"tcp move block", "mover=move frontend=block io_uring=off", "tcp://$TCP", false, false},
	{"tcp move inline", "mover=move frontend=inline", "tcp://$TCP", false, false},
	{"tcp wp busy", "mover=wp frontend=busy", "tcp://$TCP", false, false},
	{"tcp wp block", "mover=wp frontend=block", "tcp://$TCP", false, false},
	{"faulty over tcp", "mover=move frontend=block", "faulty:delay-us=100:tcp://$TCP", false,
	 false},
	{"shm move block", "mover=move frontend=block", "shm:$SHM", true, true},
	{"shm wp busy", "mover=wp frontend=busy", "shm:$SHM", true, true},
};

static bool verbose;
static const struct way *way;
static enum end end;
static struct test_donor *victim, *other; /* other: NULL when there is one donor only */

/* In the child that is the session. */
static struct leap *leap;
static struct leap_region *region;
static char *base;
static uint32_t version[PAGES];
static bool dirty[PAGES], lost[PAGES];
static struct page before[PAGES];  /* as all was when the end came */
static struct page noticed[PAGES]; /* as all was when the session knew of it */
static _Thread_local sigjmp_buf on_bus;
static _Thread_local volatile bool guarded;

static void bus(int sig)
{
	if (guarded)
		siglongjmp(on_bus, 1);
	_exit(99);
}

static uint64_t word_of(size_t page, unsigned i)
{
	return (page + 1) * 0x9e3779b97f4a7c15ull + version[page] * 0xc2b2ae3d27d4eb4full + i;
}

/* The touches themselves; false: SIGBUS. */
static bool touch(size_t page, bool write)
{
	volatile uint64_t *w = (volatile uint64_t *)(base + page * PAGE);

	guarded = true;
	if (sigsetjmp(on_bus, 1)) {
		guarded = false;
		return false;
	}
	if (write)
		version[page]++;
	for (unsigned i = 0; i < PAGE / 8; i++) {
		uint64_t got, want = version[page] ? word_of(page, i) : 0;

		if (write)
			w[i] = want;
		got = w[i];
		if (got != want)
			FAIL("page %zu word %u is %lx, not %lx (state was %s)", page, i, got, want,
			     page_state_name(page_state(&before[page])));
	}
	guarded = false;
	return true;
}

static void write_pages(size_t from, size_t to)
{
	for (size_t p = from; p < to; p++) {
		if (!touch(p, true))
			FAIL("page %zu is lost before anything happened", p);
		dirty[p] = true;
	}
}

/* A demand read that waits while the donor stands still. */
static void *wait_main(void *arg)
{
	size_t page = (size_t)arg;

	lost[page] = !touch(page, false);
	return NULL;
}

static bool inline_faults(void)
{
	return strstr(way->options, "inline");
}

/*
 * The states
 */
static const size_t waited[] = {1500, 1700};
static pthread_t waiter[2];
static uint64_t paused_ns;

/* More is here than fits, and soon some of it is on its way out. */
static void make_pressure(void)
{
	MUST(leap_set(leap, "local", LOCAL));
	for (int ms = 0; ms < 1000 && !way->sync && !other; ms++) {
		if (__atomic_load_n(&leap->shards[0].writes_in_flight, __ATOMIC_RELAXED))
			break;
		sleep_ms(1);
	}
	write_pages(PRESSING + 64, PRESSING + 128);
	sleep_ms(20);
}

/* What the evictor does to the page's extent, and not more: nothing waits for its writes, limbo keeps it. */
static void take_out(size_t page)
{
	struct extent *e = &region->extents[page / EXTENT_PAGES];
	struct shard *shard = region_shard(region, page);
	struct lock_app saved;
	int out = EVICT_AGAIN;

	for (int ms = 0; ms < 1000 && out == EVICT_AGAIN; ms++) {
		lock_app_enter(&saved);
		lock_acquire(&shard->evict_lock);
		out = evict_extent(shard, e);
		lock_release(&shard->evict_lock);
		lock_app_leave(&saved);
		sleep_ms(out == EVICT_AGAIN);
	}
	if (out <= 0)
		FAIL("page %zu cannot be taken out: %d", page, out);
}

/* Pages that are in limbo and stored, kept there by older ones that are still written. */
static void make_stored_limbo(void)
{
	if (way->sync)
		return;
	take_out(WRITTEN_LATE);
	take_out(STORED);
}

static void make_states(const char *more)
{
	write_pages(0, FILLED);
	MUST(leap_evict(leap, base, FILLED * PAGE));
	if (more[0])
		MUST(leap_donor_add(leap, more));
	memset(dirty, 0, sizeof(dirty));
	for (size_t p = 0; p < 64; p++) /* local and clean, with staged ones ahead */
		if (!touch(p, false))
			FAIL("page %zu is lost before anything happened", p);
	write_pages(200, 264); /* local, and another content than the donor's */
	MUST(leap_advise(leap, base + 200 * PAGE, 64 * PAGE, LEAP_ADVISE_PIN));
	write_pages(WRITTEN_LATE, WRITTEN_LATE + 1);
	for (size_t p = STORED; p < STORED + 16; p++)
		if (!touch(p, false))
			FAIL("page %zu is lost before anything happened", p);
	MUST(leap_set(leap, "local", "64M"));
	write_pages(FILLED, PRESSING);
	paused_ns = clock_ns();
	if (end != END_KILLED || !way->sync)
		donor_pause(victim);
	make_stored_limbo();
	if (!way->sync) {
		MUST(leap_advise(leap, base + 1000 * PAGE, 100 * PAGE, LEAP_ADVISE_WILLNEED));
		for (int i = 0; i < 2 && !inline_faults(); i++)
			pthread_create(&waiter[i], NULL, wait_main, (void *)waited[i]);
		if (!inline_faults())
			sleep_ms(30);
		write_pages(PRESSING, PRESSING + 64); /* inline, a fault starts what was advised */
	}
	make_pressure();
}

static unsigned count_before(enum page_state state, uint32_t flag)
{
	unsigned n = 0;

	for (size_t p = 0; p < PAGES; p++)
		n += page_state(&before[p]) == state && (!flag || page_has(&before[p], flag));
	return n;
}

/* On a busy machine the deadline may pass before the states are made: the run says nothing, and is made again. */
static void check_time(void)
{
	uint64_t took = clock_ns() - paused_ns;

	if (took < SOON_NS)
		return;
	fprintf(stderr, "death: the states took %lu ms\n", (unsigned long)(took / 1000000));
	_exit(LATE);
}

/* Each state that this way can have must have been there, or the test tests nothing. */
static void check_states(void)
{
	fprintf(stderr,
		"death: %u local, %u staged, %u filling, %u limbo, %u of it writing, %u stored, %u remote\n",
		count_before(PAGE_LOCAL, 0), count_before(PAGE_STAGED, 0),
		count_before(PAGE_FILLING, 0), count_before(PAGE_LIMBO, 0),
		count_before(PAGE_LIMBO, PAGE_WRITING), count_before(PAGE_LIMBO, PAGE_STORED),
		count_before(PAGE_REMOTE, 0));
	if (!count_before(PAGE_LOCAL, 0) || !count_before(PAGE_STAGED, 0) ||
	    !count_before(PAGE_REMOTE, 0))
		FAIL("no page is local, staged or remote");
	if (!way->sync && !count_before(PAGE_LIMBO, PAGE_STORED))
		FAIL("no page is stored and in limbo");
	if (way->sync || other) /* the other may take what would be in flight */
		return;
	if (!count_before(PAGE_LIMBO, PAGE_WRITING) || !count_before(PAGE_FILLING, 0))
		FAIL("nothing is in flight");
}

static void meet_end(void)
{
	if (end == END_KILLED)
		kill(victim->pid, SIGKILL);
	else if (end == END_GOES_ON)
		kill(victim->pid, SIGCONT);
}

/* As if demand reads needed all buffers. */
static void free_buffers(void)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	for (unsigned i = 0; i < leap->nshards; i++) {
		lock_acquire(&leap->shards[i].lock);
		while (fetch_free_buffer(&leap->shards[i]))
			;
		lock_release(&leap->shards[i].lock);
	}
	lock_app_leave(&saved);
}

/* From now on nothing that is here may be dropped for a copy that the victim has. */
static void wait_noticed(void)
{
	const struct slabs *slabs = &leap->slabs;

	while (end != END_GOES_ON && !way->survives && !slabs_deaths(slabs)) /* or the alarm */
		sleep_ms(1);
	memcpy(noticed, region->pages, sizeof(noticed));
	write_pages(PRESSING + 128, PAGES); /* limbo must give frames away */
	free_buffers();
}

/* May the page be lost? Only if the program's last content was on the victim, and not here when its death was noticed. */
static bool may_be_lost(size_t p)
{
	enum page_state state = page_state(&before[p]), here = page_state(&noticed[p]);

	if (end == END_GOES_ON || way->survives)
		return false;
	return !dirty[p] && state != PAGE_STAGED && state != PAGE_ABSENT &&
	       (here == PAGE_REMOTE || here == PAGE_FILLING || here == PAGE_LOST);
}

static bool must_be_lost(size_t p)
{
	return end != END_GOES_ON && !way->survives && !other && !dirty[p] &&
	       page_state(&before[p]) == PAGE_REMOTE;
}

static void check_page(size_t p)
{
	bool ok = touch(p, false);

	lost[p] = !ok;
	if (!ok && !may_be_lost(p))
		FAIL("page %zu (it was %s%s) is lost", p, page_state_name(page_state(&before[p])),
		     dirty[p] ? ", changed" : "");
	if (ok && must_be_lost(p))
		FAIL("page %zu (it was %s) is back from a dead donor", p,
		     page_state_name(page_state(&before[p])));
}

static void check_all(void)
{
	/* first those that are here: what is touched later may push them out */
	for (int turn = 0; turn < 2; turn++)
		for (size_t p = 0; p < PAGES; p++) {
			bool here = page_state(&before[p]) != PAGE_REMOTE &&
				    page_state(&before[p]) != PAGE_FILLING;

			if (here == !turn)
				check_page(p);
		}
}

/* Another donor comes: everything that is left moves on. */
static void go_on(void)
{
	struct leap_stats st = {.size = sizeof(st)};
	unsigned n = 0;

	MUST(leap_donor_add(leap, "loop:"));
	for (size_t p = 0; p < PAGES; p++) {
		bool was = lost[p];

		/* one that was clean may have been dropped before the death was noticed */
		lost[p] = !touch(p, !was && p % 3 == 0);
		if (lost[p] != was && (was || dirty[p] || end == END_GOES_ON || way->survives))
			FAIL("page %zu %s", p, was ? "was lost and is back" : "is lost later");
		n += lost[p];
	}
	MUST(leap_stats(leap, &st));
	fprintf(stderr, "death: %u pages lost, %lu by the statistics\n", n,
		(unsigned long)st.lost_pages);
	if (st.lost_pages != n)
		FAIL("the statistics say that %lu pages are lost, not %u",
		     (unsigned long)st.lost_pages, n);
	/* what is lost can be given up, and is usable again */
	MUST(leap_advise(leap, base, PAGES * PAGE, LEAP_ADVISE_DONTNEED));
	memset(version, 0, sizeof(version));
	for (size_t p = 0; p < PAGES; p++)
		if (!touch(p, false) || !touch(p, true))
			FAIL("page %zu is not usable after it was given up", p);
	for (size_t p = 0; p < PAGES; p++)
		if (!touch(p, false))
			FAIL("page %zu is lost after it was written anew", p);
}

static void session_main(const char *donors, const char *more)
{
	struct leap_options *options = leap_options_new();
	struct sigaction action = {.sa_handler = bus, .sa_flags = SA_NODEFER};
	char text[256], *word, *rest, *value;

	alarm(HANG_S);
	sigaction(SIGBUS, &action, NULL);
	snprintf(text, sizeof(text),
		 "local=" LOCAL " publish=off hits=cache ceiling=1000 deadline=" DEADLINE " %s",
		 way->options);
	for (word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		value = strchr(word, '=');
		*value++ = '\0';
		MUST(leap_options_set(options, word, value));
	}
	MUST(leap_options_set(options, "donors", donors));
	MUST(leap_open(options, &leap));
	leap_options_free(options);
	MUST(leap_region_create(leap, PAGES * PAGE, &region));
	base = leap_region_addr(region);
	make_states(more);
	memcpy(before, region->pages, sizeof(before));
	check_time();
	meet_end();
	check_states();
	wait_noticed();
	check_all();
	for (int i = 0; i < 2 && waiter[i]; i++)
		pthread_join(waiter[i], NULL);
	MUST(leap_advise(leap, base + 200 * PAGE, 64 * PAGE, LEAP_ADVISE_UNPIN));
	go_on();
	MUST(leap_region_destroy(region));
	MUST(leap_close(leap));
	_exit(0);
}

static void address(const struct test_donor *d, char *buf, size_t size)
{
	const char *at = strchr(way->donor, '$');

	if (!strcmp(at, "$TCP"))
		snprintf(buf, size, "%.*s127.0.0.1:%u", (int)(at - way->donor), way->donor,
			 d->port);
	else
		snprintf(buf, size, "%.*s%s", (int)(at - way->donor), way->donor, d->shm);
}

/* What the session said; returns its status. */
static int wait_session(pid_t pid, int fd, char *said, size_t size)
{
	size_t n = 0;
	ssize_t got;
	int status;

	while ((got = read(fd, said + n, size - 1 - n)) > 0)
		n += (size_t)got;
	said[n] = '\0';
	waitpid(pid, &status, 0);
	return status;
}

static bool run_once(bool two, bool *ret_late)
{
	static char said[1 << 20];
	char donors[256], more[256] = "";
	int fds[2], status;
	pid_t pid;
	bool ok;

	victim = donor_start("--memory", "256M", NULL);
	other = two ? donor_start("--memory", "256M", NULL) : NULL;
	address(victim, donors, sizeof(donors));
	if (other)
		address(other, more, sizeof(more));
	if (pipe(fds))
		abort();
	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		session_main(donors, more);
	}
	close(fds[1]);
	status = wait_session(pid, fds[0], said, sizeof(said));
	close(fds[0]);
	ok = !status;
	*ret_late = WIFEXITED(status) && WEXITSTATUS(status) == LATE;
	/* a donor that is stopped is missed only by those who need its answers */
	if (ok && (end == END_KILLED || (end == END_STOPPED && !way->survives)) &&
	    !strstr(said, "leap[")) {
		printf("a donor was %s and nothing was said\n", end_name[end]);
		ok = false;
	}
	printf("%s%s, %d donor%s, %s: status %x\n", ok ? "" : "FAILED ", way->name, two ? 2 : 1,
	       two ? "s" : "", end_name[end], status);
	if (!ok || verbose)
		printf("%.4000s\n", said);
	donor_free(victim);
	if (other)
		donor_free(other);
	return ok;
}

static bool run(bool two)
{
	bool late = true, ok = false;

	for (int i = 0; i < TRIES && late; i++)
		ok = run_once(two, &late);
	return ok;
}

int main(int argc, char **argv)
{
	const char *only = "";
	unsigned runs = 0, bad = 0;

	for (int k = 1; k < argc; k++) {
		if (!strcmp(argv[k], "--verbose"))
			verbose = true;
		else if (!strcmp(argv[k], "--way") && k + 1 < argc)
			only = argv[++k];
		else
			return fprintf(stderr, "death: unknown argument %s\n", argv[k]), 2;
	}
	for (unsigned w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		way = &ways[w];
		if (strncmp(way->name, only, strlen(only)))
			continue;
		for (end = 0; end < ENDS; end++)
			for (int two = 0; two < 2; two++, runs++)
				bad += !run(two);
	}
	printf("death: %u runs, %u BAD\n", runs, bad);
	return bad || !runs;
}
