/* SPDX-License-Identifier: Apache-2.0 */
/* remap.c - mremap(): growing, shrinking, moving, to a fixed place, leaving the old range, of other mappings. */
#include <sys/mman.h>

#include "test.h"

static int result(void *p)
{
	return p == MAP_FAILED ? errno : 0;
}

static void chain(void)
{
	size_t len = 20 * PAGE;
	char *p = map_anon(len), *block;

	fill(p, len, 1);
	while (len < 6000 * PAGE) {
		size_t more = (len + len / 3 + PAGE) & ~(PAGE - 1);

		block = map_anon(20 * PAGE); /* in the way of growing in place, now and then */
		p = mremap(p, len, more, MREMAP_MAYMOVE);
		CHECK(p != MAP_FAILED);
		CHECK_FILLED(p, len, 1);
		CHECK_ZERO(p + len, more - len);
		fill(p, more, 1);
		len = more;
		CHECK(!munmap(block, 20 * PAGE));
	}
	pressure();
	while (len > 20 * PAGE) {
		size_t less = (len / 2) & ~(PAGE - 1);
		char *q = mremap(p, len, less, 0);

		CHECK(q == p);
		CHECK_FILLED(p, less, 1);
		len = less;
	}
	CHECK(!munmap(p, len));
	puts("chain");
}

static void fixed(void)
{
	char *p = map_anon(64 * PAGE), *to = map_anon(256 * PAGE), *q;

	fill(p, 64 * PAGE, 2);
	fill(to, 256 * PAGE, 3);
	pressure();
	q = mremap(p, 64 * PAGE, 100 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + 10 * PAGE);
	CHECK(q == to + 10 * PAGE);
	CHECK_FILLED(q, 64 * PAGE, 2);
	CHECK_ZERO(q + 64 * PAGE, 36 * PAGE);
	CHECK_FILLED(to, 10 * PAGE, 3);
	/* to an address far away */
	q = mremap(q, 100 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x500000000000);
	CHECK(q == (char *)0x500000000000);
	CHECK_FILLED(q, 64 * PAGE, 2);
	/* and back */
	p = mremap(q, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + 100 * PAGE);
	CHECK(p == to + 100 * PAGE);
	CHECK_FILLED(p, 64 * PAGE, 2);
	pressure();
	CHECK_FILLED(p, 64 * PAGE, 2);
	CHECK(!munmap(to, 256 * PAGE));
	q = map_anon(256 * PAGE);
	CHECK_ZERO(q, 256 * PAGE);
	CHECK(!munmap(q, 256 * PAGE));
	puts("fixed");
}

static void dont_unmap(void)
{
	char *p = map_anon(64 * PAGE), *q;

	fill(p, 64 * PAGE, 4);
	pressure();
	q = mremap(p, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	CHECK(q != MAP_FAILED && q != p);
	CHECK_FILLED(q, 64 * PAGE, 4);
	CHECK_ZERO(p, 64 * PAGE);
	fill(p, 64 * PAGE, 5);
	pressure();
	CHECK_FILLED(p, 64 * PAGE, 5);
	CHECK_FILLED(q, 64 * PAGE, 4);
	CHECK(!munmap(p, 64 * PAGE));
	CHECK(!munmap(q, 64 * PAGE));
	puts("dont unmap");
}

/* A shared mapping in the middle of managed memory moves out, and in. */
static void others(void)
{
	char *p = map_anon(256 * PAGE), *in = p + 64 * PAGE, *q;

	CHECK(mmap(in, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) == in);
	fill(in, 64 * PAGE, 6);
	q = mremap(in, 64 * PAGE, 32 * PAGE, 0);
	CHECK(q == in);
	q = mremap(in, 32 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x500000000000);
	CHECK(q == (char *)0x500000000000);
	CHECK_FILLED(q, 32 * PAGE, 6);
	q = mremap(q, 32 * PAGE, 32 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 20 * PAGE);
	CHECK(q == p + 20 * PAGE);
	CHECK_FILLED(q, 32 * PAGE, 6);
	CHECK(mmap(p, 256 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) == p);
	CHECK_ZERO(p, 256 * PAGE);
	fill(p, 256 * PAGE, 7);
	pressure();
	CHECK_FILLED(p, 256 * PAGE, 7);
	CHECK(!munmap(p, 256 * PAGE));
	puts("others");
}

static void errors(void)
{
	char *p = map_anon(64 * PAGE), *q = map_anon(64 * PAGE);

	fill(p, 64 * PAGE, 8);
	printf("no length %d\n", result(mremap(p, 64 * PAGE, 0, MREMAP_MAYMOVE)));
	printf("old length 0 %d\n", result(mremap(p, 0, 64 * PAGE, MREMAP_MAYMOVE)));
	printf("odd %d\n", result(mremap(p + 1, PAGE, PAGE, MREMAP_MAYMOVE)));
	printf("flags %d\n", result(mremap(p, 64 * PAGE, 65 * PAGE, 64)));
	printf("fixed alone %d\n", result(mremap(p, 64 * PAGE, 64 * PAGE, MREMAP_FIXED, q)));
	printf("odd target %d\n",
	       result(mremap(p, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q + 1)));
	printf("overlap %d\n",
	       result(mremap(p, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE)));
	printf("dontunmap resize %d\n",
	       result(mremap(p, 64 * PAGE, 65 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP)));
	CHECK(!munmap(q, 64 * PAGE));
	printf("nothing there %d\n", result(mremap(q, 16 * PAGE, 32 * PAGE, MREMAP_MAYMOVE)));
	CHECK_FILLED(p, 64 * PAGE, 8);
	CHECK(!munmap(p, 64 * PAGE));
}

int main(void)
{
	chain();
	fixed();
	dont_unmap();
	others();
	errors();
	return 0;
}
