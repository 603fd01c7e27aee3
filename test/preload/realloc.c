/* SPDX-License-Identifier: Apache-2.0 */
/* realloc.c - chains of realloc() up to many times the local memory and down again. */
#include "test.h"

#define CHAINS 4

static void chains(void)
{
	unsigned char *p[CHAINS] = {NULL};
	size_t len[CHAINS] = {0};

	for (int step = 0; step < 60; step++) {
		for (int c = 0; c < CHAINS; c++) {
			size_t more = len[c] + len[c] / 4 + 1000 * (size_t)(c + 1);

			if (more > 24 * MIB)
				continue;
			p[c] = realloc(p[c], more);
			CHECK(p[c]);
			CHECK_FILLED(p[c], len[c] & ~7ul, (uint64_t)c);
			fill(p[c], more, (uint64_t)c);
			len[c] = more;
		}
	}
	for (int c = 0; c < CHAINS; c++)
		printf("chain %d: %zu bytes\n", c, len[c]);
	for (int c = 0; c < CHAINS; c++) {
		while (len[c] > 10000) {
			len[c] = len[c] / 3 & ~7ul;
			p[c] = realloc(p[c], len[c]);
			CHECK_FILLED(p[c], len[c], (uint64_t)c);
		}
		free(p[c]);
	}
}

int main(void)
{
	chains();
	return 0;
}
