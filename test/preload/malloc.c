/* SPDX-License-Identifier: Apache-2.0 */
/* malloc.c - the malloc family: content, alignment, errors, memory that the C library hands out. */
#include <malloc.h>

#include "test.h"

static void sizes(void)
{
	static unsigned char *block[2000];
	uint64_t random = 1;
	static size_t len[2000];

	for (int i = 0; i < 2000; i++) {
		len[i] = next_random(&random) % (i % 50 ? 3000 : 300000);
		block[i] = malloc(len[i]);
		CHECK(block[i]);
		CHECK(malloc_usable_size(block[i]) >= len[i]);
		fill(block[i], len[i], (uint64_t)i);
	}
	pressure();
	for (int i = 0; i < 2000; i++)
		CHECK_FILLED(block[i], len[i], (uint64_t)i);
	for (int i = 0; i < 2000; i++) {
		size_t more = len[i] / 2 + next_random(&random) % 5000 + 1;

		block[i] = realloc(block[i], more);
		CHECK(block[i]);
		CHECK_FILLED(block[i], (len[i] < more ? len[i] : more) & ~7ul, (uint64_t)i);
		free(block[i]);
	}
	puts("sizes");
}

static void zeroed(void)
{
	for (int round = 0; round < 20; round++) {
		char *dirty = malloc(900000), *p;

		memset(dirty, 0xee, 900000);
		free(dirty);
		p = calloc(300, 3000);
		CHECK_ZERO(p, 900000);
		free(p);
		dirty = malloc(500);
		memset(dirty, 0xee, 500);
		free(dirty);
		p = calloc(5, 100);
		CHECK_ZERO(p, 500);
		free(p);
	}
	puts("zeroed");
}

static void aligned(void)
{
	for (size_t align = 1; align <= 4 * MIB; align *= 2) {
		void *p = memalign(align, 100), *q = aligned_alloc(align, align * 2), *r = NULL;
		int err = posix_memalign(&r, align, 1000);

		CHECK(p && q);
		CHECK((uintptr_t)p % align == 0 && (uintptr_t)q % align == 0);
		CHECK(err == (align < sizeof(void *) ? EINVAL : 0));
		CHECK(!r || (uintptr_t)r % align == 0);
		memset(p, 1, 100);
		memset(q, 2, align * 2);
		free(p);
		free(q);
		free(r);
	}
	volatile size_t odd = 24; /* rounded up */
	void *v = valloc(10), *w = pvalloc(10), *x = memalign(odd, 10);

	CHECK(v && (uintptr_t)v % PAGE == 0);
	CHECK(w && (uintptr_t)w % PAGE == 0 && malloc_usable_size(w) >= PAGE);
	CHECK(x && (uintptr_t)x % 32 == 0);
	free(v);
	free(w);
	free(x);
	puts("aligned");
}

static void failed(const char *what, const void *p)
{
	printf("%s %d %d\n", what, p == NULL, errno);
}

static void errors(void)
{
	volatile size_t huge = SIZE_MAX / 2 + 100;
	void *p = malloc(10), *q = NULL;

	errno = 0;
	failed("malloc", malloc(huge));
	errno = 0;
	failed("calloc", calloc(huge, 4));
	errno = 0;
	failed("realloc", realloc(p, huge));
	errno = 0;
	failed("reallocarray", reallocarray(p, huge, 4));
	printf("posix_memalign %d %d %d\n", posix_memalign(&q, 24, 10), posix_memalign(&q, 0, 10),
	       posix_memalign(&q, 64, huge));
	errno = 0;
	failed("pvalloc", pvalloc(SIZE_MAX - 10));
	memset(p, 3, 10); /* realloc() that failed leaves the block */
	printf("usable of NULL %zu\n", malloc_usable_size(NULL));
	errno = 77;
	free(p);
	free(NULL);
	printf("free keeps errno %d\n", errno);
	p = malloc(0); /* what is tested. NOLINT(clang-analyzer-optin.portability.UnixAPI) */
	q = malloc(0); /* NOLINT(clang-analyzer-optin.portability.UnixAPI) */
	printf("empty blocks differ %d\n", p && q && p != q);
	free(p);
	free(q);
	p = realloc(malloc(10), 0);
	printf("realloc to 0 frees %d\n", p == NULL);
}

/* Blocks that the C library allocates and the program frees. */
static void from_library(void)
{
	char *line = NULL, *text, *copy = strdup("a copy"), *part = strndup("a part", 3);
	FILE *f = fopen("/proc/self/maps", "r"), *mem;
	size_t cap = 0, len = 0;

	CHECK(getline(&line, &cap, f) > 0);
	fclose(f);
	CHECK(asprintf(&text, "%s %s %d", copy, part, 42) == 13);
	puts(text);
	free(line);
	free(copy);
	free(part);
	free(text);
	mem = open_memstream(&text, &len);
	for (int i = 0; i < 100000; i++)
		fprintf(mem, "%d ", i);
	fclose(mem);
	pressure();
	printf("memstream %zu %.10s\n", len, text);
	free(text);
	text = realpath("/proc/../proc", NULL);
	puts(text);
	free(text);
}

static void figures(void)
{
	struct mallinfo2 before = mallinfo2(), after;
	void *p = malloc(30 * MIB);

	memset(p, 1, 30 * MIB);
	after = mallinfo2();
	printf("mallinfo sees it %d\n",
	       after.uordblks + after.hblkhd >= before.uordblks + before.hblkhd + 30 * MIB);
	free(p);
	malloc_trim(0);
	printf("mallopt %d\n", mallopt(M_MMAP_THRESHOLD, 1 << 20));
}

int main(void)
{
	sizes();
	zeroed();
	aligned();
	errors();
	from_library();
	figures();
	return 0;
}
