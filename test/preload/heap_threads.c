/* SPDX-License-Identifier: Apache-2.0 */
/* heap_threads.c - threads allocate, resize and free, each other's blocks too; every block's content is checked. */
#include <pthread.h>

#include "test.h"

#define THREADS 6
#define BLOCKS  512
#define ROUNDS  6000

struct block {
	unsigned char *p;
	size_t len;
	uint64_t seed;
};

static struct block table[BLOCKS];
static pthread_mutex_t lock[BLOCKS];
static uint64_t total[THREADS];

static size_t some_size(uint64_t r)
{
	return r % 100 < 80 ? r / 128 % 2000 : r % 100 < 98 ? r / 128 % 60000 : r / 128 % 1000000;
}

static void renew(struct block *b, uint64_t r)
{
	b->len = some_size(r);
	b->seed = r;
	/* empty blocks are among them. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
	b->p = r & 1 ? malloc(b->len) : calloc(1, b->len);
	CHECK(b->p);
	if (!(r & 1))
		CHECK_ZERO(b->p, b->len);
	fill(b->p, b->len, b->seed);
}

static void *work(void *arg)
{
	size_t me = (size_t)arg;
	uint64_t random = me + 1;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t r = next_random(&random);
		size_t at = r % BLOCKS;
		struct block *b = &table[at];

		pthread_mutex_lock(&lock[at]);
		CHECK_FILLED(b->p, b->len, b->seed);
		if (r >> 32 & 1) {
			size_t len = some_size(r >> 8), keep = len < b->len ? len : b->len;

			b->p = realloc(b->p, len + 1);
			CHECK(b->p);
			CHECK_FILLED(b->p, keep & ~7ul, b->seed);
			b->len = len;
			fill(b->p, b->len, b->seed);
		} else {
			free(b->p);
			renew(b, r);
		}
		pthread_mutex_unlock(&lock[at]);
		total[me] += at;
	}
	return NULL;
}

int main(void)
{
	pthread_t thread[THREADS];
	uint64_t sum = 0;

	for (size_t i = 0; i < BLOCKS; i++) {
		pthread_mutex_init(&lock[i], NULL);
		renew(&table[i], mix(i));
	}
	for (size_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, work, (void *)i));
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		sum += total[i];
	}
	for (size_t i = 0; i < BLOCKS; i++)
		CHECK_FILLED(table[i].p, table[i].len, table[i].seed);
	printf("sum %lu\n", (unsigned long)sum);
	return 0;
}
