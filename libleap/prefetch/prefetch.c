/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c - the table of prefetch policies. A new one is one line here. */
#include <string.h>

#include "libleap/prefetch/prefetch.h"

#define POLICIES(X)  \
	X(none)      \
	X(readahead) \
	X(majority)

#define POLICY_ENTRY(name) &prefetcher_##name,
#define POLICY_NAME(name)  ", " #name

static const struct prefetcher_ops *const policies[] = {POLICIES(POLICY_ENTRY)};
static const char names[] = POLICIES(POLICY_NAME);

const struct prefetcher_ops *prefetcher_find(const char *name)
{
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (!strcmp(policies[i]->name, name))
			return policies[i];
	return NULL;
}

const char *prefetcher_names(void)
{
	return names + 2;
}
