/* SPDX-License-Identifier: Apache-2.0 */
/* map.c - mmap() and munmap(): parts, borders, mappings placed over others, errors. */
#include <fcntl.h>

#include "test.h"

static int result(void *p)
{
	return p == MAP_FAILED ? errno : 0;
}

static void parts(void)
{
	char *p = map_anon(64 * PAGE + 16 * PAGE);

	fill(p, 80 * PAGE, 1);
	pressure();
	CHECK(!munmap(p + 8 * PAGE, 8 * PAGE));
	CHECK(!munmap(p + 70 * PAGE, 10 * PAGE));
	CHECK_FILLED(p, 8 * PAGE, 1);
	for (size_t i = 16; i < 70; i++) {
		char page[PAGE * 80];

		fill(page, 80 * PAGE, 1);
		CHECK(!memcmp(p + i * PAGE, page + i * PAGE, PAGE));
	}
	CHECK(!munmap(p, 80 * PAGE)); /* holes do not matter */
	CHECK(!munmap(p, 80 * PAGE));
	puts("parts");
}

static void reuse(void)
{
	for (int i = 0; i < 200; i++) {
		size_t len = (16 + (size_t)i % 40) * PAGE;
		char *p = map_anon(len);

		CHECK_ZERO(p, len);
		memset(p, 0xaa, len);
		if (i % 10 == 0)
			pressure();
		CHECK(!munmap(p, len));
	}
	puts("reuse");
}

