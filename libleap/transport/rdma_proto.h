/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_proto.h - what RDMA adds to the wire format of proto.h.
 *
 * Every connection, control or lane, is made by the connection manager with a rdma_hello as private data (56 bytes
 * are there). The donor accepts with a rdma_welcome, or rejects with one that says why.
 *
 * On the control connection each message of proto.h, head and body, is one SEND, beginning with HELLO and HELLO_ACK
 * as on a stream; there is room for RDMA_RECVS of them on each side. GRANT passes no descriptor; ATTACH says where
 * a slab can be reached:
 *
 *   control ATTACH   slab 0    0      -              body proto_region          body: sentence
 *
 * A lane carries no messages: the client reads and writes the slab by itself. The key opens that slab to the
 * connections of that session alone (a protection domain of its own), until RELEASE or the end of the session.
 */
#ifndef LEAP_TRANSPORT_RDMA_PROTO_H
#define LEAP_TRANSPORT_RDMA_PROTO_H

#include "libleap/proto.h"

#define RDMA_RECVS         16
#define RDMA_MESSAGE_BYTES 1024 /* a message fits */

struct rdma_hello {
	uint32_t magic;       /* PROTO_MAGIC */
	uint16_t version;     /* PROTO_VERSION */
	uint16_t kind;        /* enum proto_kind */
	uint16_t auth_length; /* of authentication that follows in the first SEND; 0 in this version */
	uint16_t reserved;
	uint8_t token[PROTO_TOKEN_BYTES]; /* lanes: of the session; else 0, or the ticket */
};

struct rdma_welcome {
	uint32_t magic;
	uint16_t version;
	uint16_t status; /* enum proto_status */
};

static_assert(sizeof(struct rdma_hello) == 44, "wire format, at most 56");
static_assert(sizeof(struct rdma_welcome) == 8, "wire format");
static_assert(PROTO_HEAD_BYTES + PROTO_BODY_MAX <= RDMA_MESSAGE_BYTES, "a message fits");

static inline void rdma_hello_order(struct rdma_hello *h)
{
	h->magic = htole32(h->magic);
	h->version = htole16(h->version);
	h->kind = htole16(h->kind);
	h->auth_length = htole16(h->auth_length);
}

static inline void rdma_welcome_order(struct rdma_welcome *w)
{
	w->magic = htole32(w->magic);
	w->version = htole16(w->version);
	w->status = htole16(w->status);
}

#endif
