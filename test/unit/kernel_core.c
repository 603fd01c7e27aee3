/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_core.c - the majority core as a kernel compiles it: with the flags of Linux 6.1's build, warnings as errors, and
 * no header but linux/types.h. Each entry is called, so that code is made of all of it; the object is checked
 * for undefined symbols (kernel_core.sh). The parts in WITH_... must not get through.
 */
#include "libleap/prefetch/majority_core.h"

void core_init(struct majority *m, uint32_t size, uint32_t split, uint32_t window_max, bool both);
void core_miss(struct majority *m, uint64_t page, struct majority_window *ret_window);
void core_hit(struct majority *m, uint64_t page);
void core_marker(struct majority *m, uint64_t page, uint32_t credit, int64_t delta,
		 uint64_t frontier, struct majority_window *ret_window);
void core_unused(struct majority *m, uint32_t count);
int64_t core_vote(const struct majority *m, uint32_t w);

void core_init(struct majority *m, uint32_t size, uint32_t split, uint32_t window_max, bool both)
{
	majority_init(m, size, split, window_max, both);
}

void core_miss(struct majority *m, uint64_t page, struct majority_window *ret_window)
{
	majority_miss(m, page, ret_window);
}

void core_hit(struct majority *m, uint64_t page)
{
	majority_hit(m, page);
}

void core_marker(struct majority *m, uint64_t page, uint32_t credit, int64_t delta,
		 uint64_t frontier, struct majority_window *ret_window)
{
	majority_marker(m, page, credit, delta, frontier, ret_window);
}

void core_unused(struct majority *m, uint32_t count)
{
	majority_unused(m, count);
}

int64_t core_vote(const struct majority *m, uint32_t w)
{
	return majority_vote(m, w);
}

#ifdef WITH_LIBC
void *memset(void *to, int c, __SIZE_TYPE__ n);
void core_clear(struct majority *m, __SIZE_TYPE__ n);
void core_clear(struct majority *m, __SIZE_TYPE__ n)
{
	memset(m, 0, n);
}
#endif

#ifdef WITH_FLOAT
double core_share(const struct majority *m);
double core_share(const struct majority *m)
{
	return (double)m->hits / m->size;
}
#endif

#ifdef WITH_WARNING
#if NOT_DEFINED_ANYWHERE
#endif
#endif
