/* SPDX-License-Identifier: Apache-2.0 */
/* pinned.c - see pinned.h. The common way reads one file. */
#include "libleap/uffd/pinned.h"

#include <errno.h>
#include <string.h>

#include "libleap/lock.h"
#include "libleap/log.h"
#include "libleap/uffd/rings.h"
#include "libleap/util/proc.h"
#include "libleap/util/sys.h"

#define SAY_AGAIN_NS (60 * 1000000000ull)
#define TRIES        4

static struct {
	struct lock lock;
	uint32_t version; /* odd while it changes */
	long pages;
} own = {.lock = LOCK_INIT(LOCK_RANK_PINNED)};

static uint64_t said_ns;

static long parse_kib(const char *at)
{
	long kib = 0;

	while (*at == ' ' || *at == '\t')
		at++;
	for (; *at >= '0' && *at <= '9'; at++)
		kib = kib * 10 + (*at - '0');
	return kib;
}

/* Pages that are pinned in the process; -errno where the kernel does not say. */
static long count_pinned(void)
{
	static const char field[] = "\nVmPin:";
	char text[4096 + 1], *at;
	off_t from = 0;
	long n;

	/* a long list of groups may come first; the parts overlap by more than the line */
	while ((n = proc_read(PROC_STATUS, text, sizeof(text) - 1, from)) > 0) {
		text[n] = 0;
		at = strstr(text, field);
		if (at && strchr(at + 1, '\n'))
			return parse_kib(at + sizeof(field) - 1) >> (LEAP_PAGE_SHIFT - 10);
		if (n <= 64)
			break;
		from += n - 64;
	}
	return n < 0 ? n : -ENODATA;
}

/* As count_pinned(), without the pager's own: what it counts must not change meanwhile. -EAGAIN: it does. */
static long count_others(void)
{
	for (int i = 0; i < TRIES; i++) {
		uint32_t version = __atomic_load_n(&own.version, __ATOMIC_ACQUIRE);
		long mine = __atomic_load_n(&own.pages, __ATOMIC_RELAXED), n = count_pinned();

		if (n < 0)
			return n;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!(version & 1) && __atomic_load_n(&own.version, __ATOMIC_RELAXED) == version)
			return n > mine ? n - mine : 0;
	}
	return -EAGAIN;
}

static void say(const char *what, unsigned long kib)
{
	uint64_t now = clock_ns(), said = __atomic_load_n(&said_ns, __ATOMIC_RELAXED);

	if ((said && now - said < SAY_AGAIN_NS) ||
	    !__atomic_compare_exchange_n(&said_ns, &said, now, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		return;
	log_warn("memory stays local, beyond the limit if need be: %s (%luK), and the mover wp "
		 "cannot see which pages that are, so it takes none; use the mover move (option "
		 "mover, Linux 6.8), which sees them, or register memory with io_uring only",
		 what, kib);
}

uint64_t pinned_pages(const char *base, uint64_t mask)
{
	long others = count_others(), left;
	struct rings rings;
	uint64_t held = mask;
	int err;

	if (!others)
		return 0;
	if (others == -EAGAIN)
		return mask;
	if (others < 0) {
		say("the kernel does not say what is pinned in the process", 0);
		return mask;
	}
	err = rings_look(&rings, count_others);
	left = err ? 0 : rings_left(&rings);
	if (!err && !left)
		held = rings_hold(&rings, base, mask);
	else if (!err)
		say("memory is pinned by something that is neither the pager nor a ring among the "
		    "program's descriptors",
		    (unsigned long)left << (LEAP_PAGE_SHIFT - 10));
	rings_end(&rings);
	return held;
}

long pinned_own_begin(void)
{
	lock_acquire(&own.lock);
	__atomic_fetch_add(&own.version, 1, __ATOMIC_ACQ_REL);
	return count_pinned();
}

void pinned_own_end(long pages)
{
	__atomic_fetch_add(&own.pages, pages, __ATOMIC_RELAXED);
	__atomic_fetch_add(&own.version, 1, __ATOMIC_RELEASE);
	lock_release(&own.lock);
}

long pinned_own_end_counted(long before)
{
	long after = count_pinned(), pages = before >= 0 && after > before ? after - before : 0;

	pinned_own_end(pages);
	return pages;
}

void pinned_forked(void)
{
	lock_init(&own.lock, LOCK_RANK_PINNED, 0);
	own.version = 0;
	own.pages = 0;
}
