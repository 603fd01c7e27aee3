/* SPDX-License-Identifier: Apache-2.0 */
/*
 * truth.c - what a call did to a page is asked of the kernel: calls that say less, or something else, than they did; pages
 * that are dropped or mapped by the program itself; page migration going on.
 *
 * usage: truth [CASE...]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libleap/fetch.h"
#include "libleap/region_int.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/proc.h"
#include "test/fault/cases.h"

/* --- a kernel that answers otherwise --------------------------------------------------------------------------- */

/* What UFFDIO_MOVE does to the first `part` pages of a call, and what it says then. */
static struct {
	unsigned every; /* call; 0: never */
	unsigned part;  /* pages that are moved; 0: all */
	long long said; /* pages that it says, or an error */
	int error;
} lie;
static unsigned calls;
static volatile unsigned slow_us;
static __thread bool slow_thread;

int uffd_ioctl(int fd, unsigned long request, void *arg)
{
	struct uffdio_move *move = arg;
	int err;

	if (request == UFFDIO_MOVE && slow_thread && slow_us)
		usleep(slow_us);
	if (request != UFFDIO_MOVE || !lie.every ||
	    __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) % lie.every)
		return (int)sys_ret(ioctl(fd, request, arg));
	if (lie.part && move->len > lie.part * PAGE)
		move->len = lie.part * PAGE;
	err = (int)sys_ret(ioctl(fd, request, arg));
	if (err)
		return err;
	move->move = lie.said > 0 ? lie.said * (long long)PAGE : lie.said;
	return lie.error;
}

/* Out, in as windows, in by touches in limbo; the content must be right each time. */
static void rounds(const char *options)
{
	start(options);
	make(4096);
	fill(0, 4096, 1);
	for (uint64_t v = 1; v < 5; v++) {
		check(0, 4096, v);
		for (size_t p = 0; p < 4096; p += 3)
			check(p, 1, v);
		fill(0, 4096, v + 1);
		MUST(leap_evict(leap, base, 1024 * PAGE));
		for (size_t p = 4095; p > 0; p--)
			check(p, 1, v + 1);
	}
	MUST(leap_close(leap));
}

/* Linux 6.18, pages under migration: all is moved, and half of it is counted. */
static void case_undercount(void)
{
	lie.every = 2;
	lie.said = 1;
	lie.error = -EAGAIN;
	rounds("local=8M mover=move");
}

static void case_undercount_none(void)
{
	lie.every = 2;
	lie.said = -EAGAIN;
	lie.error = -EAGAIN;
	rounds("local=8M mover=move donors=faulty::loop:");
}

/* A part is moved and none of it counted, whatever the error is. */
static void case_part_busy(void)
{
	lie.every = 2;
	lie.part = 7;
	lie.said = -EBUSY;
	lie.error = -EBUSY;
	rounds("local=8M mover=move");
}

static void case_part_no_memory(void)
{
	lie.every = 3;
	lie.part = 5;
	lie.said = -ENOMEM;
	lie.error = -ENOMEM;
	rounds("local=8M mover=move");
}

/* The same where /proc cannot be asked. */
static void case_no_proc(void)
{
	lie.every = 2;
	lie.part = 7;
	lie.said = 2;
	lie.error = -EAGAIN;
	proc_close();
	rounds("local=8M mover=move");
	proc_open();
}

/* A page that waits in a staging buffer is not mapped into an extent that is being taken out. */
static void *evict_slowly(void *arg)
{
	(void)arg;
	slow_thread = true;
	leap_evict(leap, base + 128 * PAGE, 64 * PAGE);
	return NULL;
}

static void stage_page(struct shard *shard, size_t page)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	lock_acquire(&shard->lock);
	fetch_extent(shard, &region->extents[page / EXTENT_PAGES], 1ull << page % EXTENT_PAGES,
		     FETCH_STAGE);
	lock_release(&shard->lock);
	lock_app_leave(&saved);
}

static void case_staged_busy(void)
{
	struct lock_app saved;
	struct shard *shard;
	pthread_t thread;

	start("local=64M mover=move frontend=block prefetch=none donors=faultysync::loop:");
	make(1024);
	fill(0, 1024, 1);
	MUST(leap_evict(leap, base, 1024 * PAGE));
	for (size_t p = 128; p < 144; p++)
		if (p != 136)
			check(p, 1, 1);
	shard = &leap->shards[0];
	stage_page(shard, 136);
	if (page_state(&region->pages[136]) != PAGE_STAGED)
		FAIL("page 136 is %s", page_state_name(page_state(&region->pages[136])));
	MUST(leap_donor_add(leap, "loop:"));
	donor_died(leap, &leap->donors.donor[0], -EPIPE);
	slow_us = 300000;
	pthread_create(&thread, NULL, evict_slowly, NULL);
	while (!(__atomic_load_n(&region->extents[2].flags, __ATOMIC_RELAXED) & EXTENT_BUSY))
		usleep(1000);
	lock_app_enter(&saved);
	lock_acquire(&shard->lock);
	fetch_free_buffer(shard); /* as a prefetch does that needs a buffer */
	lock_release(&shard->lock);
	lock_app_leave(&saved);
	pthread_join(thread, NULL);
	slow_us = 0;
	check(136, 1, 1);
	MUST(leap_close(leap));
}

