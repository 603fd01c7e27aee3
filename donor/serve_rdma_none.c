/* SPDX-License-Identifier: Apache-2.0 */
/* serve_rdma_none.c - in the place of serve_rdma.c where rdma-core was not there at build time. */
#include <errno.h>
#include <stdio.h>

#include "donor/serve.h"
#include "donor/serve_rdma.h"

int serve_rdma_listen(struct donor *donor, const struct listen_address *address,
		      struct listener *ret, char *error, size_t size)
{
	snprintf(
		error, size,
		"cannot listen on rdma %s port %s: this leap-donor was built without RDMA; build it "
		"with libibverbs-dev and librdmacm-dev installed, or listen on tcp://",
		address->host, address->port);
	return -EPROTONOSUPPORT;
}

bool serve_rdma_owns(const struct listen_address *address)
{
	return false;
}

/* The rest is never called: there is no listener and no peer. */
void serve_rdma_run(struct listener *listener)
{
}

void serve_rdma_tick(struct listener *listener, uint64_t now_ns)
{
}

void serve_rdma_report(struct listener *listener)
{
}

void serve_rdma_close(struct listener *listener)
{
}

void rdma_peer_named(struct rdma_peer *peer, const struct session *session)
{
}

enum proto_status rdma_peer_attach(struct rdma_peer *peer, uint32_t number, struct slab *slab,
				   struct proto_region *ret_region, char *sentence)
{
	return PROTO_IO;
}

void rdma_peer_detach(struct rdma_peer *peer, uint32_t number)
{
}

void rdma_peer_leave_soon(struct rdma_peer *peer)
{
}
