/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test.h - for small programs that are run as they are, and again under the preload library with little local memory:
 * `run` compares what they print. A program that finds something wrong says so and ends with 1.
 */
#ifndef TEST_PRELOAD_H
#define TEST_PRELOAD_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define MIB  ((size_t)1 << 20)

#define CHECK(what)                                                                           \
	do {                                                                                  \
		if (!(what)) {                                                                \
			fprintf(stderr, "%s:%d: not true: %s (errno %d, pid %d)\n", __FILE__, \
				__LINE__, #what, errno, (int)getpid());                       \
			_exit(1);                                                             \
		}                                                                             \
	} while (0)

static inline uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 29;
	return x * 0xbf58476d1ce4e5b9ull;
}

static inline uint64_t next_random(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ull;
	return mix(*state);
}

/* Bytes that depend on seed and place; half of the words compress. */
static inline void fill(void *p, size_t len, uint64_t seed)
{
	unsigned char *at = p;
	size_t i;

	for (i = 0; i + 8 <= len; i += 8) {
		uint64_t w = mix(seed + (i & 8 ? i >> 12 : i));

		memcpy(at + i, &w, 8);
	}
	for (; i < len; i++)
		at[i] = (unsigned char)(seed + i);
}

/* Offset of the first wrong byte's word, or -1. */
static inline long wrong_at(const void *p, size_t len, uint64_t seed)
{
	const unsigned char *at = p;
	size_t i;

	for (i = 0; i + 8 <= len; i += 8) {
		uint64_t w = mix(seed + (i & 8 ? i >> 12 : i));

		if (memcmp(at + i, &w, 8))
			return (long)i;
	}
	for (; i < len; i++)
		if (at[i] != (unsigned char)(seed + i))
			return (long)i;
	return -1;
}

static inline long nonzero_at(const void *p, size_t len)
{
	const unsigned char *at = p;

	for (size_t i = 0; i < len; i++)
		if (at[i])
			return (long)i;
	return -1;
}

#define CHECK_FILLED(p, len, seed) CHECK(wrong_at((p), (len), (seed)) == -1)
#define CHECK_ZERO(p, len)         CHECK(nonzero_at((p), (len)) == -1)

static inline void *map_anon(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* Uses so much other memory that everything else is pushed out. */
static inline void pressure(void)
{
	static char *room;
	const size_t len = 24 * MIB;

	if (!room)
		room = map_anon(len);
	for (size_t i = 0; i < len; i += PAGE)
		room[i] = (char)(i >> 12 | 1);
}

/* A call's result with the errno it left (printf() may see the two in any order). */
static inline void show(const char *what, long result)
{
	printf("%s: %ld %d\n", what, result, errno);
}

static inline int count_threads(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");
	int n = -1;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Threads: %d", &n);
	if (f)
		fclose(f);
	return n;
}

#endif
