/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: thousands at once, adopted memory, odd sizes, bad arguments. */
#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

/* A range that overlaps a region anywhere is refused, and nothing is changed. */
static void test_adopt_overlap(void **state)
{
	enum { PAGES = 4096 };
	struct leap *leap = session("local=8M", NULL),
		    *other = session("local=8M", "publish=off", NULL);
	char *p = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct leap_region *r, *again;

	range_write(p, PAGES, 5);
	assert_ok(leap_region_adopt(leap, p + PAGES / 2 * PAGE, PAGES / 4 * PAGE, &r));
	for (struct leap *by = leap; by; by = by == leap ? other : NULL) {
		assert_int_equal(leap_region_adopt(by, p, PAGES * PAGE, &again), -EBUSY);
		assert_non_null(strstr(leap_last_error(), "managed already"));
		assert_int_equal(leap_region_adopt(by, p, (PAGES / 2 + 1) * PAGE, &again), -EBUSY);
		assert_int_equal(leap_region_adopt(by, p + (PAGES * 3 / 4 - 1) * PAGE,
						   PAGES / 4 * PAGE, &again),
				 -EBUSY);
	}
	range_check(p, PAGES, 5);
	/* its neighbours are free */
	assert_ok(leap_set(leap, "local", "64M"));
	assert_ok(leap_region_adopt(leap, p, PAGES / 2 * PAGE, &again));
	assert_ok(leap_region_destroy(again));
	range_check(p, PAGES, 5);
	assert_ok(leap_region_destroy(r));
	assert_ok(leap_close(other));
	assert_ok(leap_close(leap));
	range_check(p, PAGES, 5);
	munmap(p, PAGES * PAGE);
}

struct adoption {
	struct leap *leap;
	char *addr;
	pthread_barrier_t *start;
	int err;
};

static void *adopt_main(void *arg)
{
	struct adoption *a = arg;
	struct leap_region *r;

	pthread_barrier_wait(a->start);
	a->err = leap_region_adopt(a->leap, a->addr, 2 * MIB, &r);
	return NULL;
}

/* Of two threads that adopt the same memory one gets it. */
static void test_adopt_race(void **state)
{
	struct leap *leap = session("local=1G", NULL),
		    *other = session("local=1G", "publish=off", NULL);
	pthread_barrier_t start;

	pthread_barrier_init(&start, NULL, 2);
	for (int k = 0; k < 200; k++) {
		char *p = map(2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		struct adoption a[2] = {{leap, p, &start, 0}, {k % 2 ? other : leap, p, &start, 0}};
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, adopt_main, &a[1]), 0);
		adopt_main(&a[0]);
		pthread_join(thread, NULL);
		assert_true(!a[0].err != !a[1].err);
		assert_int_equal(a[0].err ? a[0].err : a[1].err, -EBUSY);
	}
	assert_ok(leap_close(other));
	assert_ok(leap_close(leap));
	pthread_barrier_destroy(&start);
}

/* What was pinned is pinned no more once its region has ended. */
static void test_pins_end(void **state)
{
	struct leap *leap = session("local=64M", NULL);
	char *p = map(8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct leap_region *r;

	range_write(p, 8 * MIB / PAGE, 1);
	for (int i = 0; i < 20; i++) {
		assert_ok(leap_region_adopt(leap, p, 8 * MIB, &r));
		assert_ok(leap_region_destroy(r));
		assert_ok(leap_region_create(leap, 8 * MIB, &r));
		assert_ok(leap_advise(leap, leap_region_addr(r), 8 * MIB, LEAP_ADVISE_PIN));
		assert_ok(leap_region_destroy(r));
	}
	range_check(p, 8 * MIB / PAGE, 1);
	assert_ok(leap_close(leap));
	munmap(p, 8 * MIB);
}

/* Adopted memory that the program unmapped meanwhile, in part, whole, or for a file, ends with the rest. */
static void adopted_and_unmapped(const char *frontend)
{
	enum { PAGES = 8192 };
	struct leap *leap = session("local=24M", frontend, NULL);
	char *p = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct leap_region *r, *gone;
	char *whole = map(MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE), *in_file;

	range_write(p, PAGES, 6);
	assert_ok(leap_region_adopt(leap, p, PAGES * PAGE, &r));
	assert_ok(leap_evict(leap, p, PAGES * PAGE));
	assert_ok(leap_region_adopt(leap, whole, MIB, &gone));
	munmap(p + 1024 * PAGE, 6000 * PAGE);
	munmap(whole, MIB);
	in_file = mmap(p + 2000 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0);
	assert_ptr_not_equal(in_file, MAP_FAILED);
	assert_ok(leap_region_destroy(r));
	range_check(p, 1024, 6);
	for (size_t page = 7024; page < PAGES; page++)
		assert_true(page_right(p, page, 6));
	assert_memory_equal(in_file, "\177ELF", 4); /* it is the program's as before */
	assert_ok(leap_close(leap));                /* and ends what is gone */
	close(file);
	munmap(p, PAGES * PAGE);
}

static void test_unmapped(void **state)
{
	adopted_and_unmapped("frontend=auto");
	adopted_and_unmapped("frontend=inline");
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
	assert_int_equal(leap_region_adopt(leap, rw, 0 - (uintptr_t)rw + PAGE, &r), -EINVAL);
	assert_int_equal(leap_region_adopt(leap, rw, SIZE_MAX & ~(PAGE - 1), &r), -EINVAL);
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
		cmocka_unit_test(test_adopt_overlap), cmocka_unit_test(test_adopt_race),
		cmocka_unit_test(test_pins_end),      cmocka_unit_test(test_unmapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
