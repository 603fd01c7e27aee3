/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork_libc.c - what the C library does in a child before its pager runs, and while it starts: thread-specific values
 * of other threads, tables of libraries that were opened, their thread-local storage; a thread that forks with
 * a cancellation pending; a child that shares its parent's descriptors.
 *
 * usage: fork_libc LIBRARY, one with thread-local storage
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test.h"

#define LEN    (24 * MIB)
#define BLOCKS 4096
#define BLOCK  512
#define KEYS   64

static char *data, *block[BLOCKS];
static pthread_barrier_t barrier;

static void wait_for(pid_t pid)
{
	int status = -1;

	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(status == 0);
}

static void push_out(void)
{
	pressure();
	fill(data, LEN, 3);
	pressure();
}

static void fill_blocks(int from, int to)
{
	for (int i = from; i < to; i++) {
		block[i] = malloc(BLOCK);
		fill(block[i], BLOCK, (uint64_t)i);
	}
}

static void *with_values(void *arg)
{
	pthread_key_t *key = arg;

	fill_blocks(0, BLOCKS / 2);
	for (int k = 0; k < KEYS; k++)
		CHECK(!pthread_setspecific(key[k], &key[k]));
	fill_blocks(BLOCKS / 2, BLOCKS);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (int k = 0; k < KEYS; k++)
		CHECK(pthread_getspecific(key[k]) == &key[k]);
	return NULL;
}

static void thread_specific(void)
{
	pthread_key_t key[KEYS];
	pthread_t thread;
	pid_t pid;

	for (int k = 0; k < KEYS; k++)
		CHECK(!pthread_key_create(&key[k], NULL));
	CHECK(!pthread_create(&thread, NULL, with_values, key));
	pthread_barrier_wait(&barrier);
	push_out();
	pid = fork();
	if (!pid) {
		for (int i = 0; i < BLOCKS; i++)
			CHECK_FILLED(block[i], BLOCK, (uint64_t)i);
		_exit(0);
	}
	wait_for(pid);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	for (int i = 0; i < BLOCKS; i++) {
		CHECK_FILLED(block[i], BLOCK, (uint64_t)i);
		free(block[i]);
	}
	puts("thread-specific values");
}

static void *reads_local(void *arg)
{
	char *(*local)(void) = (char *(*)(void))arg;

	return (void *)(uintptr_t)local()[0];
}

static void libraries(const char *path)
{
	char *(*local)(void);
	pthread_t thread;
	void *library, *value;
	pid_t pid;

	fill_blocks(0, BLOCKS / 2);
	library = dlopen(path, RTLD_NOW);
	CHECK(library);
	local = (char *(*)(void))dlsym(library, "local_storage");
	CHECK(local);
	strcpy(local(), "mine");
	fill_blocks(BLOCKS / 2, BLOCKS);
	push_out();
	pid = fork();
	if (!pid) {
		CHECK(!strcmp(local(), "mine"));
		CHECK(!pthread_create(&thread, NULL, reads_local, (void *)local));
		CHECK(!pthread_join(thread, &value) && value == (void *)'i');
		CHECK(!dlclose(library));
		_exit(0);
	}
	wait_for(pid);
	CHECK(!dlclose(library));
	puts("libraries");
}

static int go;

static void *forks(void *arg)
{
	pid_t pid;

	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
		;
	pid = fork(); /* no cancellation point */
	if (!pid)
		_exit(0);
	*(pid_t *)arg = pid;
	pthread_testcancel();
	return NULL;
}

static void cancelled(void)
{
	pthread_t thread;
	pid_t pid = 0;
	void *result;

	push_out();
	CHECK(!pthread_create(&thread, NULL, forks, &pid));
	CHECK(!pthread_cancel(thread));
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	CHECK(!pthread_join(thread, &result) && result == PTHREAD_CANCELED);
	wait_for(pid);
	CHECK_FILLED(data, LEN, 3);
	puts("cancelled");
}

static int ends(void *arg)
{
	return 0;
}

/* Refused, or as natively: the parent's memory is what it was. */
static void shared_descriptors(void)
{
	char *stack = malloc(MIB);
	pid_t pid;

	push_out();
	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
	if (!pid)
		_exit(0);
	if (pid > 0)
		wait_for(pid);
	else
		CHECK(errno == EINVAL);
	pid = clone(ends, stack + MIB, CLONE_FILES | SIGCHLD, NULL);
	if (pid > 0)
		wait_for(pid);
	else
		CHECK(errno == EINVAL);
	CHECK_FILLED(data, LEN, 3);
	free(stack);
	puts("shared descriptors");
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	setvbuf(stdout, NULL, _IOLBF, 0);
	CHECK(!pthread_barrier_init(&barrier, NULL, 2));
	data = malloc(LEN);
	thread_specific();
	libraries(argv[1]);
	cancelled();
	shared_descriptors();
	return 0;
}
