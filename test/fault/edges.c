/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edges.c - corners of the pager: donors that are full, several shards, memory that the program itself locked or
 * dropped, reads in flight that nobody waits for, a kernel without memory.
 *
 * usage: edges [CASE...]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leap.h"
#include "libleap/uffd/uffd.h"
#include "test/fault/cases.h"

/* ENOMEM for COPY and MOVE as often as this says. */
static int no_memory;

int uffd_ioctl(int fd, unsigned long request, void *arg)
{
	if ((request == UFFDIO_COPY || request == UFFDIO_MOVE) &&
	    __atomic_load_n(&no_memory, __ATOMIC_RELAXED) > 0 &&
	    __atomic_fetch_sub(&no_memory, 1, __ATOMIC_RELAXED) > 0)
		return -ENOMEM;
	return (int)sys_ret(ioctl(fd, request, arg));
}

/* What does not fit the donors stays; all the rest goes on being paged. */
static void full(const char *options)
{
	start(options);
	make(17920);
	fill(0, 17920, 1);
	for (uint64_t v = 1; v < 4; v++) {
		check(0, 17920, v);
		fill(0, 17920, v + 1);
	}
	MUST(leap_close(leap));
}

static void case_full(void)
{
	full("local=16M donors=faultysync:grant-error=2+:loop:");
}

static void case_full_async(void)
{
	full("local=16M donors=faulty:grant-error=2+:loop:");
}

/* What the program gives up is room for new pages, though the donors themselves have none to give. */
static void case_refill(void)
{
	start("local=16M donors=faultysync:grant-error=2+:loop:");
	make(32768);
	fill(0, 17920, 1);
	for (uint64_t v = 2; v < 5; v++) {
		MUST(leap_advise(leap, base, 8192 * PAGE, LEAP_ADVISE_DONTNEED));
		fill(20000, 8192, v);
		check(20000, 8192, v);
		MUST(leap_advise(leap, base + 20000 * PAGE, 8192 * PAGE, LEAP_ADVISE_DONTNEED));
		fill(0, 8192, v);
	}
	check(0, 8192, 4);
	check(8192, 9728, 1);
	MUST(leap_close(leap));
}

/* One shard has nothing to give, the other must. */
static void case_shards(void)
{
	struct leap_region *one;

	start("local=96M fault_threads=2");
	make(16384);
	one = region;
	fill(0, 16384, 1);
	make(8192);
	MUST(leap_set(leap, "local", "8M"));
	fill(0, 8192, 2);
	check(0, 8192, 2);
	region = one;
	base = leap_region_addr(one);
	check(0, 16384, 1);
	MUST(leap_close(leap));
}

/* Reads under way that nobody reaps: there is no fault thread. */
static void case_inline(void)
{
	start("local=8M frontend=inline donors=faulty:delay-us=2000:loop:");
	make(8192);
	fill(0, 8192, 1);
	for (size_t at = 0; at + 640 < 8192; at += 700) {
		check(at, 40, 1);
		MUST(leap_advise(leap, base + at * PAGE, 600 * PAGE, LEAP_ADVISE_DONTNEED));
	}
	MUST(leap_close(leap));
}

static void case_inline_destroy(void)
{
	start("local=8M frontend=inline donors=faulty:delay-us=2000:loop:");
	make(8192);
	fill(0, 8192, 1);
	check(0, 300, 1);
	MUST(leap_region_destroy(region));
	MUST(leap_close(leap));
}

static void locked(const char *options)
{
	start(options);
	make(4096);
	fill(0, 4096, 1);
	MUST(leap_evict(leap, base, 4096 * PAGE));
	check(0, 128, 1);
	if (mlock(base + 32 * PAGE, 64 * PAGE))
		FAIL("mlock: %s", strerror(errno));
	MUST(leap_evict(leap, base, 128 * PAGE));
	check(0, 128, 1);
	fill(0, 128, 2);
	MUST(leap_evict(leap, base, 128 * PAGE));
	check(0, 128, 2);
	MUST(leap_advise(leap, base + 40 * PAGE, 8 * PAGE, LEAP_ADVISE_DONTNEED));
	for (size_t p = 40; p < 48; p++)
		if (base[p * PAGE])
			FAIL("page %zu was dropped and is not zero", p);
	fill(40, 8, 3);
	munlock(base + 32 * PAGE, 64 * PAGE);
	for (int i = 0; i < 20; i++) {
		MUST(leap_evict(leap, base, 128 * PAGE));
		check(0, 40, 2);
		check(40, 8, 3);
		check(48, 80, 2);
	}
	MUST(leap_evict(leap, base, 4096 * PAGE));
	check(128, 3968, 1);
	MUST(leap_close(leap));
}

static void case_locked_move(void)
{
	locked("local=8M mover=move");
}

static void case_locked_wp(void)
{
	locked("local=8M mover=wp");
}

static void case_no_memory(void)
{
	start("local=8M prefetching=off");
	make(4096);
	fill(0, 4096, 1);
	MUST(leap_evict(leap, base, 4096 * PAGE));
	no_memory = 2000;
	check(0, 1, 1);
	no_memory = 0;
	check(0, 4096, 1);
	MUST(leap_close(leap));
}

