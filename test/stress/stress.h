/* SPDX-License-Identifier: Apache-2.0 */
/* stress.h - the pages of a stress run: what is in each, and whether it is. */
#ifndef TEST_STRESS_H
#define TEST_STRESS_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leap.h"

#define PAGE  4096ul
#define WORDS (PAGE / 8)

extern struct leap *leap;
extern char *base;
extern uint32_t *version; /* [page], written by the page's owner only; 0: zeroes */
extern volatile int stop, failed;
/* Of this thread: pages compared, pages that raised SIGBUS. */
extern _Thread_local uint64_t checked, lost;

/* What page holds in version v. */
void page_content(volatile uint64_t *w, size_t page, uint32_t v);
void write_page(size_t page);
/* Compares the page with its version: all of it, or a few words that `random` chooses. False: wrong, and said so. */
bool check_page(size_t page, bool all, uint64_t random);

/*
 * SIGBUS while a page is touched, which is right where a donor died. What touches pages does so between
 * `if (sigsetjmp(*touch_begin(), 1))`, whose branch is taken at SIGBUS and calls touch_lost(), and touch_end().
 */
void touch_init(bool with_losses);
sigjmp_buf *touch_begin(void);
void touch_end(void);
/* Gives the page up that raised SIGBUS: it is zero afterwards. */
void touch_lost(void);

#endif
