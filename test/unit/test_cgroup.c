/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/util/cgroup.c libleap/util/fmt.c */
/* Limits of memory cgroups, in trees that the test makes. */
#include "libleap/util/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#define MIB (1ull << 20)

static char root[64];

static int setup(void **state)
{
	strcpy(root, "/tmp/leap-cgroup-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static void put(const char *path, const char *text)
{
	char full[256];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(full, 0700);
		*at = '/';
	}
	f = fopen(full, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct cgroup_memory take(void)
{
	struct cgroup_memory m;

	cgroup_memory(root, &m);
	return m;
}

static void test_none(void **state)
{
	assert_true(take().limit == UINT64_MAX);
	put("/proc/self/cgroup", "0::/a\n");
	assert_true(take().limit == UINT64_MAX && take().available == UINT64_MAX);
	put("/sys/fs/cgroup/a/memory.max", "max\n");
	put("/sys/fs/cgroup/a/memory.current", "4096\n");
	assert_true(take().limit == UINT64_MAX && take().available == UINT64_MAX);
}

/* The smallest limit on the path, and the least that is left, which may be another group's. */
static void test_v2_nested(void **state)
{
	put("/proc/self/cgroup", "0::/a/b/c\n");
	put("/sys/fs/cgroup/a/memory.max", "1073741824\n");
	put("/sys/fs/cgroup/a/memory.current", "1048576000\n");
	put("/sys/fs/cgroup/a/b/memory.max", "268435456\n");
	put("/sys/fs/cgroup/a/b/memory.current", "1048576\n");
	put("/sys/fs/cgroup/a/b/c/memory.max", "536870912\n");
	put("/sys/fs/cgroup/a/b/c/memory.current", "0\n");
	assert_int_equal(take().limit, 256 * MIB);
	assert_string_equal(take().group, "/a/b");
	assert_int_equal(take().available, 24 * MIB);
}

/* In a namespace of its own a container is the root. */
static void test_v2_root(void **state)
{
	put("/proc/self/cgroup", "0::/\n");
	put("/sys/fs/cgroup/memory.max", "134217728\n");
	put("/sys/fs/cgroup/memory.current", "134221824\n");
	assert_int_equal(take().limit, 128 * MIB);
	assert_string_equal(take().group, "/");
	assert_int_equal(take().available, 0);
}

static void test_v1(void **state)
{
	put("/proc/self/cgroup", "12:cpu,cpuacct:/x\n5:hugetlb,memory:/x/y\n1:name=systemd:/x\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "67108864\n");
	put("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "33554432\n");
	put("/sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "9223372036854771712\n");
	assert_int_equal(take().limit, 64 * MIB);
	assert_int_equal(take().available, 32 * MIB);
	assert_string_equal(take().group, "/x");
	/* the machine's path, of which the container sees its own group alone */
	put("/proc/self/cgroup", "5:memory:/docker/0123\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "50331648\n");
	assert_int_equal(take().limit, 48 * MIB);
	put("/proc/self/cgroup", "5:memorial:/x\n");
	assert_true(take().limit == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v2_nested, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v2_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v1, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
