/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: thousands at once, adopted memory, odd sizes, bad arguments. */
#include "api.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *map(size_t bytes, int prot, int flags)
{
	void *p = mmap(NULL, bytes, prot, flags | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* 4,000 regions of 1 MiB, a few pages of each in use, far over the limit. */
static void test_many(void **state)
{
	enum { N = 4000, USED = 4 };
	struct leap *leap = session("local=16M", NULL);
	struct leap_region **r = calloc(N, sizeof(struct leap_region *));

	for (size_t i = 0; i < N; i++) {
		assert_ok(leap_region_create(leap, MIB, &r[i]));
		assert_int_equal(leap_region_bytes(r[i]), MIB);
		range_write(leap_region_addr(r[i]), USED, i);
	}
	assert_int_equal(stats(leap).regions, N);
	assert_true(stats(leap).evicted > 0);
	for (size_t i = 0; i < N; i++)
		range_check(leap_region_addr(r[i]), USED, i);
	for (size_t i = 0; i < N; i += 2)
		assert_ok(leap_region_destroy(r[i]));
	assert_int_equal(stats(leap).regions, N / 2);
	for (size_t i = 1; i < N; i += 2)
		range_check(leap_region_addr(r[i]), USED, i);
	assert_ok(leap_close(leap)); /* destroys the rest */
	free(r);
}

/* Local memory that the pager takes for many small regions that were all read once. */
static uint64_t overhead(const char *prefetch)
{
	enum { N = 500, PAGES = 256 };
	struct leap *leap = session("local=64M", prefetch, NULL);
	struct leap_region *r[N];
	uint64_t bytes;

	for (size_t i = 0; i < N; i++) {
		assert_ok(leap_region_create(leap, PAGES * PAGE, &r[i]));
		range_write(leap_region_addr(r[i]), PAGES, i);
	}
	for (size_t i = 0; i < N; i++)
		range_check(leap_region_addr(r[i]), PAGES, i);
	bytes = stats(leap).overhead_bytes;
	assert_ok(leap_close(leap));
	return bytes;
}

/* What is remembered of accesses is in proportion to the pages, not to the regions. */
static void test_many_histories(void **state)
{
	uint64_t none = overhead("prefetch=none");

	assert_in_range(overhead("prefetch=adaptive"), none, none + MIB);
	assert_in_range(overhead("prefetch=majority"), none, none + MIB);
}

/* A region that ends in the middle of an extent, and one of a single page. */
static void test_odd_sizes(void **state)
{
	static const size_t pages[] = {1, 63, 64, 65, 1000, 4097};

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct leap *leap = session("local=8M", NULL);
		struct leap_region *r;
		char *base;

		assert_ok(leap_region_create(leap, pages[i] * PAGE - 5, &r));
		base = leap_region_addr(r);
		assert_int_equal(leap_region_bytes(r), pages[i] * PAGE);
		for (size_t p = 0; p < pages[i]; p++)
			assert_int_equal(base[p * PAGE], 0);
		range_write(base, pages[i], 7);
		assert_ok(leap_evict(leap, base, pages[i] * PAGE));
		assert_int_equal(stats(leap).local_pages, 0);
		range_check(base, pages[i], 7);
		assert_ok(leap_close(leap));
	}
}

/* Memory with content is taken over, evicted, and comes home whole. */
static void test_adopt(void **state)
{
	enum { PAGES = 8192 };
	struct leap *leap = session("local=8M", NULL);
	char *p = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct leap_region *r, *again;

	range_write(p, PAGES, 3);
	assert_ok(leap_region_adopt(leap, p, PAGES * PAGE, &r));
	assert_ptr_equal(leap_region_addr(r), p);
	assert_int_equal(leap_region_adopt(leap, p, PAGES * PAGE, &again), -EBUSY);
	range_check(p, PAGES, 3);
	range_write(p, PAGES, 4);
	for (int i = 0; i < 200 && stats(leap).remote_pages < PAGES / 2; i++)
		usleep(10000);
	assert_true(stats(leap).remote_pages >= PAGES / 2);
	/* home it does not fit: nothing changes */
	assert_int_equal(leap_region_destroy(r), -ENOMEM);
	range_check(p, PAGES, 4);
	assert_ok(leap_set(leap, "local", "128M"));
	assert_ok(leap_region_destroy(r));
	assert_int_equal(stats(leap).regions, 0);
	assert_ok(leap_close(leap));
	range_check(p, PAGES, 4); /* plain memory again */
	munmap(p, PAGES * PAGE);
}

static void test_bad_arguments(void **state)
{
	struct leap *leap = session("local=8M", NULL);
	char *rw = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *shared = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *hole = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct leap_region *r;

	munmap(hole, 4 * PAGE);
	assert_int_equal(leap_region_create(leap, 0, &r), -EINVAL);
	assert_non_null(strstr(leap_last_error(), "leap_region_create"));
	assert_true(leap_region_create(leap, SIZE_MAX - PAGE, &r) < 0);
	assert_true(leap_region_create(leap, (size_t)1 << 60, &r) < 0);
	assert_int_equal(leap_region_adopt(leap, rw + 1, PAGE, &r), -EINVAL);
	assert_int_equal(leap_region_adopt(leap, rw, PAGE + 1, &r), -EINVAL);
	assert_int_equal(leap_region_adopt(leap, rw, 0, &r), -EINVAL);
	assert_int_equal(leap_region_adopt(leap, hole, 4 * PAGE, &r), -EINVAL);
	assert_int_equal(leap_region_adopt(leap, shared, 4 * PAGE, &r), -EINVAL);
	shared[0] = 1; /* and it is as it was */
	assert_int_equal(stats(leap).regions, 0);
	assert_ok(leap_close(leap));
	munmap(rw, 4 * PAGE);
	munmap(shared, 4 * PAGE);
}

/* Two sessions in one process do not meet. */
static void test_two_sessions(void **state)
{
	struct leap *a = session("local=8M", NULL), *b = session("local=8M", "publish=off", NULL);
	struct leap_region *ra, *rb;

	assert_ok(leap_region_create(a, 32 * MIB, &ra));
	assert_ok(leap_region_create(b, 32 * MIB, &rb));
	range_write(leap_region_addr(ra), 8192, 1);
	range_write(leap_region_addr(rb), 8192, 2);
	range_check(leap_region_addr(ra), 8192, 1);
	assert_ok(leap_close(a));
	range_check(leap_region_addr(rb), 8192, 2);
	assert_ok(leap_close(b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),          cmocka_unit_test(test_many_histories),
		cmocka_unit_test(test_odd_sizes),     cmocka_unit_test(test_adopt),
		cmocka_unit_test(test_bad_arguments), cmocka_unit_test(test_two_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
