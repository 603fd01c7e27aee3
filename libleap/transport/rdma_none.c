/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_none.c - in the place of rdma*.c where rdma-core was not there at build time. */
#include <errno.h>
#include <stddef.h>

#include "libleap/error.h"
#include "libleap/transport/transport.h"

static int none_open(const struct donor_uri *uri, const struct transport_params *params,
		     struct port **ret_port)
{
	return error_set(EPROTONOSUPPORT,
			 "donor rdma://%s: this Leap was built without RDMA; build it with "
			 "libibverbs-dev and librdmacm-dev installed, or use tcp://",
			 uri->host);
}

/* Nothing else is ever called: there is no port. */
const struct transport_ops transport_rdma = {
	.size = sizeof(struct transport_ops),
	.name = "rdma",
	.open = none_open,
};
