/* SPDX-License-Identifier: Apache-2.0 */
/* pages.c - what is in the pages of a stress run, and whether it is. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "test/stress/stress.h"

#define TWINS 32 /* one page in so many is the same as others, so that they can be merged */

_Thread_local uint64_t checked, lost;
static _Thread_local sigjmp_buf on_bus;
static _Thread_local volatile bool guarded;
static _Thread_local volatile size_t touched;
static bool may_lose;

static uint64_t word_of(uint64_t id, uint32_t v, unsigned i)
{
	uint64_t x = id * 0x9e3779b97f4a7c15ull + v * 0xc2b2ae3d27d4eb4full;

	if (i == 0)
		return (uint64_t)v << 32 | id;
	/* half of the words are constant within the page, so that it compresses */
	return i & 1 ? x : x ^ (i * 0xff51afd7ed558ccdull);
}

static uint64_t word(size_t page, uint32_t v, unsigned i)
{
	if (!v)
		return 0;
	if (page % TWINS == TWINS - 1)
		return word_of(TWINS - 1, v % 4, i);
	return word_of(page, v, i);
}

void page_content(volatile uint64_t *w, size_t page, uint32_t v)
{
	for (unsigned i = 0; i < WORDS; i++)
		w[i] = word(page, v, i);
}

void write_page(size_t page)
{
	touched = page;
	page_content((volatile uint64_t *)(base + page * PAGE), page, version[page] + 1);
	version[page]++;
}

bool check_page(size_t page, bool all, uint64_t random)
{
	const volatile uint64_t *w = (const volatile uint64_t *)(base + page * PAGE);
	unsigned i = 0;

	touched = page;
	while (i < WORDS) {
		uint64_t got = w[i], want = word(page, version[page], i);

		if (got != want) {
			fprintf(stderr,
				"stress: word %u of page %zu, version %u, is %lx, not %lx (pid %d)\n",
				i, page, version[page], got, want, getpid());
			failed = stop = 1;
			return false;
		}
		i += all ? 1 : 1 + random % (WORDS / 4);
		random >>= 7;
	}
	checked++;
	return true;
}

static void bus(int sig)
{
	if (guarded)
		siglongjmp(on_bus, 1);
	signal(sig, SIG_DFL); /* and again */
}

void touch_init(bool with_losses)
{
	struct sigaction action = {.sa_handler = bus, .sa_flags = SA_NODEFER};

	may_lose = with_losses;
	sigaction(SIGBUS, &action, NULL);
}

sigjmp_buf *touch_begin(void)
{
	guarded = true;
	return &on_bus;
}

void touch_end(void)
{
	guarded = false;
}

void touch_lost(void)
{
	guarded = false;
	lost++;
	if (may_lose && !leap_advise(leap, base + touched * PAGE, PAGE, LEAP_ADVISE_DONTNEED)) {
		version[touched] = 0;
		return;
	}
	fprintf(stderr, "stress: page %zu, version %u, raised SIGBUS%s%s (pid %d)\n", touched,
		version[touched], may_lose ? ", and cannot be given up: " : "",
		may_lose ? leap_last_error() : "", getpid());
	failed = stop = 1;
}
