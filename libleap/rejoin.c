/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rejoin.c - donors that were lost are asked for memory again.
 *
 * A donor frees what a client kept as soon as the client's connection breaks, and may have lent it to another by the time the
 * connection could be made again. So there is no way back to the old pages: they stay lost, and touching them stays an
 * error. What comes back is the donor, as a new one with an entry and slabs of its own.
 *
 * No storm: each attempt waits twice as long as the one before, with a part by chance, so that the clients of a donor
 * that starts again do not come all at once. A connection that did not live for long goes on where its
 * predecessor's waits were. The keeper's thread does it, so an attempt has OPEN_NS, and a quarter of the wait before it when that
 * is more: a donor or a network may be slow.
 */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/util/sys.h"

#define WAIT_FIRST_NS 1000000000ull
#define WAIT_MOST_NS  (64 * WAIT_FIRST_NS)
#define OPEN_NS       1000000000ull

/* Those that tests make fail on purpose stay dead, and a store inside the process does not die. */
static bool can_come_back(const struct donor *d)
{
	return donor_lost(d) && strncmp(d->uri.scheme, "faulty", 6) != 0;
}

/* Between a half and all of wait. */
static uint64_t wait_some(struct donors *donors, uint64_t wait_ns)
{
	return wait_ns / 2 + donors_random(donors) % (wait_ns / 2);
}

static void wait_longer(struct donors *donors, struct donor *d, uint64_t now)
{
	d->wait_ns = d->wait_ns ? d->wait_ns * 2 : WAIT_FIRST_NS;
	if (d->wait_ns > WAIT_MOST_NS)
		d->wait_ns = WAIT_MOST_NS;
	d->retry_ns = now + wait_some(donors, d->wait_ns);
}

/* Somebody has added it by hand? */
static bool is_here(const struct donors *donors, const struct donor *d)
{
	char want[300], have[300];

	uri_format(&d->uri, want, sizeof(want));
	for (uint32_t i = 0; i < donors->count; i++) {
		if (!donor_alive(&donors->donor[i]))
			continue;
		uri_format(&donors->donor[i].uri, have, sizeof(have));
		if (!strcmp(want, have))
			return true;
	}
	return false;
}

static void attempt(struct leap *leap, struct donor *d, uint64_t now)
{
	struct donors *donors = &leap->donors;
	char text[300];
	int err;

	uri_format(&d->uri, text, sizeof(text));
	err = donors_add_again(leap, d, d->wait_ns / 4 > OPEN_NS ? d->wait_ns / 4 : OPEN_NS);
	if (err) {
		log_debug("donor %s: still lost: %s", text, error_last());
		if (donor_lost(d))
			wait_longer(donors, d, now);
		return;
	}
	log_warn("donor %s is back: it lends memory again; pages that were lost with it stay lost",
		 text);
}

/* The one whose time has come, or NULL. DONORS lock held. */
static struct donor *next_due(struct donors *donors, uint64_t now)
{
	for (uint32_t i = 0; i < donors->count; i++) {
		struct donor *d = &donors->donor[i];

		if (!can_come_back(d))
			continue;
		if (!d->retry_ns) { /* it has just died */
			if (now - d->joined_ns > WAIT_MOST_NS)
				d->wait_ns = 0;
			wait_longer(donors, d, now);
		} else if (now >= d->retry_ns) {
			d->back = is_here(donors, d);
			return d->back ? NULL : d;
		}
	}
	return NULL;
}

void donors_rejoin(struct leap *leap)
{
	struct donors *donors = &leap->donors;
	uint64_t now = clock_ns();
	struct donor *d;

	if (!leap->config.rejoin || !leap->config.remote)
		return;
	lock_acquire(&donors->lock);
	d = next_due(donors, now);
	lock_release(&donors->lock);
	if (d) /* one at a time: heartbeats wait for it */
		attempt(leap, d, now);
}