/* Memory that the program made unreadable comes home all the same. */
static void hidden(const char *options)
{
	start(options);
	make(4096);
	fill(0, 4096, 1);
	MUST(leap_evict(leap, base, 4096 * PAGE));
	if (mprotect(base + 100 * PAGE, 300 * PAGE, PROT_NONE))
		FAIL("mprotect: %s", strerror(errno));
	MUST(leap_advise(leap, base + 90 * PAGE, 200 * PAGE, LEAP_ADVISE_PIN));
	MUST(leap_set(leap, "remote", "off"));
	for (size_t p = 0; p < 4096; p++)
		if (page_state(&region->pages[p]) != PAGE_LOCAL)
			FAIL("page %zu is %s", p, page_state_name(page_state(&region->pages[p])));
	mprotect(base + 100 * PAGE, 300 * PAGE, PROT_READ | PROT_WRITE);
	check(0, 4096, 1);
	MUST(leap_close(leap));
}

static void case_hidden_move(void)
{
	hidden("local=8M mover=move");
}

static void case_hidden_wp(void)
{
	hidden("local=8M mover=wp donors=faulty::loop:");
}

/* A child that nobody serves must not see zeroes. */
static void case_child(void)
{
	int status = 0;
	pid_t pid;

	start("local=8M");
	make(4096);
	fill(0, 4096, 1);
	MUST(leap_evict(leap, base, 4096 * PAGE));
	pid = fork();
	if (!pid) {
		alarm(HANG_S);
		signal(SIGSEGV, SIG_DFL);
		_exit(base[1] ? 1 : 2);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
		FAIL("the child ended with status %x", status);
	check(0, 4096, 1);
	MUST(leap_close(leap));
}

static void case_child_adopted(void)
{
	size_t bytes = 4096 * PAGE;
	int status = 0;
	pid_t pid;

	start("local=32M");
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(leap_region_adopt(leap, base, bytes, &region));
	fill(0, 4096, 1);
	MUST(leap_evict(leap, base, bytes));
	MUST(leap_region_destroy(region));
	pid = fork(); /* plain memory again */
	if (!pid) {
		for (size_t p = 0; p < 4096; p++)
			if (*(volatile uint64_t *)(base + p * PAGE) != word_of(p, 1, 0))
				_exit(1);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		FAIL("the child ended with status %x", status);
	MUST(leap_close(leap));
}

/* Memory that the program put in the place of adopted memory is its own: nobody waits for pages that nobody can touch. */
static void replaced(const char *options)
{
	size_t bytes = 1024 * PAGE;

	start(options);
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(leap_region_adopt(leap, base, bytes, &region));
	fill(0, 1024, 1);
	MUST(leap_evict(leap, base, bytes));
	if (mmap(base + 100 * PAGE, 100 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		FAIL("mmap: %s", strerror(errno));
	fill(100, 50, 2);
	MUST(leap_donor_add(leap, "loop:"));
	MUST(leap_donor_remove(leap, "faulty::loop:"));
	check(0, 100, 1);
	check(100, 50, 2);
	for (size_t p = 150; p < 200; p++)
		if (base[p * PAGE])
			FAIL("page %zu was never written and is not zero", p);
	check(200, 824, 1);
	MUST(leap_set(leap, "remote", "off"));
	MUST(leap_close(leap));
	check(100, 50, 2);
}

static void case_replaced_move(void)
{
	replaced("local=8M mover=move donors=faulty::loop:");
}

static void case_replaced_wp(void)
{
	replaced("local=8M mover=wp donors=faulty::loop:");
}

static volatile int stop;
static volatile unsigned long touched;

static void *toucher(void *arg)
{
	uint64_t x = 88172645463325252ull;

	while (!stop) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		check(x % 8192, 1, 1);
		touched++;
	}
	return NULL;
}

/* The pager stops for a fork although faults come one after the other. */
static void standstill(const char *options)
{
	pthread_t thread[2];

	start(options);
	make(8192);
	fill(0, 8192, 1);
	for (int i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, toucher, NULL);
	for (int i = 0; i < 20; i++) {
		unsigned long before = touched;

		while (touched < before + 200)
			usleep(1000);
		MUST(runtime_fork_prepare(leap));
		runtime_fork_parent(leap);
	}
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	MUST(leap_close(leap));
}

static void case_standstill_busy(void)
{
	standstill("local=8M frontend=busy");
}

static void case_standstill_block(void)
{
	standstill("local=8M frontend=block donors=faulty::loop:");
}

static const struct fault_case edges[] = {
	{"full", case_full},
	{"full_async", case_full_async},
	{"refill", case_refill},
	{"shards", case_shards},
	{"inline", case_inline},
	{"inline_destroy", case_inline_destroy},
	{"locked_move", case_locked_move},
	{"locked_wp", case_locked_wp},
	{"no_memory", case_no_memory},
	{"hidden_move", case_hidden_move},
	{"hidden_wp", case_hidden_wp},
	{"child", case_child},
	{"child_adopted", case_child_adopted},
	{"replaced_move", case_replaced_move},
	{"replaced_wp", case_replaced_wp},
	{"standstill_busy", case_standstill_busy},
	{"standstill_block", case_standstill_block},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	return run_cases(edges, argc, argv);
}
