/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.h - the states of a page, the facts true in each, and the arrows between them.
 *
 *              first touch                    evict: take out
 *   ABSENT ------------------> LOCAL ------------------------> EVICTING
 *     ^  ^                    ^ ^ ^ ^                            |   |  \
 *     |  | discard (any)      | | | |   rescue (touch)           |   |   all zero, or
 *     |  +----                | | | +--------------------- LIMBO <   |   could not be taken
 *     |  all zero             | | |                        |         |   --> ABSENT / LOCAL
 *     |                       | | | map (touch)            | retire  |
 *     |                       | | STAGED <---- FILLING <---+-- REMOTE
 *     |                       | +----------------|  ^ |          |  (claimed by one filler)
 *     |                       |   install        |  | +----------+
 *     |                       |                  |  |   read failed
 *     |                       |                  +--+----> LOST  (poisoned: SIGBUS on touch)
 *
 *   Also: STAGED -> REMOTE (dropped unused), REMOTE -> LOCAL (read in one step), and ABSENT or REMOTE -> LOST
 *   (touched when there is no room anywhere). FILLING and EVICTING are left by their one worker only: a discard
 *   waits for it.
 *
 *   state     mapped in the program | content is in              | slot             | who may change it
 *   ABSENT    no                    | nowhere: reads as zeroes   | none             | shard lock
 *   LOCAL     yes                   | the program's page         | maybe (old copy) | shard lock
 *   FILLING   no                    | a read in flight           | yes              | its one filler
 *   STAGED    no                    | a staging buffer, verified | yes              | shard lock
 *   EVICTING  being taken out       | program's page, then limbo | maybe            | its one evictor
 *   LIMBO     no                    | its extent's limbo frame   | maybe            | shard lock
 *   REMOTE    no                    | its donor's slot only      | yes, STORED      | shard lock
 *   LOST      no (poison marker)    | gone                       | none             | shard lock
 *
 * (Also LIMBO -> LOST: no donor takes the page, and the kernel has no memory to map it again; LOCAL or EVICTING -> LOST: the
 * program dropped the page by a call that Leap did not see.)
 *
 * STORED means: the slot holds, acknowledged by the donor, bytes whose hash is page->hash. For a LOCAL
 * page these may be older than the page. A page enters REMOTE only with STORED set and WRITING clear: that
 * is invariant 1 (a local page is dropped only after its present content is acknowledged).
 *
 * Every state change goes through page_move(), under the shard's lock; readers of statistics may look
 * without it. A change into LOCAL, LOST, or back to REMOTE wakes threads that wait in the kernel.
 */
#ifndef LEAP_PAGE_H
#define LEAP_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum page_state {
	PAGE_ABSENT,
	PAGE_LOCAL,
	PAGE_FILLING,
	PAGE_STAGED,
	PAGE_EVICTING,
	PAGE_LIMBO,
	PAGE_REMOTE,
	PAGE_LOST,
	PAGE_NSTATES,
};

enum {
	PAGE_STATE_MASK = 0xf,
	PAGE_WAITED = 1 << 4,     /* a thread sleeps in the kernel until it is resolved */
	PAGE_STORED = 1 << 5,     /* see above */
	PAGE_WRITING = 1 << 6,    /* write-back in flight: may not be taken out again */
	PAGE_PREFETCHED = 1 << 7, /* brought by prefetch, not yet known to be touched */
	PAGE_MARKER = 1 << 8,     /* its touch reports progress of a window */
	PAGE_DEMAND = 1 << 9,     /* FILLING: a fault waits (not only prefetch) */
	PAGE_PIN_SHIFT = 20,      /* bits 20..31: pin count */
};
#define PAGE_PIN_ONE  (1u << PAGE_PIN_SHIFT)
#define PAGE_PIN_MASK (~(PAGE_PIN_ONE - 1))
#define PAGE_PINS_MAX (PAGE_PIN_MASK >> PAGE_PIN_SHIFT)

/* Metadata of a page: 16 bytes. An all-zero struct is an ABSENT page. */
struct page {
	uint32_t word; /* enum page_state | flags | pins */
	uint32_t slot; /* slab.h; 0 = none */
	uint64_t hash; /* of the slot's content, when STORED or WRITING */
};

static inline uint32_t page_word(const struct page *page)
{
	return __atomic_load_n(&page->word, __ATOMIC_RELAXED);
}

static inline enum page_state page_state(const struct page *page)
{
	return (enum page_state)(page_word(page) & PAGE_STATE_MASK);
}

static inline bool page_has(const struct page *page, uint32_t flag)
{
	return page_word(page) & flag;
}

static inline void page_set_flags(struct page *page, uint32_t set, uint32_t clear)
{
	__atomic_store_n(&page->word, (page_word(page) & ~clear) | set, __ATOMIC_RELAXED);
}

/* The most pins that a page can count. */
static inline bool page_pins_full(const struct page *page)
{
	return (page_word(page) & PAGE_PIN_MASK) == PAGE_PIN_MASK;
}

static inline bool page_pinned(const struct page *page)
{
	return page_word(page) & PAGE_PIN_MASK;
}

/* The arrows: bit b of page_arrows[a] says that a -> b exists. */
extern const uint16_t page_arrows[PAGE_NSTATES];
const char *page_state_name(enum page_state state);
/* Dies with a message naming the arrow; the state machine is broken. */
void page_bad_arrow(const struct page *page, enum page_state to) __attribute__((noreturn));
/* Debug builds: asserts the facts of the page's state that one page can show. */
void page_check(const struct page *page);

static inline void page_move(struct page *page, enum page_state to)
{
	uint32_t word = page_word(page);

#ifdef LEAP_DEBUG_CHECKS
	if (!(page_arrows[word & PAGE_STATE_MASK] & (1u << to)))
		page_bad_arrow(page, to);
#endif
	__atomic_store_n(&page->word, (word & ~(uint32_t)PAGE_STATE_MASK) | to, __ATOMIC_RELAXED);
#ifdef LEAP_DEBUG_CHECKS
	page_check(page);
#endif
}

#endif
