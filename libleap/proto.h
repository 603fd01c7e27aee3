/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proto.h - the wire format between a client and leap-donor. This file is its specification.
 *
 * Carrier: a byte stream (TCP, or a unix socket for shm). All integers are little endian. Every
 * message, in both directions, is a head of 32 bytes followed by `length` bytes of body.
 *
 * Connections. A client has one *control* connection and, on TCP, one connection for each *lane*.
 * The client speaks first on each: HELLO. The donor answers HELLO_ACK; with a status other than OK
 * it then closes. Until the answer the client sends nothing else.
 *
 *   control, new      HELLO kind=CONTROL token=0        -> HELLO_ACK session, token
 *   control, clone    HELLO kind=CLONE   token=ticket   -> the same; holds the slabs of the ticket
 *   lane              HELLO kind=DEMAND|PREFETCH|WRITE token=session's -> HELLO_ACK
 *
 * Requests (client to donor), answered in the order in which they were sent on that connection,
 * each by one reply of the same type with the same id:
 *
 *   on      type     slab page npages body           reply when OK              reply when not
 *   control GRANT    0    0    0      -              slab, body proto_info      body: sentence
 *   control RELEASE  slab 0    0      -              body proto_info            body: sentence
 *   control SHARED   slab 0    0      -              npages = 0 or 1            body: sentence
 *   control INFO     0    0    0      -              body proto_info            -
 *   both    PING     0    0    0      -              body proto_info            -
 *   control CLONE    0    ms   0      -              body proto_ticket          body: sentence
 *                                                    (shm: and a connection)
 *   control BYE      0    0    0      -              then the donor closes      -
 *   control ATTACH   slab 0    0      -              body proto_region          body: sentence
 *   lane    READ     slab page 1..64  -              npages * 4096 bytes        as many zeroes
 *   lane    WRITE    slab page 1..64  npages * 4096  no body                    no body
 *
 * Fields not named above are 0. The reply to READ or WRITE repeats slab, page and npages, and is
 * as long whether it worked or not, so that a receiver can let many replies land in their buffers
 * with one call. CLONE makes a ticket good for `page` milliseconds (1..600000; the donor may cut
 * it to its own deadline): a second session that will hold all slabs that this one holds now. Over
 * a unix socket the reply to GRANT carries the slab's memfd (SCM_RIGHTS, one descriptor with the
 * first byte of the head); it is PROTO_SLAB_BYTES long and sealed against shrinking and growing. A
 * granted slab reads as zeroes.
 *
 * Donor-initiated messages (control connection only, id 0, no reply): RECLAIM asks the client to
 * give `npages` slabs back when it can (sent only to clients with PROTO_FEATURE_RECLAIM), NOTICE
 * carries a sentence (the donor drains). A client skips types it does not know, as long as the
 * head is sound.
 *
 * Ends. When the control connection closes for whatever reason the session ends, its lanes are
 * closed and its slabs are free at once, except for what clones or tickets hold. When a lane
 * closes, only the lane ends. A message that breaks a rule above ends the session of its sender
 * and nobody else's.
 *
 * RDMA carries the same control messages, but reads and writes pages by itself: ATTACH, only there, and
 * the rest stand in transport/rdma_proto.h.
 *
 * Growth. The head never changes. HELLO bodies may grow at their end (a receiver skips what it
 * does not know, up to PROTO_BODY_MAX); everything else needs a new version. `auth_length` bytes
 * of authentication will follow the HELLO body; in this version it must be 0.
 */
#ifndef LEAP_PROTO_H
#define LEAP_PROTO_H

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PROTO_MAGIC         0x314d504cu /* "LPM1" */
#define PROTO_VERSION       1
#define PROTO_PAGE_BYTES    4096u
#define PROTO_SLAB_BYTES    ((uint64_t)64 << 20)
#define PROTO_SLAB_PAGES    ((uint32_t)(PROTO_SLAB_BYTES / PROTO_PAGE_BYTES))
#define PROTO_SLABS_MAX     65536u /* slab numbers are smaller */
#define PROTO_IO_PAGES_MAX  64u
#define PROTO_TOKEN_BYTES   32
#define PROTO_NAME_BYTES    64
#define PROTO_SENTENCE_MAX  256u
#define PROTO_BODY_MAX      512u /* of anything but READ and WRITE */
#define PROTO_TICKET_MS_MAX 600000u

