/* SPDX-License-Identifier: Apache-2.0 */
/* big.c - many times the local memory: written, read in several orders, changed, read again. */
#include <pthread.h>

#include "test.h"

#define MB      256
#define PIECE   (64 * 1024ul)
#define PIECES  (MB * MIB / PIECE)
#define THREADS 2

static unsigned char *base;
static uint32_t version[PIECES];

static void *work(void *arg)
{
	size_t me = (size_t)arg;

	for (size_t i = me; i < PIECES; i += THREADS)
		fill(base + i * PIECE, PIECE, i);
	for (size_t i = me; i < PIECES; i += THREADS)
		CHECK_FILLED(base + i * PIECE, PIECE, i);
	for (size_t k = 0; k < PIECES / 4; k++) {
		size_t i = mix(k) % (PIECES / THREADS) * THREADS + me;

		CHECK_FILLED(base + i * PIECE, PIECE, i + ((uint64_t)version[i] << 32));
		version[i]++;
		fill(base + i * PIECE, PIECE, i + ((uint64_t)version[i] << 32));
	}
	for (size_t i = PIECES - THREADS + me; i < PIECES; i -= THREADS)
		CHECK_FILLED(base + i * PIECE, PIECE, i + ((uint64_t)version[i] << 32));
	return NULL;
}

int main(void)
{
	pthread_t thread[THREADS];
	uint64_t sum = 0;

	base = malloc(MB * MIB);
	CHECK(base);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, work, (void *)i));
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (size_t i = 0; i < PIECES; i++)
		sum = sum * 31 + version[i];
	printf("%d MiB, sum %lx\n", MB, (unsigned long)sum);
	free(base);
	return 0;
}
