/* SPDX-License-Identifier: Apache-2.0 */
/* hash.c - choosing the hash variant; the portable one. */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "libleap/util/hash.h"
#include "libleap/util/sys.h"

uint64_t (*hash_page)(const void *page) = hash_page_generic;
uint64_t hash_of_zero;

static const uint64_t zero_page[LEAP_PAGE_BYTES / 8] __attribute__((aligned(64)));

uint64_t hash_page_generic(const void *page)
{
	return XXH3_64bits(page, LEAP_PAGE_BYTES);
}

bool hash_page_is_zero(const void *page)
{
	const uint64_t *w = page;

	for (size_t i = 0; i < LEAP_PAGE_BYTES / 8; i += 8)
		if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] |
		    w[i + 7])
			return false;
	return true;
}

void hash_init(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f"))
		hash_page = hash_page_avx512;
	else if (__builtin_cpu_supports("avx2"))
		hash_page = hash_page_avx2;
#endif
	hash_of_zero = hash_page(zero_page);
}
