/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c - threads come and go, on stacks of the C library and of the program; thread-local storage. */
#include <pthread.h>
#include <sys/single_threaded.h>

#include "test.h"

#define STACK (256 * 1024ul)

static __thread char local[20000];
static pthread_key_t key;
static int destroyed;

static void destroy(void *p)
{
	CHECK_FILLED(p, 5000, 7);
	free(p);
	__atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
}

static void *work(void *arg)
{
	size_t me = (size_t)arg;
	char on_stack[50000], *heap = malloc(5000), *block = malloc(100000);

	fill(local, sizeof(local), me);
	fill(on_stack, sizeof(on_stack), me + 1);
	fill(heap, 5000, 7);
	fill(block, 100000, me + 2);
	pthread_setspecific(key, heap);
	if (me % 16 == 0)
		pressure();
	CHECK_FILLED(local, sizeof(local), me);
	CHECK_FILLED(on_stack, sizeof(on_stack), me + 1);
	CHECK_FILLED(block, 100000, me + 2);
	free(block);
	if (me & 1)
		pthread_exit((void *)me);
	return (void *)me;
}

static void churn(void)
{
	for (size_t i = 0; i < 100; i++) {
		pthread_t thread[4];
		void *ret;

		for (size_t t = 0; t < 4; t++)
			CHECK(!pthread_create(&thread[t], NULL, work, (void *)(4 * i + t)));
		for (size_t t = 0; t < 4; t++) {
			CHECK(!pthread_join(thread[t], &ret));
			CHECK((size_t)ret == 4 * i + t);
		}
	}
	printf("churn: %d\n", destroyed);
}

/* The control block of each thread lies in memory that may be managed. */
static void own_stacks(void)
{
	char *stack[8];

	for (int i = 0; i < 8; i++) {
		stack[i] = i & 1 ? map_anon(STACK) : aligned_alloc(PAGE, STACK);
		memset(stack[i], i, STACK);
	}
	pressure();
	for (size_t round = 0; round < 30; round++) {
		pthread_t thread[8];
		void *ret;

		for (size_t t = 0; t < 8; t++) {
			pthread_attr_t attr;

			pthread_attr_init(&attr);
			CHECK(!pthread_attr_setstack(&attr, stack[t], STACK));
			CHECK(!pthread_create(&thread[t], &attr, work, (void *)(8 * round + t)));
			pthread_attr_destroy(&attr);
		}
		if (round % 5 == 0)
			pressure();
		for (size_t t = 0; t < 8; t++) {
			CHECK(!pthread_join(thread[t], &ret));
			CHECK((size_t)ret == 8 * round + t);
		}
	}
	for (int i = 0; i < 8; i++) {
		if (i & 1)
			CHECK(!munmap(stack[i], STACK));
		else
			free(stack[i]);
	}
	puts("own stacks");
}

static void *late(void *arg)
{
	usleep(50000);
	puts("the last thread ends the program");
	return NULL;
}

int main(void)
{
	pthread_t thread;

	printf("single-threaded: %d\n", __libc_single_threaded);
	pthread_key_create(&key, destroy);
	churn();
	own_stacks();
	CHECK(!pthread_create(&thread, NULL, late, NULL));
	pthread_detach(thread);
	pthread_exit(NULL);
}
