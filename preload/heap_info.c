/* SPDX-License-Identifier: Apache-2.0 */
/* heap_info.c - what programs ask of an allocator beside memory: figures, tuning, giving memory back. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include "preload/heap.h"
#include "preload/preload.h"

static size_t figure(const char *name)
{
	size_t value = 0, len = sizeof(value);

	leap_je_mallctl(name, &value, &len, NULL, 0);
	return value;
}

/* jemalloc's figures are those of its last epoch. */
static void refresh(void)
{
	uint64_t epoch = 1;
	size_t len = sizeof(epoch);

	leap_je_mallctl("epoch", &epoch, &len, &epoch, len);
}

/* All unused pages go back at once; 1 if there were any. */
EXPORT int malloc_trim(size_t pad)
{
	size_t before;

	refresh();
	before = figure("stats.resident");
	leap_je_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	leap_je_mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* 4096: all arenas */
	refresh();
	return figure("stats.resident") < before;
}

/* The parameters are those of another allocator: accepted, without effect. */
EXPORT int mallopt(int param, int value)
{
	return 1;
}

EXPORT struct mallinfo2 mallinfo2(void)
{
	struct mallinfo2 info = {0};
	size_t active;

	refresh();
	active = figure("stats.active");
	info.arena = active;
	info.uordblks = figure("stats.allocated");
	info.fordblks = active > info.uordblks ? active - info.uordblks : 0;
	info.keepcost = info.fordblks;
	return info;
}

EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 wide = mallinfo2();

	return (struct mallinfo){
		.arena = (int)wide.arena,
		.uordblks = (int)wide.uordblks,
		.fordblks = (int)wide.fordblks,
		.keepcost = (int)wide.keepcost,
	};
}

EXPORT void malloc_stats(void)
{
	leap_je_malloc_stats_print(NULL, NULL, "gmdablxeh"); /* the totals only */
}

EXPORT int malloc_info(int options, FILE *stream)
{
	struct mallinfo2 info;

	if (options) {
		errno = EINVAL;
		return -1;
	}
	info = mallinfo2();
	fprintf(stream,
		"<malloc version=\"1\">\n<total type=\"rest\" count=\"0\" size=\"%zu\"/>\n"
		"<system type=\"current\" size=\"%zu\"/>\n</malloc>\n",
		info.fordblks, info.arena);
	return 0;
}
