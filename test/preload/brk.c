/* SPDX-License-Identifier: Apache-2.0 */
/* brk.c - the program break. */
#include "test.h"

int main(void)
{
	static char buffer[4096];
	char *start = sbrk(0), *p;

	setvbuf(stdout, buffer, _IOFBF,
		sizeof(buffer)); /* no malloc(), which may use the break, too */

	p = sbrk(10000);
	CHECK(p == start);
	CHECK_ZERO(p, 10000);
	fill(p, 10000, 1);
	p = sbrk(40 * (intptr_t)MIB);
	CHECK(p == start + 10000);
	CHECK_ZERO(p, 40 * MIB);
	fill(p, 40 * MIB, 2);
	pressure();
	CHECK_FILLED(start, 10000, 1);
	CHECK_FILLED(start + 10000, 40 * MIB, 2);
	CHECK(sbrk(-20 * (intptr_t)MIB) == start + 10000 + 40 * MIB);
	CHECK(sbrk(0) == start + 10000 + 20 * MIB);
	CHECK(!brk(start + 10000 + 40 * MIB));
	p = (char *)(((uintptr_t)start + 10000 + 20 * MIB + PAGE - 1) & ~(PAGE - 1));
	CHECK_ZERO(p, 19 * MIB);
	CHECK_FILLED(start + 10000, 10 * MIB, 2);
	errno = 0;
	CHECK(sbrk(INTPTR_MAX) == (void *)-1);
	printf("too much %d\n", errno);
	CHECK(!brk(start));
	CHECK(sbrk(0) == start);
	puts("break");
	return 0;
}
