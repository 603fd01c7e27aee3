/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c - see cgroup.h. */
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "libleap/util/cgroup.h"
#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

#define PATH_BYTES 512
#define NO_LIMIT   (1ull << 62) /* version 1 writes a number as large as this */

/* Where a hierarchy is mounted, and how its files are called. */
struct hierarchy {
	const char *mount, *limit, *used;
};

static const struct hierarchy v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
				    "memory.usage_in_bytes"};
static const struct hierarchy v2 = {"/sys/fs/cgroup", "memory.max", "memory.current"};

static bool read_text(const char *path, char *text, size_t size)
{
	long fd = sys_ret(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
	long n = fd < 0 ? -1 : sys_ret(syscall(SYS_read, (int)fd, text, size - 1));

	if (fd >= 0)
		sys_close((int)fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* UINT64_MAX where there is no number. */
static uint64_t read_number(const char *root, const char *mount, const char *group,
			    const char *name)
{
	char path[PATH_BYTES], text[32], *at = text;
	uint64_t n = 0;

	if (fmt_print(path, sizeof(path), "%s%s%s/%s", root, mount, group, name) + 1 >=
		    sizeof(path) ||
	    !read_text(path, text, sizeof(text)) || *at < '0' || *at > '9')
		return UINT64_MAX;
	for (; *at >= '0' && *at <= '9'; at++)
		n = n * 10 + (uint64_t)(*at - '0');
	return n < NO_LIMIT ? n : UINT64_MAX;
}

/* One group. */
static void look(const char *root, const struct hierarchy *h, const char *group,
		 struct cgroup_memory *m)
{
	uint64_t limit = read_number(root, h->mount, group, h->limit);
	uint64_t used = read_number(root, h->mount, group, h->used), left;

	if (limit == UINT64_MAX)
		return;
	left = used == UINT64_MAX ? limit : used < limit ? limit - used : 0;
	if (left < m->available)
		m->available = left;
	if (limit >= m->limit)
		return;
	m->limit = limit;
	fmt_print(m->group, sizeof(m->group), "%s", *group ? group : "/");
}

/* The group and all above it. */
static void walk(const char *root, const struct hierarchy *h, char *group, struct cgroup_memory *m)
{
	char *cut;

	if (!strcmp(group, "/"))
		*group = '\0';
	for (;;) {
		look(root, h, group, m);
		cut = strrchr(group, '/');
		if (!cut)
			return;
		*cut = '\0';
	}
}

static bool names_memory(const char *controllers)
{
	for (const char *at = controllers; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, "memory", 6) && (at[6] == ',' || !at[6]))
			return true;
	}
	return false;
}

void cgroup_memory(const char *root, struct cgroup_memory *ret_memory)
{
	struct cgroup_memory m = {.limit = UINT64_MAX, .available = UINT64_MAX};
	char path[PATH_BYTES], text[4096], *line, *next;

	fmt_print(path, sizeof(path), "%s/proc/self/cgroup", root);
	read_text(path, text, sizeof(text));
	/* "NUMBER:CONTROLLERS:GROUP" */
	for (line = text; *line; line = next) {
		char *controllers, *group, *end = strchr(line, '\n');

		next = end ? end + 1 : line + strlen(line);
		if (end)
			*end = '\0';
		controllers = strchr(line, ':');
		group = controllers ? strchr(++controllers, ':') : NULL;
		if (!group)
			continue;
		*group++ = '\0';
		if (!*controllers)
			walk(root, &v2, group, &m);
		else if (names_memory(controllers))
			walk(root, &v1, group, &m);
	}
	*ret_memory = m;
}
