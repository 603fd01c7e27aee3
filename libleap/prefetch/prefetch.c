/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c - the table of prefetch policies. A new one is one line here. */
#include <string.h>

#include "libleap/prefetch/prefetch.h"

/* identifier, name */
#define POLICIES(X)                       \
	X(none, "none")                   \
	X(nextn, "nextn")                 \
	X(stride, "stride")               \
	X(readahead, "readahead")         \
	X(vma_readahead, "vma-readahead") \
	X(majority, "majority")           \
	X(streams, "streams")             \
	X(adaptive, "adaptive")           \
	X(replay, "replay")

#define POLICY_ENTRY(id, name) &prefetcher_##id,
#define POLICY_NAME(id, name)  ", " name

static const struct prefetcher_ops *const policies[] = {POLICIES(POLICY_ENTRY)};
static const char names[] = POLICIES(POLICY_NAME);

const struct prefetcher_ops *prefetcher_find(const char *name)
{
	size_t n = strcspn(name, ":");

	if (name[n] && (n != strlen("replay") || memcmp(name, "replay", n)))
		return NULL;
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (!strncmp(policies[i]->name, name, n) && !policies[i]->name[n])
			return policies[i];
	return NULL;
}

const char *prefetcher_names(void)
{
	return names + 2;
}