enum proto_type {
	PROTO_HELLO = 1,
	PROTO_HELLO_ACK = 2,
	PROTO_GRANT = 3,
	PROTO_RELEASE = 4,
	PROTO_SHARED = 5,
	PROTO_INFO = 6,
	PROTO_PING = 7,
	PROTO_CLONE = 8,
	PROTO_BYE = 9,
	PROTO_ATTACH = 10, /* RDMA only: transport/rdma_proto.h */
	PROTO_READ = 16,
	PROTO_WRITE = 17,
	PROTO_RECLAIM = 32,
	PROTO_NOTICE = 33,
};

enum proto_kind {
	PROTO_KIND_CONTROL = 0,
	PROTO_KIND_CLONE = 1,
	PROTO_KIND_DEMAND = 2,
	PROTO_KIND_PREFETCH = 3,
	PROTO_KIND_WRITE = 4,
	PROTO_KINDS,
};

enum proto_status {
	PROTO_OK = 0,
	PROTO_NO_SPACE = 1, /* the donor has lent all it has */
	PROTO_QUOTA = 2,    /* this client's share is used up */
	PROTO_DRAINING = 3, /* the donor is about to stop */
	PROTO_BAD_SLAB = 4, /* the session does not hold that slab */
	PROTO_VERSION_MISMATCH = 5,
	PROTO_BAD_TOKEN = 6, /* no such session or ticket */
	PROTO_AUTH = 7,      /* authentication asked for or missing */
	PROTO_BUSY = 8,      /* too many clients */
	PROTO_IO = 9,        /* the donor could not do it */
	PROTO_STATUSES,
};

#define PROTO_FEATURE_RECLAIM 1u /* client understands RECLAIM */

struct proto_head {
	uint32_t magic;
	uint32_t length; /* of the body */
	uint8_t type;
	uint8_t flags;   /* 0 */
	uint16_t status; /* 0 in requests */
	uint32_t npages;
	uint64_t id;
	uint32_t slab;
	uint32_t page;
};

struct proto_hello {
	uint16_t version;
	uint16_t kind;
	uint32_t auth_length;
	uint64_t features;
	uint64_t client_id[2];
	uint8_t token[PROTO_TOKEN_BYTES];
	char name[PROTO_NAME_BYTES]; /* NUL-padded, printable */
};

/* What the donor can still grant this client; the status stands in the head. */
struct proto_info {
	uint64_t free_bytes;
	uint64_t total_bytes; /* most this client could ever hold */
	uint64_t used_bytes;  /* what it holds */
};

struct proto_hello_ack {
	uint16_t version;
	uint16_t reserved[3];
	uint64_t features; /* of both sides */
	uint64_t session;
	uint64_t slab_bytes;
	struct proto_info info;
	uint8_t token[PROTO_TOKEN_BYTES];
	char sentence[PROTO_SENTENCE_MAX]; /* why not; NUL-padded */
};

struct proto_ticket {
	uint8_t bytes[PROTO_TOKEN_BYTES];
};

/* Where a slab is for RDMA. */
struct proto_region {
	uint64_t address;
	uint32_t key;
	uint32_t reserved;
};

#define PROTO_HEAD_BYTES sizeof(struct proto_head)

