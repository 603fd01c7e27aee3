/* SPDX-License-Identifier: Apache-2.0 */
/* changes.c - see changes.h. */
#include "libleap/changes.h"

#include <string.h>

#include "libleap/control.h"
#include "libleap/session.h"
#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

enum changes_state { CHANGES_IDLE, CHANGES_ASKED, CHANGES_END };

static void *changes_main(void *arg)
{
	struct leap *leap = arg;
	struct changes *c = &leap->changes;
	uint32_t state, asked = CHANGES_ASKED;

	while ((state = __atomic_load_n(&c->word, __ATOMIC_ACQUIRE)) != CHANGES_END) {
		if (state == CHANGES_IDLE) {
			sys_futex_wait(&c->word, state, -1);
			continue;
		}
		control_answer(leap, c->request, c->reply, sizeof(c->reply));
		control_reply(c->fd, c->reply);
		c->fd = -1;
		asked = CHANGES_ASKED;
		__atomic_compare_exchange_n(&c->word, &asked, CHANGES_IDLE, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE);
	}
	return NULL;
}

int changes_start(struct leap *leap)
{
	struct changes *c = &leap->changes;
	int err;

	c->word = CHANGES_IDLE;
	err = thread_start(&c->thread, changes_main, leap, "leap-change");
	c->runs = !err;
	return err;
}

void changes_stop(struct leap *leap)
{
	struct changes *c = &leap->changes;

	if (!c->runs)
		return;
	__atomic_store_n(&c->word, CHANGES_END, __ATOMIC_RELEASE);
	sys_futex_wake(&c->word, 1);
	thread_join(&c->thread);
	c->runs = false;
}

void changes_forked(struct leap *leap)
{
	struct changes *c = &leap->changes;

	c->fd = -1;
	c->runs = false;
	lock_init(&leap->change, LOCK_RANK_CHANGE, 0);
	if (leap->coming_home)
		leap->config.remote = true;
	leap->coming_home = false;
	for (uint32_t i = 0; i < leap->donors.count; i++)
		if (!leap->donors.donor[i].removed) /* the keeper thaws its slabs */
			leap->donors.donor[i].leaving = false;
	for (uint32_t i = 0; i < leap->nregions; i++)
		leap->regions[i]->holders = 0;
}

bool changes_is_one(const char *request)
{
	return !strncmp(request, "donor-", 6) || !strncmp(request, "set remote", 10);
}

bool changes_take(struct leap *leap, int fd, const char *request)
{
	struct changes *c = &leap->changes;

	if (__atomic_load_n(&c->word, __ATOMIC_ACQUIRE) != CHANGES_IDLE)
		return false;
	c->fd = fd;
	fmt_print(c->request, sizeof(c->request), "%s", request);
	__atomic_store_n(&c->word, CHANGES_ASKED, __ATOMIC_RELEASE);
	sys_futex_wake(&c->word, 1);
	return true;
}
