/* SPDX-License-Identifier: Apache-2.0 */
/* transport.c - the table of transports. A new one is one line here. */
#include "libleap/transport/transport.h"

#include <string.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/transport/uri.h"
#include "libleap/util/fmt.h"

#define TRANSPORTS(X) \
	X(loop)       \
	X(shm)        \
	X(tcp)        \
	X(rdma)       \
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

static int open_as(const char *scheme, const struct donor_uri *uri,
		   const struct transport_params *params, const struct transport_ops **ret_ops,
		   struct port **ret_port)
{
	struct donor_uri as = *uri;

	strcpy(as.scheme, scheme);
	*ret_ops = transport_find(scheme);
	return (*ret_ops)->open(&as, params, ret_port);
}

int transport_open(const struct donor_uri *uri, const struct transport_params *params,
		   const struct transport_ops **ret_ops, struct port **ret_port)
{
	char why[400], text[300];
	int r;

	if (strcmp(uri->scheme, "auto"))
		return open_as(uri->scheme, uri, params, ret_ops, ret_port);
	if (!open_as("rdma", uri, params, ret_ops, ret_port))
		return 0;
	fmt_print(why, sizeof(why), "%s", error_last());
	r = open_as("tcp", uri, params, ret_ops, ret_port);
	if (r)
		return r;
	uri_format(uri, text, sizeof(text));
	log_info("%s: tcp is taken, because: %s", text, why);
	return 0;
}

const char *transport_names(void)
{
	return names + 2;
}
