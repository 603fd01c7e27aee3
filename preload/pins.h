/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pins.h - memory that the kernel or a device goes on using after a call has returned: registered buffers, rings.
 *
 * A page that is evicted by write-protection takes nothing along that is written to its frame afterwards, and no call
 * tells that a frame is in use. So what is registered stays local. struct pins is the list of ranges of one call;
 * pins_begin() keeps them while the call is made, pins_end() for as long as the memory lives if it was.
 */
#ifndef LEAP_PRELOAD_PINS_H
#define LEAP_PRELOAD_PINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct pins {
	struct iovec few[2];
	struct iovec *many; /* of the pager's memory, or NULL */
	size_t n, bytes;
};

/* Copies what a call's argument points to; false: the kernel is to find the fault. */
bool pins_copy(void *to, uint64_t from, size_t len);
/* Adds a range: at most two in all. */
void pins_add(struct pins *p, uint64_t addr, uint64_t len);
/* The ranges are those of an array of the program. -ENOMEM. */
int pins_array(struct pins *p, uint64_t iov, uint64_t n);
/* -ENOMEM, with a sentence in the log: the limit does not allow it, and the mover does not see what is pinned. */
int pins_begin(struct pins *p);
/* made: the call succeeded. errno is kept. */
void pins_end(struct pins *p, bool made);

#endif
