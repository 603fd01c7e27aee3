/* SPDX-License-Identifier: Apache-2.0 */
/*
 * consumer.c - a program of a user's: C and C++, built against an installed Leap by its pkg-config file and its
 * CMake package. Fills a region with twice the local limit, reads it back and looks at the figures.
 */
#include <leap.h>
#include <stdio.h>
#include <string.h>

#define REGION_BYTES ((size_t)32 << 20)
#define WORDS        (REGION_BYTES / sizeof(uint64_t))

static int fail(const char *what)
{
	printf("%s: %s\n", what, leap_last_error());
	return 1;
}

static int use(struct leap *leap)
{
	struct leap_region *region;
	struct leap_stats stats;
	uint64_t *words;
	size_t i;

	if (leap_region_create(leap, REGION_BYTES, &region))
		return fail("region");
	words = (uint64_t *)leap_region_addr(region);
	for (i = 0; i < WORDS; i++)
		words[i] = i * 2654435761u;
	for (i = 0; i < WORDS; i++) {
		if (words[i] != i * 2654435761u) {
			printf("word %zu is wrong\n", i);
			return 1;
		}
	}
	stats.size = sizeof(stats);
	if (leap_stats(leap, &stats))
		return fail("stats");
	if (!stats.remote_pages || !stats.faults_remote) {
		printf("nothing was remote\n");
		return 1;
	}
	if (leap_region_destroy(region))
		return fail("destroy");
	return 0;
}

int main(void)
{
	struct leap_options *options = leap_options_new();
	struct leap *leap;
	int failed;

	if (!options || leap_options_set(options, "local", "16M") ||
	    leap_options_set(options, "donors", "loop:") ||
	    leap_options_set(options, "publish", "off"))
		return fail("options");
	if (leap_open(options, &leap))
		return fail("open");
	leap_options_free(options);
	failed = use(leap);
	if (leap_close(leap))
		return fail("close");
	if (strcmp(leap_version(), LEAP_VERSION_STRING)) {
		printf("library %s, header %s\n", leap_version(), LEAP_VERSION_STRING);
		return 1;
	}
	if (!failed)
		printf("leap %s works\n", leap_version());
	return failed;
}
