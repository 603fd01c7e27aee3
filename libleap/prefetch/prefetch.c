/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c - the prefetch policies by name. */
#include <string.h>

#include "libleap/prefetch/prefetch.h"

static const struct prefetcher_ops *const policies[] = {
	&prefetcher_none,
	&prefetcher_readahead,
	&prefetcher_majority,
};

const struct prefetcher_ops *prefetcher_find(const char *name)
{
	for (unsigned i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		if (!strcmp(policies[i]->name, name))
			return policies[i];
	return NULL;
}

/* For messages; a test compares it with the table. */
const char *prefetcher_names(void)
{
	return "none, readahead, majority";
}
