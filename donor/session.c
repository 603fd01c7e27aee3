/* SPDX-License-Identifier: Apache-2.0 */
#include "donor/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "donor/conn.h"
#include "donor/metrics.h"
#include "donor/report.h"
#include "libleap/util/sys.h"

#define SESSION_CONNS_MAX   256
#define TICKETS_MAX         4096
#define TICKETS_SESSION_MAX 64
#define GRANT_WAIT_NS       500000000ull /* most, while the keeper gives slabs back */

static void sentence_set(char *sentence, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void sentence_set(char *sentence, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(sentence, PROTO_SENTENCE_MAX, format, ap);
	va_end(ap);
}

void sessions_init(struct sessions *sessions, struct store *store, uint64_t ticket_life_ns)
{
	memset(sessions, 0, sizeof(*sessions));
	pthread_mutex_init(&sessions->lock, NULL);
	sessions->store = store;
	sessions->next_id = 1;
	sessions->ticket_life_ns = ticket_life_ns;
}

/* In time that does not depend on where they differ. */
static bool token_equal(const uint8_t *a, const uint8_t *b)
{
	unsigned diff = 0;

	for (int i = 0; i < PROTO_TOKEN_BYTES; i++)
		diff |= a[i] ^ b[i];
	return !diff;
}

static bool token_make(uint8_t *token)
{
	return getrandom(token, PROTO_TOKEN_BYTES, 0) == PROTO_TOKEN_BYTES;
}

static void slabs_drop(struct slab **slabs, uint32_t nslots, bool erase)
{
	for (uint32_t i = 0; i < nslots; i++)
		if (slabs[i]) {
			slab_drop(slabs[i], erase);
			keeper_progress();
		}
	free(slabs);
}

/* Takes the ticket out of the list; sessions.lock held. */
static struct ticket *ticket_take(struct sessions *sessions, const uint8_t *bytes)
{
	for (struct ticket **p = &sessions->tickets; *p; p = &(*p)->next) {
		struct ticket *t = *p;

		if (!token_equal(t->bytes, bytes))
			continue;
		*p = t->next;
		sessions->ntickets--;
		return t;
	}
	return NULL;
}

/* sessions.lock held. */
static enum proto_status session_admit(struct sessions *sessions, const struct proto_hello *hello,
				       struct ticket **ret_ticket, char *sentence)
{
	*ret_ticket = NULL;
	if (hello->kind == PROTO_KIND_CLONE) {
		*ret_ticket = ticket_take(sessions, hello->token);
		if (!*ret_ticket) {
			sentence_set(sentence, "the clone ticket is unknown or has expired");
			return PROTO_BAD_TOKEN;
		}
		return PROTO_OK;
	}
	if (atomic_load(&sessions->draining)) {
		sentence_set(
			sentence,
			"this donor is shutting down and takes no new clients; use another one");
		return PROTO_DRAINING;
	}
	if (sessions->count >= atomic_load(&sessions->clients_max)) {
		sentence_set(sentence,
			     "this donor serves %u clients already, its limit (--clients)",
			     sessions->count);
		return PROTO_BUSY;
	}
	return PROTO_OK;
}

enum proto_status session_new(struct sessions *sessions, const struct proto_hello *hello,
			      const char *peer, struct session **ret_session, char *sentence)
{
	struct session *s = calloc(1, sizeof(*s));
	enum proto_status status;
	struct ticket *ticket;

	if (!s || !token_make(s->token)) {
		free(s);
		sentence_set(sentence, "the donor is out of memory");
		return PROTO_IO;
	}
	pthread_mutex_init(&s->lock, NULL);
	atomic_store(&s->refs, 1);
	memcpy(s->client_id, hello->client_id, sizeof(s->client_id));
	memcpy(s->name, hello->name, sizeof(s->name));
	snprintf(s->peer, sizeof(s->peer), "%s", peer);
	s->features = hello->features & PROTO_FEATURE_RECLAIM;

	pthread_mutex_lock(&sessions->lock);
	status = session_admit(sessions, hello, &ticket, sentence);
	if (status) {
		pthread_mutex_unlock(&sessions->lock);
		pthread_mutex_destroy(&s->lock);
		free(s);
		return status;
	}
	if (ticket) {
		s->slabs = ticket->slabs;
		s->nslots = ticket->nslots;
		s->held = ticket->held;
		free(ticket);
	}
	s->id = sessions->next_id++;
	s->next = sessions->list;
	if (s->next)
		s->next->prev = s;
	sessions->list = s;
	sessions->count++;
	pthread_mutex_unlock(&sessions->lock);
	metrics_add(&metrics.clients, 1);
	metrics_add(&metrics.clients_total, 1);
	report_info("client %llu '%s' joined from %s%s", (unsigned long long)s->id, s->name,
		    s->peer, hello->kind == PROTO_KIND_CLONE ? " as a clone" : "");
	*ret_session = s;
	return PROTO_OK;
}

struct session *session_find(struct sessions *sessions, const uint8_t *token)
{
	struct session *found = NULL;

	pthread_mutex_lock(&sessions->lock);
	for (struct session *s = sessions->list; s; s = s->next)
		if (token_equal(s->token, token))
			found = s;
	if (found)
		atomic_fetch_add(&found->refs, 1);
	pthread_mutex_unlock(&sessions->lock);
	return found;
}

void session_put(struct session *session)
{
	if (atomic_fetch_sub(&session->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&session->lock);
	free(session->slabs);
	free(session);
}

bool session_join(struct session *session, struct conn *conn)
{
	bool ok;

	pthread_mutex_lock(&session->lock);
	ok = !session->ended && session->nconns < SESSION_CONNS_MAX;
	if (ok) {
		conn->session_prev = NULL;
		conn->session_next = session->conns;
		if (session->conns)
			session->conns->session_prev = conn;
		session->conns = conn;
		session->nconns++;
	}
	pthread_mutex_unlock(&session->lock);
	return ok;
}

void session_leave(struct session *session, struct conn *conn)
{
	pthread_mutex_lock(&session->lock);
	if (conn->session_prev)
		conn->session_prev->session_next = conn->session_next;
	else
		session->conns = conn->session_next;
	if (conn->session_next)
		conn->session_next->session_prev = conn->session_prev;
	session->nconns--;
	pthread_mutex_unlock(&session->lock);
}

static void session_depart(struct keeper_job *job)
{
	struct session *session =
		(struct session *)((char *)job - offsetof(struct session, departure));

	/* Not erased: a client that we dropped may still map its pages and must not see them
	 * change. */
	slabs_drop(session->gone, session->ngone, false);
	report(session->broken ? REPORT_WARN : REPORT_INFO,
	       "client %llu '%s' %s: %s; %u slabs back, %lluM written, %lluM read",
	       (unsigned long long)session->id, session->name, session->broken ? "dropped" : "left",
	       session->why, session->ngone_held,
	       (unsigned long long)(atomic_load(&session->bytes_in) >> 20),
	       (unsigned long long)(atomic_load(&session->bytes_out) >> 20));
	session_put(session);
}

void session_end(struct sessions *sessions, struct session *session, const char *why, bool broken)
{
	pthread_mutex_lock(&session->lock);
	if (session->ended) {
		pthread_mutex_unlock(&session->lock);
		return;
	}
	session->ended = true;
	session->broken = broken;
	snprintf(session->why, sizeof(session->why), "%s", why);
	session->gone = session->slabs;
	session->ngone = session->nslots;
	session->ngone_held = session->held;
	session->slabs = NULL;
	session->nslots = session->held = 0;
	for (struct conn *c = session->conns; c; c = c->session_next)
		shutdown(c->fd, SHUT_RDWR);
	pthread_mutex_unlock(&session->lock);

	pthread_mutex_lock(&sessions->lock);
	if (session->prev)
		session->prev->next = session->next;
	else
		sessions->list = session->next;
	if (session->next)
		session->next->prev = session->prev;
	sessions->count--;
	pthread_mutex_unlock(&sessions->lock);

	atomic_fetch_sub(&metrics.clients, 1);
	if (broken)
		metrics_add(&metrics.clients_broken, 1);
	atomic_fetch_add(&session->refs, 1);
	keeper_do(&session->departure, session_depart);
}

static uint32_t session_held(struct session *session)
{
	uint32_t held;

	pthread_mutex_lock(&session->lock);
	held = session->held;
	pthread_mutex_unlock(&session->lock);
	return held;
}

/* Finds or makes a free number; session lock held. */
static int slot_reserve(struct session *session, uint32_t *ret_slot)
{
	struct slab **table;
	uint32_t i, n;

	for (i = 0; i < session->nslots; i++)
		if (!session->slabs[i])
			goto found;
	if (i == PROTO_SLABS_MAX)
		return -ENOSPC;
	n = session->nslots ? session->nslots * 2 : 16;
	table = realloc(session->slabs, n * sizeof(*table));
	if (!table)
		return -ENOMEM;
	memset(table + i, 0, (n - i) * sizeof(*table));
	session->slabs = table;
	session->nslots = n;
found:
	*ret_slot = i;
	return 0;
}

static enum proto_status grant_refuse(struct sessions *sessions, int code, char *sentence)
{
	unsigned long long lent = atomic_load(&sessions->store->memory_bytes) >> 20;
	unsigned long long kept = store_kept_bytes(sessions->store) >> 20;

	metrics_add(&metrics.grants_refused, 1);
	if (code == -ENOSPC && atomic_load(&sessions->store->pressed))
		sentence_set(sentence, "the donor's machine is short of memory and grants nothing "
				       "now (--reserve)");
	else if (code == -ENOSPC && kept)
		sentence_set(sentence,
			     "the donor has lent all it has (%lluM, --memory), of which programs "
			     "still map %lluM whose sessions have ended; end them, or add a donor",
			     lent, kept);
	else if (code == -ENOSPC)
		sentence_set(sentence,
			     "the donor has lent all it has (%lluM, --memory); add a donor", lent);
	else
		sentence_set(sentence, "the donor could not make a slab: %s", strerror(-code));
	return code == -ENOSPC || code == -ENOMEM ? PROTO_NO_SPACE : PROTO_IO;
}

enum proto_status session_grant(struct sessions *sessions, struct session *session, bool mapped,
				uint32_t *ret_slab, char *sentence)
{
	uint64_t quota = atomic_load(&sessions->quota_bytes), seen, until_ns;
	struct slab *slab;
	int r;

	if (atomic_load(&sessions->draining)) {
		metrics_add(&metrics.grants_refused, 1);
		sentence_set(
			sentence,
			"this donor is shutting down and grants nothing more; add another donor");
		return PROTO_DRAINING;
	}
	/* Only the control connection grants and releases, so held cannot grow in between. */
	if (quota && (session_held(session) + (uint64_t)1) * PROTO_SLAB_BYTES > quota) {
		metrics_add(&metrics.grants_refused, 1);
		sentence_set(sentence,
			     "this client's quota of %lluM is used up (--quota); add a donor",
			     (unsigned long long)(quota >> 20));
		return PROTO_QUOTA;
	}
	seen = keeper_seen();
	until_ns = clock_ns() + GRANT_WAIT_NS;
	do {
		r = store_slab_new(sessions->store, mapped, &slab);
	} while (r == -ENOSPC && keeper_wait(&seen, until_ns));
	if (r)
		return grant_refuse(sessions, r, sentence);
	pthread_mutex_lock(&session->lock);
	r = session->ended ? -ENOENT : slot_reserve(session, ret_slab);
	if (!r) {
		session->slabs[*ret_slab] = slab;
		session->held++;
	}
	pthread_mutex_unlock(&session->lock);
	if (r) {
		slab_drop(slab, false);
		return grant_refuse(sessions, r, sentence);
	}
	metrics_add(&metrics.grants, 1);
	return PROTO_OK;
}

enum proto_status session_release(struct session *session, uint32_t number)
{
	struct slab *slab = NULL;

	pthread_mutex_lock(&session->lock);
	if (number < session->nslots)
		slab = session->slabs[number];
	if (slab) {
		session->slabs[number] = NULL;
		session->held--;
	}
	pthread_mutex_unlock(&session->lock);
	if (!slab)
		return PROTO_BAD_SLAB;
	slab_drop(slab, true);
	metrics_add(&metrics.releases, 1);
	return PROTO_OK;
}

struct slab *session_slab(struct session *session, uint32_t number)
{
	struct slab *slab = NULL;

	pthread_mutex_lock(&session->lock);
	if (number < session->nslots)
		slab = session->slabs[number];
	if (slab)
		slab_get(slab);
	pthread_mutex_unlock(&session->lock);
	return slab;
}

enum proto_status session_shared(struct session *session, uint32_t number, uint32_t *ret_shared)
{
	struct slab *slab = session_slab(session, number);

	if (!slab)
		return PROTO_BAD_SLAB;
	*ret_shared = atomic_load(&slab->holders) > 1;
	slab_put(slab);
	return PROTO_OK;
}

static struct ticket *ticket_new(struct session *session)
{
	struct ticket *t = calloc(1, sizeof(*t));

	if (!t || !token_make(t->bytes))
		goto fail;
	memcpy(t->name, session->name, sizeof(t->name));
	t->session = session->id;
	pthread_mutex_lock(&session->lock);
	t->nslots = session->nslots;
	t->held = session->held;
	t->slabs = calloc(t->nslots ? t->nslots : 1, sizeof(*t->slabs));
	for (uint32_t i = 0; t->slabs && i < t->nslots; i++) {
		t->slabs[i] = session->slabs[i];
		if (t->slabs[i])
			slab_hold(t->slabs[i]);
	}
	pthread_mutex_unlock(&session->lock);
	if (t->slabs)
		return t;
fail:
	free(t);
	return NULL;
}

enum proto_status session_clone(struct sessions *sessions, struct session *session,
				uint32_t life_ms, struct proto_ticket *ret_ticket, char *sentence)
{
	uint64_t life_ns = life_ms * 1000000ull, most_ns = sessions->ticket_life_ns;
	struct ticket *t = ticket_new(session);
	unsigned own = 0;
	bool full;

	if (!t) {
		sentence_set(sentence, "the donor is out of memory");
		return PROTO_IO;
	}
	t->expires_ns = clock_ns() + (life_ns < most_ns ? life_ns : most_ns);
	memcpy(ret_ticket->bytes, t->bytes, sizeof(t->bytes));
	pthread_mutex_lock(&sessions->lock);
	for (struct ticket *other = sessions->tickets; other; other = other->next)
		own += other->session == session->id;
	full = sessions->ntickets >= TICKETS_MAX || own >= TICKETS_SESSION_MAX;
	if (!full) {
		t->next = sessions->tickets;
		sessions->tickets = t;
		sessions->ntickets++;
	}
	pthread_mutex_unlock(&sessions->lock);
	if (full) {
		slabs_drop(t->slabs, t->nslots, false);
		free(t);
		sentence_set(sentence, "too many forks are under way (%u of this client)", own);
		return PROTO_BUSY;
	}
	metrics_add(&metrics.clones, 1);
	return PROTO_OK;
}

void session_info(struct sessions *sessions, struct session *session, struct proto_info *ret_info)
{
	uint64_t quota = atomic_load(&sessions->quota_bytes);
	uint64_t total = atomic_load(&sessions->store->memory_bytes);
	uint64_t used = session_held(session) * PROTO_SLAB_BYTES, free_bytes, left;

	free_bytes = atomic_load(&sessions->draining) ? 0 : store_free_bytes(sessions->store);
	if (quota && quota < total)
		total = quota;
	left = total > used ? (total - used) / PROTO_SLAB_BYTES * PROTO_SLAB_BYTES : 0;
	ret_info->free_bytes = free_bytes < left ? free_bytes : left;
	ret_info->total_bytes = total;
	ret_info->used_bytes = used;
}

void sessions_expire(struct sessions *sessions, uint64_t now_ns)
{
	struct ticket *gone = NULL, *t;

	pthread_mutex_lock(&sessions->lock);
	for (struct ticket **p = &sessions->tickets; *p;) {
		t = *p;
		if (t->expires_ns > now_ns) {
			p = &t->next;
			continue;
		}
		*p = t->next;
		t->next = gone;
		gone = t;
		sessions->ntickets--;
	}
	pthread_mutex_unlock(&sessions->lock);
	while ((t = gone)) {
		gone = t->next;
		report_info("clone ticket of '%s' expired: nobody came for it; %u slabs back",
			    t->name, t->held);
		slabs_drop(t->slabs, t->nslots, false);
		free(t);
	}
}

unsigned sessions_left(struct sessions *sessions)
{
	unsigned n;

	pthread_mutex_lock(&sessions->lock);
	n = sessions->count + sessions->ntickets;
	pthread_mutex_unlock(&sessions->lock);
	return n;
}

void sessions_ask_reclaim(struct sessions *sessions, unsigned slabs)
{
	unsigned holders = 0;

	pthread_mutex_lock(&sessions->lock);
	for (struct session *s = sessions->list; s; s = s->next)
		holders += (s->features & PROTO_FEATURE_RECLAIM) && session_held(s);
	for (struct session *s = sessions->list; s && holders; s = s->next) {
		unsigned share = (slabs + holders - 1) / holders, held = session_held(s);

		if ((s->features & PROTO_FEATURE_RECLAIM) && held)
			atomic_store(&s->reclaim_due, share < held ? share : held);
	}
	pthread_mutex_unlock(&sessions->lock);
}

void sessions_drain(struct sessions *sessions)
{
	atomic_store(&sessions->draining, true);
	pthread_mutex_lock(&sessions->lock);
	for (struct session *s = sessions->list; s; s = s->next)
		atomic_store(&s->notice_due, 1);
	pthread_mutex_unlock(&sessions->lock);
}
