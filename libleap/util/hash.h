/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - the checksum of a page: XXH3, 64 bits. Dirty detection and integrity check at once.
 */
#ifndef LEAP_UTIL_HASH_H
#define LEAP_UTIL_HASH_H

#include <stdbool.h>
#include <stdint.h>

/* Hash of 4096 bytes; the fastest variant this CPU has. */
extern uint64_t (*hash_page)(const void *page);
/* True if all 4096 bytes are zero. */
bool hash_page_is_zero(const void *page);
/* Hash of a page of zeroes. */
extern uint64_t hash_of_zero;
/* Chooses the variant; call once before use. */
void hash_init(void);

uint64_t hash_page_generic(const void *page);
uint64_t hash_page_avx2(const void *page);
uint64_t hash_page_avx512(const void *page);

#endif
