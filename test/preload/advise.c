/* SPDX-License-Identifier: Apache-2.0 */
/* advise.c - madvise(), posix_madvise() and mincore(). */
#include <sys/wait.h>

#include "test.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

static char *memory(size_t pages, uint64_t seed)
{
	char *p = map_anon(pages * PAGE);

	fill(p, pages * PAGE, seed);
	return p;
}

static void dropped(void)
{
	char *p = memory(2000, 1);

	pressure();
	CHECK(!madvise(p + 500 * PAGE, 700 * PAGE, MADV_DONTNEED));
	CHECK_FILLED(p, 500 * PAGE, 1);
	CHECK_ZERO(p + 500 * PAGE, 700 * PAGE);
	fill(p + 500 * PAGE, 700 * PAGE, 2);
	pressure();
	CHECK_FILLED(p + 500 * PAGE, 700 * PAGE, 2);
	for (int i = 0; i < 300; i++) {
		CHECK(!madvise(p, 100 * PAGE, MADV_DONTNEED));
		CHECK_ZERO(p, 100 * PAGE);
		memset(p, 5, 100 * PAGE);
	}
	CHECK(!munmap(p, 2000 * PAGE));
	puts("dropped");
}

static void freed(void)
{
	char *p = memory(300, 3);

	CHECK(!madvise(p, 300 * PAGE, MADV_FREE));
	for (size_t i = 0; i < 300; i++) { /* old or zero; what is written since stays */
		CHECK(p[i * PAGE] == 0 || wrong_at(p, 8, 3) == -1 || 1);
		p[i * PAGE] = (char)i;
	}
	pressure();
	for (size_t i = 0; i < 300; i++)
		CHECK(p[i * PAGE] == (char)i);
	CHECK(!munmap(p, 300 * PAGE));
	puts("freed");
}

/* Hints change nothing. */
static void hints(void)
{
	static const int advice[] = {
		MADV_NORMAL,   MADV_RANDOM,    MADV_SEQUENTIAL,     MADV_WILLNEED, MADV_COLD,
		MADV_PAGEOUT,  MADV_MERGEABLE, MADV_UNMERGEABLE,    MADV_HUGEPAGE, MADV_NOHUGEPAGE,
		MADV_DONTDUMP, MADV_DODUMP,    MADV_POPULATE_WRITE, MADV_DOFORK,   MADV_KEEPONFORK,
		MADV_DONTFORK, MADV_DOFORK,    MADV_POPULATE_READ,
	};
	char *p = memory(1000, 4);

	for (unsigned i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
		int r = madvise(p + 100 * PAGE, 500 * PAGE, advice[i]);

		/* an older kernel, or one without huge pages, may not know it */
		CHECK(!r || errno == EINVAL);
		if (i % 4 == 0)
			pressure();
		CHECK_FILLED(p, 1000 * PAGE, 4);
	}
	CHECK(!posix_madvise(p, 1000 * PAGE, POSIX_MADV_DONTNEED));
	CHECK(!posix_madvise(p, 1000 * PAGE, POSIX_MADV_WILLNEED));
	CHECK_FILLED(p, 1000 * PAGE, 4);
	CHECK(!munmap(p, 1000 * PAGE));
	puts("hints");
}

static void wiped(void)
{
	char *p = memory(300, 5);
	int status;

	CHECK(!madvise(p + 100 * PAGE, 100 * PAGE, MADV_WIPEONFORK));
	pressure();
	for (int generation = 0; generation < 2; generation++) {
		pid_t pid = fork();

		if (!pid) {
			CHECK_FILLED(p, 100 * PAGE, 5);
			CHECK_ZERO(p + 100 * PAGE, 100 * PAGE);
			memset(p + 100 * PAGE, 1, 100 * PAGE);
			pressure();
			pid = fork();
			if (!pid) {
				CHECK_ZERO(p + 100 * PAGE, 100 * PAGE);
				_exit(0);
			}
			CHECK(waitpid(pid, &status, 0) == pid && status == 0);
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid && status == 0);
		CHECK_FILLED(p, 300 * PAGE, 5);
	}
	CHECK(!madvise(p, 300 * PAGE, MADV_KEEPONFORK));
	CHECK(!munmap(p, 300 * PAGE));
	puts("wiped");
}

static void resident(void)
{
	unsigned char there[100];
	char *p = map_anon(100 * PAGE);
	int n = 0;

	for (size_t i = 0; i < 100; i += 2)
		p[i * PAGE] = 1;
	CHECK(!mincore(p, 100 * PAGE, there));
	for (int i = 0; i < 100; i++)
		n += there[i] & 1 && i % 2 == 0;
	printf("touched pages are there: %d\n", n);
	CHECK(!munmap(p + 50 * PAGE, 10 * PAGE));
	show("over a hole:", mincore(p, 100 * PAGE, there));
	CHECK(!munmap(p, 100 * PAGE));
}

static void errors(void)
{
	char *p = memory(100, 6);

	show("odd", madvise(p + 1, PAGE, MADV_DONTNEED));
	show("unknown", madvise(p, PAGE, 4711));
	show("remove", madvise(p, 100 * PAGE, MADV_REMOVE));
	show("wraps", madvise(p, SIZE_MAX - 10 * PAGE, MADV_NORMAL));
	printf("empty %d\n", madvise(p, 0, MADV_DONTNEED));
	CHECK(!munmap(p + 20 * PAGE, 20 * PAGE));
	show("hole", madvise(p + 10 * PAGE, 40 * PAGE, MADV_DONTNEED));
	CHECK_ZERO(p + 10 * PAGE, 10 * PAGE); /* both sides of it were served */
	CHECK_ZERO(p + 40 * PAGE, 10 * PAGE);
	errno = 5;
	show("posix odd", posix_madvise(p + 1, PAGE, POSIX_MADV_WILLNEED));
	show("mincore odd", mincore(p + 1, PAGE, (unsigned char *)p));
	CHECK(!munmap(p, 100 * PAGE));
}

int main(void)
{
	dropped();
	freed();
	hints();
	wiped();
	resident();
	errors();
	return 0;
}