static_assert(sizeof(struct proto_head) == 32, "wire format");
static_assert(offsetof(struct proto_head, length) == 4, "wire format");
static_assert(offsetof(struct proto_head, type) == 8, "wire format");
static_assert(offsetof(struct proto_head, status) == 10, "wire format");
static_assert(offsetof(struct proto_head, npages) == 12, "wire format");
static_assert(offsetof(struct proto_head, id) == 16, "wire format");
static_assert(offsetof(struct proto_head, slab) == 24, "wire format");
static_assert(offsetof(struct proto_head, page) == 28, "wire format");
static_assert(sizeof(struct proto_hello) == 128, "wire format");
static_assert(offsetof(struct proto_hello, features) == 8, "wire format");
static_assert(offsetof(struct proto_hello, token) == 32, "wire format");
static_assert(offsetof(struct proto_hello, name) == 64, "wire format");
static_assert(sizeof(struct proto_info) == 24, "wire format");
static_assert(sizeof(struct proto_hello_ack) == 344, "wire format");
static_assert(offsetof(struct proto_hello_ack, info) == 32, "wire format");
static_assert(offsetof(struct proto_hello_ack, token) == 56, "wire format");
static_assert(offsetof(struct proto_hello_ack, sentence) == 88, "wire format");
static_assert(sizeof(struct proto_ticket) == 32, "wire format");
static_assert(sizeof(struct proto_region) == 16, "wire format");
static_assert(sizeof(struct proto_hello_ack) <= PROTO_BODY_MAX, "a body fits its buffer");

/* Between host and wire order; each is its own inverse. No code on little endian machines. */
static inline void proto_head_order(struct proto_head *h)
{
	h->magic = htole32(h->magic);
	h->length = htole32(h->length);
	h->status = htole16(h->status);
	h->npages = htole32(h->npages);
	h->id = htole64(h->id);
	h->slab = htole32(h->slab);
	h->page = htole32(h->page);
}

static inline void proto_hello_order(struct proto_hello *h)
{
	h->version = htole16(h->version);
	h->kind = htole16(h->kind);
	h->auth_length = htole32(h->auth_length);
	h->features = htole64(h->features);
	h->client_id[0] = htole64(h->client_id[0]);
	h->client_id[1] = htole64(h->client_id[1]);
}

static inline void proto_info_order(struct proto_info *i)
{
	i->free_bytes = htole64(i->free_bytes);
	i->total_bytes = htole64(i->total_bytes);
	i->used_bytes = htole64(i->used_bytes);
}

static inline void proto_region_order(struct proto_region *r)
{
	r->address = htole64(r->address);
	r->key = htole32(r->key);
}

static inline void proto_hello_ack_order(struct proto_hello_ack *a)
{
	a->version = htole16(a->version);
	a->features = htole64(a->features);
	a->session = htole64(a->session);
	a->slab_bytes = htole64(a->slab_bytes);
	proto_info_order(&a->info);
}

/* A head in host order with everything else 0. */
static inline struct proto_head proto_head_make(enum proto_type type, uint64_t id, uint32_t length)
{
	return (struct proto_head){.magic = PROTO_MAGIC, .length = length, .type = type, .id = id};
}

static inline bool proto_kind_is_lane(unsigned kind)
{
	return kind >= PROTO_KIND_DEMAND && kind < PROTO_KINDS;
}

static inline bool proto_text_ok(const char *text, size_t size)
{
	size_t i = 0;

	for (; i < size && text[i]; i++)
		if ((unsigned char)text[i] < 0x20 || (unsigned char)text[i] > 0x7e)
			return false;
	return i < size;
}

/* The checks below take messages in host order and return NULL, or which rule was broken. */

static inline const char *proto_hello_head_check(const struct proto_head *h)
{
	if (h->magic != PROTO_MAGIC)
		return "not a Leap message";
	if (h->type != PROTO_HELLO)
		return "the first message is not HELLO";
	if (h->length < sizeof(struct proto_hello) || h->length > PROTO_BODY_MAX)
		return "HELLO of impossible length";
	if (h->flags || h->status || h->slab || h->page || h->npages)
		return "HELLO with unused fields set";
	return NULL;
}

static inline const char *proto_hello_check(const struct proto_hello *hello)
{
	if (hello->kind >= PROTO_KINDS)
		return "HELLO of unknown kind";
	if (!proto_text_ok(hello->name, sizeof(hello->name)))
		return "HELLO whose name is not text";
	return NULL;
}

static inline const char *proto_io_check(const struct proto_head *h)
{
	uint32_t body = h->type == PROTO_WRITE ? h->npages * PROTO_PAGE_BYTES : 0;

	if (h->npages < 1 || h->npages > PROTO_IO_PAGES_MAX)
		return "request of too few or too many pages";
	if (h->length != body)
		return "request whose length is not that of its pages";
	if (h->slab >= PROTO_SLABS_MAX)
		return "impossible slab number";
	if (h->page >= PROTO_SLAB_PAGES || h->npages > PROTO_SLAB_PAGES - h->page)
		return "request past the end of a slab";
	return NULL;
}

