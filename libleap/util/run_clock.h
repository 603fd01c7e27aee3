/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_clock.h - the time that this process ran and looked: what a peer's silence is measured by.
 *
 * A process that was stopped, or got no CPU, heard nothing because it did not listen. Between two looks at most
 * RUN_CLOCK_MOST counts; whoever waits for a peer looks at least that often.
 */
#ifndef LEAP_UTIL_RUN_CLOCK_H
#define LEAP_UTIL_RUN_CLOCK_H

#include <stdint.h>

#define RUN_CLOCK_SLICE_MS 100 /* sleeps between two looks are no longer */
#define RUN_CLOCK_MOST     250000000ull

/* Looks, and answers in nanoseconds since some point. Any thread. */
uint64_t run_clock_ns(void);

#endif
