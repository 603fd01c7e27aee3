/* SPDX-License-Identifier: Apache-2.0 */
/* transport.c - the table of transports. A new one is one line here. */
#include "libleap/transport/transport.h"

#include <string.h>

#define TRANSPORTS(X) \
	X(loop)       \
	X(shm)        \
	X(tcp)        \
	X(faulty)     \
	X(faultysync)

#define TRANSPORT_ENTRY(name) &transport_##name,
#define TRANSPORT_NAME(name)  ", " #name

static const struct transport_ops *const transports[] = {TRANSPORTS(TRANSPORT_ENTRY)};
static const char names[] = TRANSPORTS(TRANSPORT_NAME);

const struct transport_ops *transport_find(const char *scheme)
{
	for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++) {
		if (!strcmp(transports[i]->name, scheme))
			return transports[i];
	}
	return NULL;
}

const char *transport_names(void)
{
	return names + 2;
}
