/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/util/mem.c libleap/lock.c libleap/log.c libleap/util/fmt.c */
/*
 * The pager's own memory: sizes, zeroing, ownership, limits of the process, injected failures,
 * fork and threads.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "libleap/util/mem.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* their shadow is larger than any limit of address space */
#else
#define SANITIZED 0
#endif

#define THREADS 8
#define ROUNDS  20000

static bool all_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i])
			return false;
	}
	return true;
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = {0,     1,      31,     32,      33,      64,      100,
				       4095,  4096,   4097,   9000,    32767,   32768,   32769,
				       40000, 262144, 262145, 1000000, 4 << 20, 33 << 20};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int again = 0; again < 3; again++) {
			char *p = mem_alloc(sizes[i]);

			assert_non_null(p);
			assert_int_equal((uintptr_t)p % 16, 0);
			assert_true(mem_owns(p));
			assert_true(mem_owns(p + sizes[i]) || sizes[i] == 0);
			assert_true(mem_usable(p) >= sizes[i]);
			assert_true(all_zero(p, mem_usable(p)));
			memset(p, 0xa5, mem_usable(p));
			mem_free(p);
		}
	}
	mem_free(NULL);
}

static void test_not_owned(void **state)
{
	char *heap = malloc(100), on_stack;
	char *map = mem_map(4096), *sparse = mem_map_sparse(1 << 20);

	assert_false(mem_owns(NULL));
	assert_false(mem_owns(heap));
	assert_false(mem_owns(&on_stack));
	assert_false(mem_owns((void *)test_not_owned));
	assert_false(mem_owns(map));
	assert_false(mem_owns(sparse));
	assert_false(mem_owns((void *)UINTPTR_MAX));
	free(heap);
	mem_unmap(map, 4096);
	mem_unmap(sparse, 1 << 20);
}

/* Objects that live together do not overlap, whatever the order of allocating and freeing. */
static void test_random_objects(void **state)
{
	enum { OBJECTS = 500 };
	static struct {
		unsigned char *p;
		size_t bytes;
		unsigned char mark;
	} object[OBJECTS];

	srand(7);
	for (int i = 0; i < 60000; i++) {
		int k = rand() % OBJECTS;

		if (object[k].p) {
			assert_int_equal(object[k].p[0], object[k].mark);
			assert_int_equal(object[k].p[object[k].bytes / 2], object[k].mark);
			assert_int_equal(object[k].p[object[k].bytes - 1], object[k].mark);
			mem_free(object[k].p);
			object[k].p = NULL;
			continue;
		}
		object[k].bytes = (size_t)(rand() % 100 ? rand() % (1 << (rand() % 15)) + 1
							: rand() % 600000 + 1);
		object[k].p = mem_alloc(object[k].bytes);
		object[k].mark = (unsigned char)(rand() % 255 + 1);
		assert_non_null(object[k].p);
		assert_true(all_zero((char *)object[k].p, object[k].bytes));
		memset(object[k].p, object[k].mark, object[k].bytes);
	}
	for (int k = 0; k < OBJECTS; k++)
		mem_free(object[k].p);
}

static void test_memory_is_reused(void **state)
{
	size_t before;

	mem_free(mem_alloc(200));
	mem_free(mem_alloc(3 << 20));
	before = mem_mapped_bytes();
	for (int i = 0; i < 20000; i++) {
		void *small = mem_alloc(200), *large = i % 100 ? NULL : mem_alloc(3 << 20);

		assert_non_null(small);
		mem_free(small);
		mem_free(large);
	}
	assert_int_equal(mem_mapped_bytes(), before);
}

static void test_strdup(void **state)
{
	char *copy = mem_strdup("donor:9400");

	assert_string_equal(copy, "donor:9400");
	mem_free(copy);
	assert_null(mem_strdup(NULL));
	copy = mem_strdup("");
	assert_string_equal(copy, "");
	mem_free(copy);
}

static void test_maps_and_count(void **state)
{
	size_t before = mem_mapped_bytes(), with_note;
	char *p = mem_map(5000), *table;
	void *object;

	assert_non_null(p);
	assert_true(all_zero(p, 8192));
	p[8191] = 1;
	assert_int_equal(mem_mapped_bytes(), before + 8192);
	mem_unmap(p, 5000);
	assert_int_equal(mem_mapped_bytes(), before);
	mem_unmap(mem_map_sparse(4096),
		  4096); /* the note of a sparse map may need a new object, once */
	with_note = mem_mapped_bytes();
	assert_true(with_note - before <= 4096);
	table = mem_map_sparse((size_t)64 << 30);
	assert_non_null(table);
	table[(size_t)40 << 30] = 1;
	assert_int_equal(table[(size_t)50 << 30], 0);
	assert_int_equal(mem_mapped_bytes(), with_note);
	mem_unmap(table, (size_t)64 << 30);
	assert_int_equal(mem_mapped_bytes(), with_note);
	object = mem_alloc(100000);
	assert_int_equal(mem_mapped_bytes(), with_note + 102400);
	mem_free(object);
	assert_int_equal(mem_mapped_bytes(), with_note);
	mem_unmap(NULL, 4096);
}

static void test_impossible_sizes(void **state)
{
	errno = EXDEV;
	assert_null(mem_alloc(SIZE_MAX));
	assert_null(mem_alloc(SIZE_MAX - 100));
	assert_null(mem_alloc((size_t)5 << 30));
	assert_null(mem_map(SIZE_MAX));
	assert_null(mem_map((size_t)1 << 50));
	assert_null(mem_map_sparse((size_t)1 << 50));
	assert_null(mem_map(0));
	assert_int_equal(errno, EXDEV);
}