/* --- what the program does to its memory itself ----------------------------------------------------------------- */

static sigjmp_buf bus_jump;

static void on_bus(int sig)
{
	siglongjmp(bus_jump, sig);
}

/* The signal that reading the page raises, 0 if it can be read. */
static int touch(size_t page)
{
	struct sigaction act = {.sa_handler = on_bus}, old;
	int sig;

	sigaction(SIGBUS, &act, &old);
	sig = sigsetjmp(bus_jump, 1);
	if (!sig)
		(void)*(volatile char *)(base + page * PAGE);
	sigaction(SIGBUS, &old, NULL);
	return sig;
}

static uint64_t lost_pages(void)
{
	struct leap_stats st = {.size = sizeof(st)};

	MUST(leap_stats(leap, &st));
	return st.lost_pages;
}

/* Pages that the program drops by calls that Leap does not see are errors: some found by a touch, others by an eviction. */
static void dropped(const char *options)
{
	start(options);
	make(4096);
	fill(0, 4096, 1);
	MUST(leap_evict(leap, base, 4096 * PAGE));
	check(4032, 64, 1);
	check(3904, 64, 1);
	for (size_t p = 3840; p < 3904; p += 2)
		check(p, 1, 1);
	if (madvise(base + 4040 * PAGE, 8 * PAGE, MADV_DONTNEED) ||
	    madvise(base + 3910 * PAGE, 4 * PAGE, MADV_DONTNEED) ||
	    madvise(base + 3850 * PAGE, PAGE, MADV_DONTNEED))
		FAIL("madvise: %s", strerror(errno));
	for (size_t p = 4040; p < 4048; p++)
		if (touch(p) != SIGBUS)
			FAIL("page %zu was dropped, and can be read", p);
	MUST(leap_evict(leap, base, 4096 * PAGE));
	for (size_t p = 3910; p < 3914; p++)
		if (touch(p) != SIGBUS)
			FAIL("page %zu was dropped before an eviction, and can be read", p);
	if (touch(3850) != SIGBUS)
		FAIL("page 3850 was dropped before an eviction, and can be read");
	if (lost_pages() != 13)
		FAIL("%lu pages are said to be lost", lost_pages());
	check(0, 3840, 1);
	for (size_t p = 3840; p < 4096; p++)
		if (p != 3850 && !(p >= 3910 && p < 3914) && !(p >= 4040 && p < 4048))
			check(p, 1, 1);
	/* what is dropped by a call that is seen is zero, and can be used again */
	MUST(leap_advise(leap, base + 4032 * PAGE, 64 * PAGE, LEAP_ADVISE_DONTNEED));
	for (size_t p = 4032; p < 4096; p++)
		if (base[p * PAGE])
			FAIL("page %zu is not zero", p);
	fill(4032, 64, 2);
	MUST(leap_evict(leap, base, 4096 * PAGE));
	check(4032, 64, 2);
	MUST(leap_close(leap));
}

static void case_dropped_move(void)
{
	dropped("local=16M mover=move prefetch=none");
}

static void case_dropped_wp(void)
{
	dropped("local=16M mover=wp prefetch=none");
}

static void case_dropped_async(void)
{
	dropped("local=16M mover=move prefetch=none donors=faulty::loop:");
}

/* Pages that were taken for absent, but have content, do not leave with their neighbours. */
static void case_mapped(void)
{
	start("local=16M mover=move prefetch=none");
	make(1024);
	for (size_t p = 0; p < 64; p += 2)
		fill(p, 1, 1);
	MUST(leap_evict(leap, base, 64 * PAGE));
	for (size_t p = 0; p < 64; p += 2)
		check(p, 1, 1);
	for (size_t p = 1; p < 64; p += 2) {
		char page[PAGE] __attribute__((aligned(4096)));

		for (unsigned i = 0; i < PAGE / 8; i++)
			((uint64_t *)page)[i] = word_of(p, 1, i);
		MUST(uffd_copy(region_shard(region, p)->uffd, base + p * PAGE, page, PAGE, true,
			       NULL));
	}
	for (int i = 0; i < 20; i++) {
		MUST(leap_evict(leap, base, 64 * PAGE));
		check(0, 64, 1);
	}
	MUST(leap_close(leap));
}

/* --- migration -------------------------------------------------------------------------------------------------- */

static volatile int stop;

static void *migrate(void *arg)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);

	(void)arg;
	while (!stop && fd >= 0) {
		if (write(fd, "1", 1) != 1)
			break;
		usleep(5000);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void case_migration(void)
{
	pthread_t thread;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		printf("migration: only root can compact memory: not tried\n");
	pthread_create(&thread, NULL, migrate, NULL);
	for (int i = 0; i < 4; i++)
		rounds("local=8M mover=move");
	stop = 1;
	pthread_join(thread, NULL);
}

static const struct fault_case cases[] = {
	{"undercount", case_undercount},
	{"undercount_none", case_undercount_none},
	{"part_busy", case_part_busy},
	{"part_no_memory", case_part_no_memory},
	{"no_proc", case_no_proc},
	{"staged_busy", case_staged_busy},
	{"dropped_move", case_dropped_move},
	{"dropped_wp", case_dropped_wp},
	{"dropped_async", case_dropped_async},
	{"mapped", case_mapped},
	{"migration", case_migration},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_cases(cases, argc, argv);
}
