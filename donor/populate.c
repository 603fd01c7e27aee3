/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "donor/populate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "donor/report.h"
#include "donor/store.h"

#define STEP_BYTES ((off_t)2 << 20)

static struct slab *queue_pop(struct store *store)
{
	struct slab *slab;

	pthread_mutex_lock(&store->lock);
	while (!store->populate_first)
		pthread_cond_wait(&store->populate_more, &store->lock);
	slab = store->populate_first;
	store->populate_first = slab->populate_next;
	pthread_mutex_unlock(&store->lock);
	return slab;
}

static void populate(struct slab *slab)
{
	for (off_t at = 0; at < (off_t)PROTO_SLAB_BYTES; at += STEP_BYTES) {
		if (!atomic_load(&slab->holders) || atomic_load(&slab->store->pressed))
			return;
		if (fallocate(slab->fd, 0, at, STEP_BYTES)) {
			report_warn(
				"cannot take the memory that was lent (%s): lend less (--memory), "
				"or give this process more",
				strerror(errno));
			return;
		}
	}
}

static void *populate_main(void *arg)
{
	struct store *store = arg;

	store_bind_thread(store);
	for (;;) {
		struct slab *slab = queue_pop(store);

		populate(slab);
		/* given back while we worked: what was taken since goes again */
		if (!atomic_load(&slab->holders) && atomic_load(&slab->given_back))
			slab_empty(slab);
		slab_populated(slab);
	}
	return NULL;
}

int populate_start(struct store *store)
{
	sigset_t all, saved;
	pthread_t thread;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &saved);
	r = pthread_create(&thread, NULL, populate_main, store);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (r)
		return -r;
	pthread_setname_np(thread, "populate");
	pthread_detach(thread);
	store->populates = true;
	return 0;
}

void populate_add(struct slab *slab)
{
	struct store *store = slab->store;
	struct slab **end;

	if (!store->populates)
		return;
	pthread_mutex_lock(&store->lock);
	slab->populating = true;
	for (end = &store->populate_first; *end; end = &(*end)->populate_next)
		;
	*end = slab;
	pthread_cond_signal(&store->populate_more);
	pthread_mutex_unlock(&store->lock);
}
