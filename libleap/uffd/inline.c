/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inline.c - front end inline: the faulting thread serves itself in a SIGBUS handler.
 *
 * The handler runs with all signals blocked, takes the shard's fault role, and uses nothing that is not
 * async-signal-safe (the pager never does). A SIGBUS that is not ours goes to the handler that was there before.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/fault.h"
#include "libleap/fetch.h"
#include "libleap/session.h"
#include "libleap/uffd/handler.h"

static struct sigaction previous;
static bool installed;

/* The session that manages addr, and its region. The list of sessions changes only in open and close. */
static struct leap_region *find(char *addr)
{
	for (struct leap *leap = sessions; leap; leap = leap->next) {
		struct leap_region *r;

		if (leap->frontend != FRONTEND_INLINE)
			continue;
		lock_acquire(&leap->shards[0].lock);
		r = region_find(leap, addr);
		lock_release(&leap->shards[0].lock);
		if (r)
			return r;
	}
	return NULL;
}

bool inline_serve(struct leap_region *r, char *addr)
{
	size_t index = region_page_index(r, addr);
	struct shard *shard = region_shard(r, index);
	struct fault fault = {
		.addr = (char *)((uintptr_t)addr & ~LEAP_PAGE_MASK),
		.thread = (uint32_t)sys_gettid(),
	};
	enum page_state state;

	lock_acquire(&shard->role_lock);
	if (page_state(&r->pages[index]) != PAGE_LOST)
		fault_handle(shard, &fault, 1);
	while ((state = page_state(&r->pages[index])) == PAGE_FILLING || state == PAGE_EVICTING) {
		if (!fetch_reap(shard))
			sched_yield();
	}
	fetch_reap(shard);
	while (fault_hints(shard))
		;
	lock_release(&shard->role_lock);
	return state != PAGE_LOST;
}

static void chain(int sig, siginfo_t *info, void *context)
{
	if (previous.sa_flags & SA_SIGINFO && previous.sa_sigaction) {
		previous.sa_sigaction(sig, info, context);
		return;
	}
	if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(sig);
		return;
	}
	signal(SIGBUS, SIG_DFL); /* returning faults again, now fatally */
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	struct leap_region *r;
	bool done = false;
	int cancel;

	runtime_enter();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* locks are taken: see lock.h */
	r = find(info->si_addr);
	if (r && region_page_armed(r, region_page_index(r, info->si_addr)))
		done = inline_serve(r, info->si_addr);
	runtime_leave();
	errno = saved;
	pthread_setcancelstate(cancel, NULL);
	if (!done)
		chain(sig, info, context);
}

int inline_install(void)
{
	struct sigaction action;

	if (installed)
		return 0;
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_sigbus;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigfillset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &previous))
		return error_set(errno, "cannot install the SIGBUS handler: error %d", errno);
	installed = true;
	return 0;
}
