/* SPDX-License-Identifier: Apache-2.0 */
/* hash_avx512.c - XXH3 compiled for AVX-512 (see CMakeLists.txt); same values as the portable one. */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "libleap/util/hash.h"
#include "libleap/util/sys.h"

uint64_t hash_page_avx512(const void *page)
{
	return XXH3_64bits(page, LEAP_PAGE_BYTES);
}
