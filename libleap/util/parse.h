/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.h - sizes, times, switches and numbers as people write them, and back.
 *
 * The whole text must match. Parsers return 0, -EINVAL (not of that form) or -ERANGE (too large
 * for the type) and write the result on success only; the sentence is the caller's. No malloc,
 * no locale.
 */
#ifndef LEAP_UTIL_PARSE_H
#define LEAP_UTIL_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "4096", "64K", "1.5G", "2TiB", either case: powers of 1024. */
int parse_size(const char *text, uint64_t *ret_bytes);
/* "50us", "1.5s" with one of ns, us, ms, s, min; only "0" needs no unit. */
int parse_time(const char *text, uint64_t *ret_ns);
/* on/off, yes/no, true/false, 1/0 in either case. */
int parse_bool(const char *text, bool *ret);
/* A whole decimal number with suffix ("" for none) behind it. */
int parse_u32(const char *text, const char *suffix, uint32_t *ret);
/* "0x1ff". */
int parse_hex(const char *text, uint64_t *ret);

/* Exact texts that parse back to the value, in the largest unit that divides it: "1536M",
 * "50us". They return the length. */
size_t format_size(uint64_t bytes, char *buf, size_t size);
size_t format_time(uint64_t ns, char *buf, size_t size);

#endif