/* A request on a connection after its handshake. */
static inline const char *proto_request_check(const struct proto_head *h, bool is_lane)
{
	if (h->magic != PROTO_MAGIC)
		return "not a Leap message";
	if (h->flags || h->status)
		return "request with unused fields set";
	if (h->type == PROTO_READ || h->type == PROTO_WRITE)
		return is_lane ? proto_io_check(h) : "page request on a control connection";
	if (h->length)
		return "request with a body";
	if (h->npages)
		return "request with unused fields set";
	if (h->type == PROTO_PING)
		return h->slab || h->page ? "request with unused fields set" : NULL;
	if (is_lane)
		return "unknown request on a lane";
	switch (h->type) {
	case PROTO_GRANT:
	case PROTO_INFO:
	case PROTO_BYE:
		return h->slab || h->page ? "request with unused fields set" : NULL;
	case PROTO_RELEASE:
	case PROTO_SHARED:
	case PROTO_ATTACH:
		if (h->page)
			return "request with unused fields set";
		return h->slab >= PROTO_SLABS_MAX ? "impossible slab number" : NULL;
	case PROTO_CLONE:
		if (h->slab)
			return "request with unused fields set";
		return h->page < 1 || h->page > PROTO_TICKET_MS_MAX ? "impossible ticket life"
								    : NULL;
	}
	return "unknown request";
}

/* The reply to a READ or WRITE on a lane, against the request's own head. */
static inline const char *proto_io_reply_check(const struct proto_head *h,
					       const struct proto_head *request)
{
	uint32_t body = request->type == PROTO_READ ? request->npages * PROTO_PAGE_BYTES : 0;

	if (h->magic != PROTO_MAGIC)
		return "not a Leap message";
	if (h->type != request->type || h->id != request->id)
		return "reply to another request";
	if (h->length != body || h->flags || h->status >= PROTO_STATUSES)
		return "malformed reply";
	if (h->slab != request->slab || h->page != request->page || h->npages != request->npages)
		return "reply for other pages";
	return NULL;
}

/* Anything that a donor may send on a control connection. */
static inline const char *proto_control_reply_check(const struct proto_head *h)
{
	if (h->magic != PROTO_MAGIC)
		return "not a Leap message";
	if (h->length > PROTO_BODY_MAX || h->flags || h->status >= PROTO_STATUSES)
		return "malformed reply";
	if (h->status)
		return h->length > PROTO_SENTENCE_MAX && h->type != PROTO_HELLO_ACK
			       ? "sentence too long"
			       : NULL;
	switch (h->type) {
	case PROTO_HELLO_ACK:
		return h->length < sizeof(struct proto_hello_ack) ? "malformed reply" : NULL;
	case PROTO_GRANT:
	case PROTO_RELEASE:
	case PROTO_INFO:
	case PROTO_PING:
		if (h->length != sizeof(struct proto_info) || h->slab >= PROTO_SLABS_MAX)
			return "malformed reply";
		return NULL;
	case PROTO_CLONE:
		return h->length != sizeof(struct proto_ticket) ? "malformed reply" : NULL;
	case PROTO_ATTACH:
		return h->length != sizeof(struct proto_region) ? "malformed reply" : NULL;
	case PROTO_SHARED:
		return h->length || h->npages > 1 ? "malformed reply" : NULL;
	case PROTO_BYE:
		return h->length ? "malformed reply" : NULL;
	}
	return NULL;
}

/* What a status means to the client. */
static inline int proto_status_errno(unsigned status)
{
	switch (status) {
	case PROTO_OK:
		return 0;
	case PROTO_NO_SPACE:
	case PROTO_QUOTA:
	case PROTO_DRAINING:
		return -ENOSPC;
	case PROTO_VERSION_MISMATCH:
		return -EPROTO;
	case PROTO_BAD_TOKEN:
	case PROTO_AUTH:
		return -EACCES;
	case PROTO_BUSY:
		return -ECONNREFUSED;
	}
	return -EIO;
}

#endif
