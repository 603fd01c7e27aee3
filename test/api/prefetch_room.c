/* SPDX-License-Identifier: Apache-2.0 */
/* Prefetches that were wrong take nothing for good from those that are right. */
#include "api.h"

#include <stdio.h>

#define PAGES  32768
#define WRONG  24576 /* of them for a policy to be wrong about */
#define STEP   16    /* nextn brings 8 behind each touch */
#define STAGED 1024  /* buffers of a shard */

struct way {
	const char *donors, *hits;
	unsigned percent; /* of a scan that is a hit, at least; markers do not see what comes late */
};

static struct leap *open_filled(const struct way *way, const char *local,
				struct leap_region **ret_region)
{
	char donors[64], hits[32];
	struct leap *leap;

	snprintf(donors, sizeof(donors), "donors=%s", way->donors);
	snprintf(hits, sizeof(hits), "hits=%s", way->hits);
	leap = session(local, "fault_threads=1", "prefetch=nextn", donors, hits, NULL);
	assert_ok(leap_region_create(leap, PAGES * PAGE, ret_region));
	range_write(leap_region_addr(*ret_region), PAGES, 1);
	return leap;
}

/* Pages that nobody comes for fill all buffers (or, with markers, one each of many windows): then a scan is to be prefetched as ever. */
static void scan_after_mistakes(const struct way *way)
{
	struct leap_region *region;
	struct leap *leap = open_filled(way, "local=120M", &region); /* there is room */
	const char *base = leap_region_addr(region);
	struct leap_stats wrong, right;

	assert_ok(leap_evict(leap, leap_region_addr(region), PAGES * PAGE));
	for (size_t p = 0; p < WRONG; p += STEP)
		assert_true(page_right(base, p, 1));
	wrong = stats(leap);
	assert_true(wrong.prefetched > 4 * STAGED);
	assert_int_equal(wrong.prefetch_hits, 0);
	for (size_t p = WRONG; p < PAGES; p++)
		assert_true(page_right(base, p, 1));
	right = stats(leap);
	if (right.prefetch_hits - wrong.prefetch_hits < (PAGES - WRONG) * way->percent / 100)
		fail_msg("%s, hits=%s: %lu of %d pages of a scan were prefetched", way->donors,
			 way->hits, (unsigned long)(right.prefetch_hits - wrong.prefetch_hits),
			 PAGES - WRONG);
	/* what was dropped came to nothing, and is still right */
	assert_true(right.staged_pages <= STAGED);
	range_check(base, PAGES, 1);
	assert_ok(leap_close(leap));
}

static void test_scan_after_mistakes(void **state)
{
	static const struct way ways[] = {
		{"loop:", "cache", 80},          {"faultysync::loop:", "cache", 80},
		{"faulty::loop:", "cache", 80},  {"loop:", "marker", 80},
		{"faulty::loop:", "marker", 50},
	};

	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		scan_after_mistakes(&ways[i]);
}

/* Memory is full of what was written last, and each touch brings seven pages that nobody wants: they may have half of it. */
static void mistakes_have_a_share(const char *donors, const char *hits)
{
	struct way way = {donors, hits, 0};
	struct leap_region *region;
	struct leap *leap = open_filled(&way, "local=32M", &region);
	const char *base = leap_region_addr(region);
	uint64_t most = 0, limit = stats(leap).limit_bytes / PAGE;

	for (size_t p = 0; p < WRONG; p += STEP) {
		struct leap_stats st;

		assert_true(page_right(base, p, 1));
		st = stats(leap);
		most = st.untouched_pages > most ? st.untouched_pages : most;
	}
	if (most > limit / 2 || !most)
		fail_msg("%s, hits=%s: %lu of %lu pages are untouched", donors, hits,
			 (unsigned long)most, (unsigned long)limit);
	assert_ok(leap_region_destroy(region));
	assert_int_equal(stats(leap).untouched_pages, 0);
	assert_ok(leap_close(leap));
}

static void test_mistakes_have_a_share(void **state)
{
	mistakes_have_a_share("loop:", "marker");
	mistakes_have_a_share("faulty::loop:", "marker");
	mistakes_have_a_share("loop:", "cache");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mistakes_have_a_share),
		cmocka_unit_test(test_scan_after_mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
