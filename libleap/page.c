/* SPDX-License-Identifier: Apache-2.0 */
/* page.c - the table of arrows of page.h, and its checks. */
#include <stdlib.h>

#include "libleap/log.h"
#include "libleap/page.h"

#define TO(s) (1u << PAGE_##s)

const uint16_t page_arrows[PAGE_NSTATES] = {
	[PAGE_ABSENT] = TO(LOCAL) | TO(LOST),
	[PAGE_LOCAL] = TO(EVICTING) | TO(ABSENT) | TO(LOST),
	[PAGE_FILLING] = TO(LOCAL) | TO(STAGED) | TO(REMOTE) | TO(LOST),
	[PAGE_STAGED] = TO(LOCAL) | TO(REMOTE) | TO(ABSENT),
	[PAGE_EVICTING] = TO(LIMBO) | TO(LOCAL) | TO(ABSENT) | TO(LOST),
	[PAGE_LIMBO] = TO(LOCAL) | TO(REMOTE) | TO(ABSENT) | TO(LOST),
	[PAGE_REMOTE] = TO(FILLING) | TO(LOCAL) | TO(LOST) | TO(ABSENT),
	[PAGE_LOST] = TO(ABSENT),
};

const char *page_state_name(enum page_state state)
{
	static const char *const names[PAGE_NSTATES] = {
		"absent", "local", "filling", "staged", "evicting", "limbo", "remote", "lost",
	};

	return (unsigned)state < PAGE_NSTATES ? names[state] : "?";
}

void page_bad_arrow(const struct page *page, enum page_state to)
{
	log_error("internal error: page goes from %s to %s (word %x)",
		  page_state_name(page_state(page)), page_state_name(to), page_word(page));
	abort();
}

static void fact(const struct page *page, bool holds, const char *what)
{
	if (holds)
		return;
	log_error("internal error: page %s, word %x, slot %u: %s",
		  page_state_name(page_state(page)), page_word(page), page->slot, what);
	abort();
}

void page_check(const struct page *page)
{
	enum page_state s = page_state(page);

	fact(page, s != PAGE_REMOTE || page->slot, "remote without a slot");
	fact(page, s != PAGE_REMOTE || page_has(page, PAGE_STORED), "remote, but not stored");
	fact(page, s != PAGE_REMOTE || !page_has(page, PAGE_WRITING), "remote while being written");
	fact(page, s != PAGE_FILLING || page_has(page, PAGE_STORED), "filled from nothing");
	fact(page, s != PAGE_EVICTING || !page_pinned(page), "evicting a pinned page");
}
