/* SPDX-License-Identifier: Apache-2.0 */
/*
 * part.c - a session parts from donors: from those that are removed, and from those that died. Neither leaves descriptors behind,
 * nor takes a place of the 64 that live, and a donor that was removed knows that its client is gone.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <string.h>

#include "test/donor/harness.h"
#include "test/fault/must.h"

#define PAGE    4096ul
#define PAGES   4096ul /* 16 MiB */
#define GRAVE   (256 * PAGE)
#define REMOVED 80
#define DEAD    70
#define SOON_MS 30000

static char *base;

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static struct leap_stats stats(struct leap *leap)
{
	struct leap_stats st = {.size = sizeof(st)};

	MUST(leap_stats(leap, &st));
	return st;
}

static void fill(uint64_t round)
{
	for (size_t p = 0; p < PAGES; p++)
		page_fill(base + p * PAGE, p + round * PAGES);
}

static void check(uint64_t round)
{
	for (size_t p = 0; p < PAGES; p++)
		if (!page_is(base + p * PAGE, p + round * PAGES))
			FAIL("round %lu: page %zu is wrong", (unsigned long)round, p);
}

static void uri_of(const struct test_donor *donor, bool shm, char *uri, size_t size)
{
	if (shm)
		snprintf(uri, size, "shm:%s", donor->shm);
	else
		snprintf(uri, size, "tcp://127.0.0.1:%u", donor->port);
}

/* The same donor comes and goes, with pages on it. */
static void removed(struct leap *leap, bool shm)
{
	struct test_donor *donor = donor_start("--clients", "8", NULL);
	unsigned before = count_fds(), after;
	char uri[300];

	uri_of(donor, shm, uri, sizeof(uri));
	for (uint64_t round = 0; round < REMOVED / less() + 1; round++) {
		/* it has room for few clients: those that were there have left */
		MUST(leap_donor_add(leap, uri));
		if (round % 16 == 0) {
			fill(round);
			MUST(leap_evict(leap, base, PAGES * PAGE));
			check(round);
		}
		MUST(leap_donor_remove(leap, uri));
		if (round % 16 == 0)
			check(round);
	}
	after = count_fds();
	if (after > before || stats(leap).donors != 1)
		FAIL("%s: %u descriptors became %u, with %lu donors", uri, before, after,
		     (unsigned long)stats(leap).donors);
	donor_stop(donor);
}

static void wait_alive(struct leap *leap, uint64_t alive)
{
	for (int ms = 0; stats(leap).donors_alive != alive; ms += 10) {
		if (ms > SOON_MS * (int)slow())
			FAIL("there are not %lu living donors", (unsigned long)alive);
		sleep_ms(10);
	}
}

/* More donors die than a session may have. What they had is lost, and never touched. */
static void dead(struct leap *leap)
{
	unsigned before = 0, now;
	int ms = 0;

	for (unsigned i = 0; i < DEAD; i++) {
		struct test_donor *donor = donor_start("--memory", "64M", NULL);
		struct leap_region *region;
		char uri[300];

		uri_of(donor, false, uri, sizeof(uri));
		MUST(leap_donor_add(leap, uri));
		MUST(leap_region_create(leap, GRAVE, &region));
		memset(leap_region_addr(region), 1, GRAVE);
		MUST(leap_evict(leap, leap_region_addr(region), GRAVE));
		donor_free(donor);
		wait_alive(leap, 1);
		if (!i)
			before = count_fds();
	}
	while ((now = count_fds()) > before + 8 && ms < SOON_MS * (int)slow()) {
		sleep_ms(50); /* the last ones are parted from soon */
		ms += 50;
	}
	if (now > before + 8)
		FAIL("%u descriptors became %u", before, now);
}

/* "Full" and "lost" are different words, with different remedies. */
static void words(void)
{
	enum { BYTES = 80 << 20 };
	struct test_donor *donor = donor_start("--memory", "64M", NULL);
	struct leap_options *options = leap_options_new();
	struct leap_region *region;
	struct leap *leap;
	char uri[300];

	uri_of(donor, false, uri, sizeof(uri));
	MUST(leap_options_set(options, "local", "256M"));
	MUST(leap_options_set(options, "publish", "off"));
	MUST(leap_options_set(options, "rejoin", "off"));
	MUST(leap_options_set(options, "donors", uri));
	MUST(leap_open(options, &leap));
	leap_options_free(options);
	MUST(leap_region_create(leap, BYTES, &region));
	for (size_t p = 0; p < BYTES / PAGE; p++)
		page_fill((char *)leap_region_addr(region) + p * PAGE, p);
	if (leap_evict(leap, leap_region_addr(region), BYTES) != -ENOSPC ||
	    !strstr(leap_last_error(), "has lent all it has"))
		FAIL("a full donor: %s", leap_last_error());
	donor_free(donor);
	wait_alive(leap, 0);
	MUST(leap_region_create(leap, BYTES, &region));
	memset(leap_region_addr(region), 1, BYTES);
	if (leap_evict(leap, leap_region_addr(region), BYTES) != -ENOSPC ||
	    !strstr(leap_last_error(), "no donor lives any more (1 lost)"))
		FAIL("a lost donor: %s", leap_last_error());
	MUST(leap_close(leap));
}

int main(void)
{
	struct leap_options *options = leap_options_new();
	struct leap_region *region;
	struct leap *leap;

	alarm(200 * slow());
	MUST(leap_options_set(options, "local", "8M"));
	MUST(leap_options_set(options, "publish", "off"));
	MUST(leap_options_set(options, "rejoin", "off"));
	MUST(leap_options_set(options, "ceiling", "1000"));
	MUST(leap_open(options, &leap));
	leap_options_free(options);
	MUST(leap_region_create(leap, PAGES * PAGE, &region));
	base = leap_region_addr(region);
	removed(leap, false);
	removed(leap, true);
	dead(leap);
	words();
	fill(99);
	check(99);
	MUST(leap_close(leap));
	return 0;
}
