/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_peer.c - which slabs a client can reach, and with which keys. */
#include "donor/rdma_peer.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "donor/report.h"
#include "donor/serve_rdma.h"
#include "donor/session.h"
#include "donor/store.h"

void rdma_peer_named(struct rdma_peer *peer, const struct session *session)
{
	pthread_mutex_lock(&peer->lock);
	memcpy(peer->token, session->token, sizeof(peer->token));
	peer->session = session->id;
	peer->named = true;
	pthread_mutex_unlock(&peer->lock);
	report_info("client %llu: rdma over %s port %u, MTU %u, %u outstanding reads a QP",
		    (unsigned long long)session->id, peer->host->verbs->device->name,
		    peer->port_num, peer->mtu, peer->reads);
}

/* Lock held. */
static void describe(const struct rdma_peer *peer, const char *when, unsigned lanes,
		     uint64_t registered_bytes)
{
	report_info("client %llu: rdma over %s port %u, MTU %u, %s: %u QPs, %u outstanding reads "
		    "each, %lluM registered",
		    (unsigned long long)peer->session, peer->host->verbs->device->name,
		    peer->port_num, peer->mtu, when, lanes + 1, peer->reads,
		    (unsigned long long)registered_bytes >> 20);
}

void rdma_peer_report(struct rdma_peer *peer)
{
	pthread_mutex_lock(&peer->lock);
	if (peer->named && !peer->left)
		describe(peer, "now", atomic_load(&peer->nlanes), peer->registered_bytes);
	pthread_mutex_unlock(&peer->lock);
}

/* Room for the number; lock held. */
static struct peer_key *key_room(struct rdma_peer *peer, uint32_t number)
{
	uint32_t n = peer->nkeys ? peer->nkeys : 16;
	struct peer_key *keys;

	if (number < peer->nkeys)
		return &peer->keys[number];
	while (n <= number)
		n *= 2;
	keys = realloc(peer->keys, n * sizeof(*keys));
	if (!keys)
		return NULL;
	memset(keys + peer->nkeys, 0, (n - peer->nkeys) * sizeof(*keys));
	peer->keys = keys;
	peer->nkeys = n;
	return &keys[number];
}

static void refusal(char *sentence, int code)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_MEMLOCK, &limit);
	if ((code == ENOMEM || code == EPERM || code == EAGAIN) && limit.rlim_cur != RLIM_INFINITY)
		snprintf(sentence, PROTO_SENTENCE_MAX,
			 "the donor may lock %lluK of memory (ulimit -l), each slab lent by RDMA "
			 "needs %lluK of it: raise the limit, e.g. LimitMEMLOCK=infinity",
			 (unsigned long long)limit.rlim_cur >> 10,
			 (unsigned long long)PROTO_SLAB_BYTES >> 10);
	else
		snprintf(sentence, PROTO_SENTENCE_MAX,
			 "the donor's RDMA device cannot register a slab: %s", strerror(code));
}

/* Lock held. */
static enum proto_status key_make(struct rdma_peer *peer, struct peer_key *key, struct slab *slab,
				  char *sentence)
{
	int code;

	key->mr = ibv_reg_mr(peer->pd, slab->base, PROTO_SLAB_BYTES,
			     IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
				     IBV_ACCESS_REMOTE_WRITE);
	if (!key->mr) {
		code = errno ? errno : EIO;
		refusal(sentence, code);
		report_warn("%s: %s", peer->name, sentence);
		return code == ENOMEM ? PROTO_NO_SPACE : PROTO_IO;
	}
	slab_get(slab);
	key->slab = slab;
	peer->registered_bytes += PROTO_SLAB_BYTES;
	if (peer->registered_most < peer->registered_bytes)
		peer->registered_most = peer->registered_bytes;
	return PROTO_OK;
}

/* Lock held. The device waits for accesses under way. */
static void key_revoke(struct rdma_peer *peer, struct peer_key *key)
{
	if (!key->slab)
		return;
	if (ibv_dereg_mr(key->mr))
		report_error("%s: a key cannot be revoked: %s", peer->name, strerror(errno));
	slab_put(key->slab);
	key->slab = NULL;
	peer->registered_bytes -= PROTO_SLAB_BYTES;
}

enum proto_status rdma_peer_attach(struct rdma_peer *peer, uint32_t number, struct slab *slab,
				   struct proto_region *ret_region, char *sentence)
{
	enum proto_status status = PROTO_OK;
	struct peer_key *key;

	pthread_mutex_lock(&peer->lock);
	key = key_room(peer, number);
	if (!key) {
		snprintf(sentence, PROTO_SENTENCE_MAX, "the donor is out of memory");
		status = PROTO_IO;
	} else if (!key->slab) {
		status = key_make(peer, key, slab, sentence);
	}
	if (!status)
		*ret_region = (struct proto_region){.address = (uintptr_t)slab->base,
						    .key = key->mr->rkey};
	pthread_mutex_unlock(&peer->lock);
	return status;
}

void rdma_peer_detach(struct rdma_peer *peer, uint32_t number)
{
	pthread_mutex_lock(&peer->lock);
	if (number < peer->nkeys)
		key_revoke(peer, &peer->keys[number]);
	pthread_mutex_unlock(&peer->lock);
}

static void peer_leave(struct keeper_job *job)
{
	struct rdma_peer *peer =
		(struct rdma_peer *)((char *)job - offsetof(struct rdma_peer, leave));

	pthread_mutex_lock(&peer->lock);
	if (peer->named) /* lanes have ended by now, slabs may have been given back */
		describe(peer, "ends, at most", atomic_load(&peer->nlanes_most),
			 peer->registered_most);
	for (uint32_t i = 0; i < peer->nkeys; i++)
		key_revoke(peer, &peer->keys[i]);
	peer->left = true;
	pthread_mutex_unlock(&peer->lock);
	rdma_peer_put(peer);
}

void rdma_peer_leave_soon(struct rdma_peer *peer)
{
	keeper_do(&peer->leave, peer_leave);
}

void rdma_peer_put(struct rdma_peer *peer)
{
	if (atomic_fetch_sub(&peer->refs, 1) != 1)
		return;
	for (uint32_t i = 0; i < peer->nkeys; i++)
		key_revoke(peer, &peer->keys[i]);
	if (peer->pd && ibv_dealloc_pd(peer->pd))
		report_error("%s: its protection domain stays: %s", peer->name, strerror(errno));
	pthread_mutex_destroy(&peer->lock);
	free(peer->keys);
	free(peer);
}
