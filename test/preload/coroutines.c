/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coroutines.c - functions that run on stacks from malloc() and mmap(), which are pushed out at any time, give memory back and
 * ask for more.
 */
#include <pthread.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "test.h"

#define COROUTINES 24
#define STACK      (48 * 1024)
#define TURNS      1

struct coroutine {
	ucontext_t context;
	char *stack;
	uint64_t sum;
	bool ended;
};

static struct coroutine all[COROUTINES];
static ucontext_t scheduler;
static volatile bool stop;

static void yield(struct coroutine *c)
{
	CHECK(!swapcontext(&c->context, &scheduler));
}

/* Everything that changes managed memory, from this stack. */
static void change_memory(uint64_t seed)
{
	size_t len = (1 + seed % 32) * 16 * PAGE;
	char *block = map_anon(len), *heap = malloc(len), *more;

	fill(block, len, seed);
	memset(heap, (int)seed, len);
	CHECK(!madvise(block, len / 2, MADV_DONTNEED));
	CHECK(!mprotect(block, PAGE, PROT_READ));
	CHECK(block[0] == 0);
	CHECK(!mprotect(block, PAGE, PROT_READ | PROT_WRITE));
	more = mremap(block, len, 2 * len, MREMAP_MAYMOVE);
	CHECK(more != MAP_FAILED);
	CHECK_ZERO(more + len, PAGE);
	CHECK(!munmap(more, 2 * len));
	more = realloc(heap, 2 * len);
	CHECK(more && more[len - 1] == (char)seed);
	free(more);
}

/* The child goes on with the stack. */
static void make_child(const char *local, size_t len, uint64_t seed)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		change_memory(seed);
		CHECK_FILLED(local, len, seed);
		_exit(7);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static uint64_t descend(struct coroutine *c, unsigned depth, uint64_t seed)
{
	char local[1500];
	uint64_t sum;

	fill(local, sizeof(local), seed);
	if (depth % 3 == 0)
		change_memory(seed);
	if (depth == 5)
		make_child(local, sizeof(local), seed);
	yield(c);
	sum = depth ? descend(c, depth - 1, mix(seed)) : 0;
	CHECK_FILLED(local, sizeof(local), seed);
	return sum + seed;
}

static void body(unsigned index)
{
	struct coroutine *c = &all[index];

	for (unsigned turn = 0; turn < TURNS; turn++)
		c->sum += descend(c, 10, index * 1000 + turn);
	c->ended = true;
	yield(c);
}

static void *press(void *arg)
{
	while (!stop) {
		pressure();
		usleep(2000);
	}
	return NULL;
}

int main(void)
{
	pthread_t presser;
	bool going = true;

	pressure();
	CHECK(!pthread_create(&presser, NULL, press, NULL));
	for (unsigned i = 0; i < COROUTINES; i++) {
		all[i].stack = i & 1 ? map_anon(STACK) : aligned_alloc(PAGE, STACK);
		getcontext(&all[i].context);
		all[i].context.uc_stack.ss_sp = all[i].stack;
		all[i].context.uc_stack.ss_size = STACK;
		makecontext(&all[i].context, (void (*)(void))body, 1, i);
	}
	while (going) {
		going = false;
		for (unsigned i = 0; i < COROUTINES; i++) {
			if (all[i].ended)
				continue;
			CHECK(!swapcontext(&scheduler, &all[i].context));
			going = true;
		}
	}
	stop = true;
	CHECK(!pthread_join(presser, NULL));
	for (unsigned i = 0; i < COROUTINES; i++)
		printf("coroutine %u: %lx\n", i, (unsigned long)all[i].sum);
	return 0;
}
