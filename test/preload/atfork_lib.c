/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atfork_lib.c - a library with a worker thread, as databases' and graphics' libraries have them: fork handlers that it
 * registers when it is loaded stop the worker before a fork and start another one after it, on both sides.
 */
#include <pthread.h>

#include "atfork_lib.h"
#include "test.h"

#define BYTES (4 * MIB)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_t worker;
static char *buffer;
static int wrong;

static void *work(void *arg)
{
	wrong += wrong_at(buffer, BYTES, 7) != -1;
	free(buffer);
	free(malloc(70000));
	return NULL;
}

static void start(void)
{
	buffer = malloc(BYTES);
	fill(buffer, BYTES, 7);
	if (pthread_create(&worker, NULL, work, NULL))
		abort();
}

static void prepare(void)
{
	pthread_mutex_lock(&mutex);
	if (!worker)
		start();
	pthread_join(worker, NULL);
	worker = 0;
}

static void parent(void)
{
	start();
	pthread_mutex_unlock(&mutex);
}

static void child(void)
{
	pthread_mutex_init(&mutex, NULL);
	start();
}

int atfork_stop(void)
{
	pthread_mutex_lock(&mutex);
	if (worker)
		pthread_join(worker, NULL);
	worker = 0;
	pthread_mutex_unlock(&mutex);
	return wrong;
}

__attribute__((constructor)) static void loaded(void)
{
	if (pthread_atfork(prepare, parent, child))
		abort();
}

__attribute__((destructor)) static void closed(void)
{
	atfork_stop();
}
