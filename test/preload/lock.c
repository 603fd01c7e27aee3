/* SPDX-License-Identifier: Apache-2.0 */
/* lock.c - mlock() and its relatives. */
#include <sys/wait.h>

#include "test.h"

int main(void)
{
	char *p = map_anon(400 * PAGE);
	int status;
	pid_t pid;

	fill(p, 400 * PAGE, 1);
	printf("lock %d\n", mlock(p + 100 * PAGE, 100 * PAGE));
	printf("again %d\n", mlock(p + 150 * PAGE + 5, 100 * PAGE));
	show("dontneed", madvise(p, 400 * PAGE, MADV_DONTNEED));
	CHECK_FILLED(p + 100 * PAGE, 0, 1);
	fill(p, 400 * PAGE, 2);
	pressure();
	CHECK_FILLED(p, 400 * PAGE, 2);
	printf("unlock %d\n", munlock(p, 400 * PAGE)); /* once is enough */
	printf("dontneed %d\n", madvise(p, 400 * PAGE, MADV_DONTNEED));
	CHECK_ZERO(p, 400 * PAGE);
	printf("on fault %d\n", mlock2(p, 50 * PAGE, 1));
	show("bad flags", mlock2(p, 50 * PAGE, 8));
	printf("empty %d\n", mlock(p, 0));
	for (int i = 0; i < 500; i++) { /* locks go with the mapping */
		char *q = map_anon(200 * PAGE);

		CHECK(!mlock(q, 200 * PAGE));
		CHECK(!munmap(q, 200 * PAGE));
	}
	CHECK(!mlock(p, 400 * PAGE));
	pid = fork();
	if (!pid) { /* not inherited */
		CHECK(!madvise(p, 400 * PAGE, MADV_DONTNEED));
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	printf("munlockall %d\n", munlockall());
	printf("dontneed %d\n", madvise(p, 400 * PAGE, MADV_DONTNEED));
	show("mlockall of nothing", mlockall(0));
	CHECK(!munmap(p + 200 * PAGE, 20 * PAGE));
	show("hole", mlock(p + 190 * PAGE, 50 * PAGE));
	show("hole", munlock(p + 190 * PAGE, 50 * PAGE));
	CHECK(!munmap(p, 400 * PAGE));
	return 0;
}
