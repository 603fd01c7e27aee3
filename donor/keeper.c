/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "donor/keeper.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "donor/serve.h"
#include "libleap/util/sys.h"

#define TICK_NS 250000000ull

static struct {
	pthread_mutex_t lock; /* all below */
	pthread_cond_t more;  /* a job, or the end */
	pthread_cond_t freed;
	struct keeper_job *first, **last;
	unsigned undone; /* jobs queued or in work */
	uint64_t seen;
	bool runs, stop;

	pthread_t thread;
} keeper = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &keeper.first};

/* Lock held. */
static void sleep_until(pthread_cond_t *cond, uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	pthread_cond_timedwait(cond, &keeper.lock, &t);
}

/* Lock held. */
static void progress(void)
{
	keeper.seen++;
	pthread_cond_broadcast(&keeper.freed);
}

/* Lock held, and let go of for the job. */
static void run_first(void)
{
	struct keeper_job *job = keeper.first;

	keeper.first = job->next;
	if (!keeper.first)
		keeper.last = &keeper.first;
	pthread_mutex_unlock(&keeper.lock);
	job->run(job); /* frees it */
	pthread_mutex_lock(&keeper.lock);
	keeper.undone--;
	progress();
}

static void tick(struct donor *donor, uint64_t now)
{
	sessions_expire(&donor->sessions, now);
	store_sweep(&donor->store);
	store_empty_kept(&donor->store);
}

static void *keeper_main(void *arg)
{
	struct donor *donor = arg;
	uint64_t ticked_ns = 0, now;

	store_bind_thread(&donor->store);
	pthread_mutex_lock(&keeper.lock);
	while (!keeper.stop || keeper.first) {
		now = clock_ns();
		if (now - ticked_ns >= TICK_NS) {
			ticked_ns = now;
			pthread_mutex_unlock(&keeper.lock);
			tick(donor, now);
			pthread_mutex_lock(&keeper.lock);
		} else if (keeper.first) {
			run_first();
		} else {
			sleep_until(&keeper.more, ticked_ns + TICK_NS);
		}
	}
	keeper.runs = false;
	pthread_mutex_unlock(&keeper.lock);
	return NULL;
}

int keeper_start(struct donor *donor)
{
	pthread_condattr_t attr;
	sigset_t all, saved;
	int r;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&keeper.more, &attr);
	pthread_cond_init(&keeper.freed, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &saved);
	r = pthread_create(&keeper.thread, NULL, keeper_main, donor);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (r)
		return -r;
	pthread_setname_np(keeper.thread, "keeper");
	pthread_mutex_lock(&keeper.lock);
	keeper.runs = true;
	pthread_mutex_unlock(&keeper.lock);
	return 0;
}

void keeper_stop(void)
{
	pthread_mutex_lock(&keeper.lock);
	keeper.stop = true;
	pthread_cond_signal(&keeper.more);
	pthread_mutex_unlock(&keeper.lock);
	pthread_join(keeper.thread, NULL);
}

void keeper_do(struct keeper_job *job, void (*run)(struct keeper_job *job))
{
	bool runs;

	job->next = NULL;
	job->run = run;
	pthread_mutex_lock(&keeper.lock);
	runs = keeper.runs;
	if (runs) {
		*keeper.last = job;
		keeper.last = &job->next;
		keeper.undone++;
		pthread_cond_signal(&keeper.more);
	}
	pthread_mutex_unlock(&keeper.lock);
	if (!runs)
		run(job);
}

void keeper_progress(void)
{
	pthread_mutex_lock(&keeper.lock);
	progress();
	pthread_mutex_unlock(&keeper.lock);
}

uint64_t keeper_seen(void)
{
	uint64_t seen;

	pthread_mutex_lock(&keeper.lock);
	seen = keeper.seen;
	pthread_mutex_unlock(&keeper.lock);
	return seen;
}

bool keeper_wait(uint64_t *seen, uint64_t until_ns)
{
	bool more;

	pthread_mutex_lock(&keeper.lock);
	while (keeper.seen == *seen && keeper.undone && clock_ns() < until_ns)
		sleep_until(&keeper.freed, until_ns);
	more = keeper.seen != *seen;
	*seen = keeper.seen;
	pthread_mutex_unlock(&keeper.lock);
	return more;
}