static void fixed_anonymous(void)
{
	char *p = map_anon(256 * PAGE), *q;

	fill(p, 256 * PAGE, 2);
	pressure();
	q = mmap(p + 32 * PAGE, 64 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(q == p + 32 * PAGE);
	CHECK_ZERO(q, 64 * PAGE);
	CHECK_FILLED(p, 32 * PAGE, 2);
	fill(q, 64 * PAGE, 3);
	pressure();
	CHECK_FILLED(q, 64 * PAGE, 3);
	q = mmap(p + 32 * PAGE, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0);
	CHECK(q == p + 32 * PAGE);
	CHECK(!mprotect(q, 64 * PAGE, PROT_READ | PROT_WRITE));
	CHECK_ZERO(q, 64 * PAGE);
	CHECK(!munmap(p, 256 * PAGE));
	puts("fixed anonymous");
}

static int make_file(size_t len)
{
	char path[] = "/tmp/leap-test-XXXXXX", *text = malloc(len);
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	unlink(path);
	fill(text, len, 9);
	CHECK(write(fd, text, len) == (ssize_t)len);
	free(text);
	return fd;
}

/* Files, shared memory and stacks over managed memory, and managed memory over them again. */
static void fixed_other(void)
{
	int fd = make_file(64 * PAGE);
	char *p = map_anon(512 * PAGE);

	for (int round = 0; round < 30; round++) {
		char *q = p + 100 * PAGE;

		fill(p, 100 * PAGE, 4);
		fill(p + 164 * PAGE, 348 * PAGE, 5);
		if (round % 10 == 0)
			pressure();
		CHECK(mmap(q, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) ==
		      q);
		CHECK_FILLED(q, 64 * PAGE, 9);
		memset(q, 1, 5000);
		CHECK(mmap(q, 32 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == q);
		CHECK_ZERO(q, 32 * PAGE);
		fill(q, 32 * PAGE, 6);
		if (round % 10 == 0)
			pressure();
		CHECK_FILLED(q, 32 * PAGE, 6);
		CHECK_FILLED(p, 100 * PAGE, 4);
		CHECK_FILLED(p + 164 * PAGE, 348 * PAGE, 5);
		if (round & 1) { /* anonymous again */
			CHECK(mmap(q, 64 * PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == q);
		} else { /* unmapped, and others' since */
			CHECK(!munmap(q, 64 * PAGE));
			CHECK(mmap(q, 64 * PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == q);
		}
		CHECK_ZERO(q, 64 * PAGE);
		fill(q, 64 * PAGE, 7);
		if (round % 10 == 5)
			pressure();
		CHECK_FILLED(q, 64 * PAGE, 7);
	}
	errno = 0;
	CHECK(mmap(p, 64 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, 12345, 0) == MAP_FAILED);
	CHECK(errno == EBADF);
	CHECK_FILLED(p, 100 * PAGE, 4); /* a call that fails changes nothing */
	CHECK(!munmap(p, 512 * PAGE));
	close(fd);
	puts("fixed files and shared memory");
}

static void offsets(void)
{
	int fd = make_file(64 * PAGE);
	char *p = map_anon(64 * PAGE), *all = malloc(64 * PAGE);

	fill(all, 64 * PAGE, 9);
	CHECK(mmap(p + 10 * PAGE, 20 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 5 * PAGE) ==
	      p + 10 * PAGE);
	CHECK(!memcmp(p + 10 * PAGE, all + 5 * PAGE, 20 * PAGE));
	CHECK(!madvise(p, 64 * PAGE, MADV_DONTNEED)); /* over both kinds */
	CHECK(!memcmp(p + 10 * PAGE, all + 5 * PAGE, 20 * PAGE));
	CHECK(!munmap(p, 64 * PAGE));
	free(all);
	close(fd);
	puts("offsets");
}

static void hints(void)
{
	char *p = map_anon(64 * PAGE), *q;

	CHECK(!munmap(p + 32 * PAGE, 32 * PAGE));
	q = mmap(p + 32 * PAGE, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0);
	printf("hint taken %d\n", q == p + 32 * PAGE);
	q = mmap(p, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("hint in use %d\n", q != p && q != MAP_FAILED);
	q = mmap((void *)0x600000000000, 64 * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("far hint %d\n", q == (char *)0x600000000000);
	CHECK(!munmap(q, 64 * PAGE));
}

static void flags(void)
{
	static const int kinds[] = {
		MAP_NORESERVE, MAP_POPULATE, MAP_STACK, MAP_32BIT, MAP_GROWSDOWN, MAP_LOCKED,
	};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | kinds[i], -1, 0);

		printf("flag %u: %d\n", i, result(p));
		if (p == MAP_FAILED)
			continue;
		if (kinds[i] == MAP_32BIT)
			printf("low %d\n", (uintptr_t)p < 1ul << 32);
		CHECK_ZERO(p, 64 * PAGE);
		fill(p, 64 * PAGE, i);
		pressure();
		CHECK_FILLED(p, 64 * PAGE, i);
		CHECK(!munmap(p, 64 * PAGE));
	}
}

static void errors(void)
{
	char *p = map_anon(64 * PAGE);
	int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;

	printf("empty %d\n", result(mmap(NULL, 0, rw, anon, -1, 0)));
	printf("no kind %d\n", result(mmap(NULL, 64 * PAGE, rw, MAP_ANONYMOUS, -1, 0)));
	printf("offset %d\n", result(mmap(NULL, 64 * PAGE, rw, anon, -1, 1)));
	printf("too large %d\n", result(mmap(NULL, SIZE_MAX - PAGE, rw, anon, -1, 0)));
	printf("wraps %d\n", result(mmap(NULL, SIZE_MAX, rw, anon, -1, 0)));
	printf("odd fixed %d\n", result(mmap(p + 1, PAGE, rw, anon | MAP_FIXED, -1, 0)));
	printf("no replace %d\n",
	       result(mmap(p + 60 * PAGE, 8 * PAGE, rw, anon | MAP_FIXED_NOREPLACE, -1, 0)));
	show("munmap odd", munmap(p + 1, PAGE));
	show("munmap empty", munmap(p, 0));
	show("munmap huge", munmap(p, SIZE_MAX));
	CHECK(!munmap(p, 64 * PAGE - 100)); /* rounded up */
}

int main(void)
{
	parts();
	reuse();
	fixed_anonymous();
	fixed_other();
	offsets();
	hints();
	flags();
	errors();
	return 0;
}
