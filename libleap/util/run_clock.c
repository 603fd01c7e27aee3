/* SPDX-License-Identifier: Apache-2.0 */
/* run_clock.c - see run_clock.h. */
#include <stdbool.h>

#include "libleap/util/run_clock.h"
#include "libleap/util/sys.h"

static uint64_t seen, counted = 1; /* never 0 */

uint64_t run_clock_ns(void)
{
	uint64_t now = clock_ns(), last = __atomic_load_n(&seen, __ATOMIC_ACQUIRE), gap;

	if (now <= last || !__atomic_compare_exchange_n(&seen, &last, now, false, __ATOMIC_ACQ_REL,
							__ATOMIC_ACQUIRE))
		return __atomic_load_n(&counted, __ATOMIC_ACQUIRE);
	gap = now - last < RUN_CLOCK_MOST ? now - last : RUN_CLOCK_MOST;
	return __atomic_add_fetch(&counted, gap, __ATOMIC_ACQ_REL);
}