static void test_fail_nth(void **state)
{
	void *p;

	mem_fail_nth(3, false);
	p = mem_alloc(10);
	assert_non_null(p);
	mem_free(p);
	p = mem_map(10);
	assert_non_null(p);
	mem_unmap(p, 10);
	assert_null(mem_map_sparse(10));
	p = mem_strdup("x");
	assert_non_null(p);
	mem_free(p);
	assert_int_equal(mem_fail_nth(2, true), 4);
	p = mem_alloc(10);
	assert_non_null(p);
	mem_free(p);
	assert_null(mem_alloc(10));
	assert_null(mem_map(10));
	assert_null(mem_map_sparse(10));
	assert_null(mem_strdup("x"));
	assert_int_equal(mem_fail_nth(0, false), 5);
	p = mem_alloc(10);
	assert_non_null(p);
	mem_free(p);
	assert_int_equal(mem_fail_nth(0, false), 1);
}

/* A child process: in it, the state of the allocator is fresh only if it was never used before.
 * */
static int in_child(int (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* 1 GiB of address space: the reservation must come out smaller, and still serve. Runs first. */
static int small_address_space(void)
{
	struct rlimit limit = {1 << 30, 1 << 30};
	unsigned n = 0;
	char *p;

	if (mem_owns(&limit) || setrlimit(RLIMIT_AS, &limit))
		return 1;
	errno = EXDEV;
	p = mem_alloc(100);
	if (!p || errno != EXDEV)
		return 2;
	p[99] = 1;
	while (mem_alloc(8 << 20))
		n++;
	if (n < 8 || n > 128 || errno != EXDEV)
		return 3;
	return mem_alloc(100) ? 0 : 4;
}

static void test_small_address_space(void **state)
{
	if (SANITIZED)
		skip();
	assert_int_equal(in_child(small_address_space), 0);
}

/* With mlockall() pages cannot be dropped in place: large objects must be zero again all the
 * same. */
static int locked_memory(void)
{
	char *p;

	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		return 0;
	for (int i = 0; i < 4; i++) {
		p = mem_alloc(300000);
		if (!p || !all_zero(p, 300000))
			return 1;
		memset(p, 1, 300000);
		mem_free(p);
	}
	return 0;
}

/* Does the kernel say that this mapping gets no huge pages? */
static bool without_huge_pages(const void *addr)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[512];
	bool inside = false, without = false;
	unsigned long from, to;

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (uintptr_t)addr >= from && (uintptr_t)addr < to;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			without = strstr(line, " nh") != NULL;
	}
	fclose(smaps);
	return without;
}

/* A table of which a word is touched here and there must not become whole because huge pages are always used. */
static void test_sparse_stays_sparse(void **state)
{
	char *map = mem_map_sparse((size_t)1 << 30);

	assert_non_null(map);
	if (!access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK))
		assert_true(without_huge_pages(map));
	mem_unmap(map, (size_t)1 << 30);
}

static void test_locked_memory(void **state)
{
	if (SANITIZED)
		skip();
	assert_int_equal(in_child(locked_memory), 0);
}

static void *churn(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	unsigned char *mine[16] = {0};

	for (int i = 0; i < ROUNDS; i++) {
		int k = rand_r(&seed) % 16;
		size_t bytes = (size_t)1 << (rand_r(&seed) % 12);

		if (mine[k]) {
			if (mine[k][0] != (unsigned char)(uintptr_t)arg)
				return (void *)1;
			mem_free(mine[k]);
			mine[k] = NULL;
			continue;
		}
		if (i % 500 == 0) {
			void *map = i % 1000 ? mem_map(8192) : mem_map_sparse(1 << 20);

			mem_unmap(map, i % 1000 ? 8192 : 1 << 20);
			bytes = 100000;
		}
		mine[k] = mem_alloc(bytes);
		if (!mine[k] || mine[k][0] || mine[k][bytes - 1])
			return (void *)2;
		mine[k][0] = (unsigned char)(uintptr_t)arg;
		mine[k][bytes - 1] = (unsigned char)(uintptr_t)arg;
	}
	for (int k = 0; k < 16; k++)
		mem_free(mine[k]);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t thread[THREADS];
	void *wrong;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&thread[i], NULL, churn, (void *)(uintptr_t)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &wrong);
		assert_null(wrong);
	}
}

static int allocate_in_child(void)
{
	char *p = mem_alloc(64);

	return p && all_zero(p, 64) ? 0 : 1;
}

static int after_fork(void)
{
	mem_fork_child();
	return allocate_in_child();
}

/* The parent holds the lock over fork(); both can allocate afterwards. */
static void test_fork(void **state)
{
	void *p = mem_alloc(64);

	mem_free(p);
	mem_fork_lock();
	{
		int status;
		pid_t pid = fork();

		if (pid == 0)
			_exit(after_fork());
		mem_fork_unlock();
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	assert_int_equal(allocate_in_child(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_address_space), /* before the first use */
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_not_owned),
		cmocka_unit_test(test_random_objects),
		cmocka_unit_test(test_memory_is_reused),
		cmocka_unit_test(test_strdup),
		cmocka_unit_test(test_maps_and_count),
		cmocka_unit_test(test_impossible_sizes),
		cmocka_unit_test(test_fail_nth),
		cmocka_unit_test(test_locked_memory),
		cmocka_unit_test(test_sparse_stays_sparse),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_fork),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
