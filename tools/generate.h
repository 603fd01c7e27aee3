/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generate.h - made-up traces: the access patterns that prefetchers are good and bad at. The same seed makes
 * the same trace, on every machine.
 */
#ifndef LEAP_TOOLS_GENERATE_H
#define LEAP_TOOLS_GENERATE_H

#include <stdint.h>

#include "tools/trace_file.h"

struct generator {
	const char *name;
	const char *help;
};

extern const struct generator generators[];
extern const unsigned generators_count;

/* -ENOENT without a sentence when there is none of that name. */
int generate(const char *name, uint64_t accesses, uint64_t seed, struct trace *ret_trace);

#endif
