/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - worker threads: epoll, turns, and the closing of connections.
 *
 *   accepted -> control worker -- HELLO of a lane --> one of the data workers
 *
 * Each round serves demand lanes and control connections first, then one turn of each connection
 * that had more work than a turn holds. A closed connection is freed at the end of the round,
 * since the round's events may still name it.
 */
#define _GNU_SOURCE
#include "donor/serve.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "donor/keeper.h"
#include "donor/metrics.h"
#include "donor/report.h"
#include "donor/serve_rdma.h"
#include "libleap/util/sys.h"

#define WORKER_EVENTS 64
#define SWEEP_NS      250000000ull
#define FULL_SAY_NS   10000000000ull
#define STRANGERS_MAX 256u

/* How many connections may wait to say who they are. */
static unsigned strangers_max(const struct donor *donor)
{
	return donor->conns_max / 2 < STRANGERS_MAX ? donor->conns_max / 2 : STRANGERS_MAX;
}

static void ready_add(struct worker *w, struct conn *c)
{
	if (c->ready)
		return;
	c->ready = true;
	c->ready_next = NULL;
	*w->ready_tail = c;
	w->ready_tail = &c->ready_next;
}

static void conn_interest(struct worker *w, struct conn *c)
{
	unsigned want = c->blocked ? EPOLLOUT : EPOLLIN;
	struct epoll_event ev = {.events = want, .data.ptr = c};

	if (want == c->interest)
		return;
	c->interest = want;
	epoll_ctl(w->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

/* Lock held. */
static void conns_add(struct worker *w, struct conn *c)
{
	c->worker = w;
	c->prev = NULL;
	c->next = w->conns;
	if (c->next)
		c->next->prev = c;
	w->conns = c;
}

/* Lock held. */
static void conns_remove(struct worker *w, struct conn *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		w->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

static void conn_close(struct worker *w, struct conn *c)
{
	struct sessions *sessions = &w->donor->sessions;

	if (c->closed)
		return;
	c->closed = true;
	/* Keys first: what is free can be lent to the next. */
	if (c->rdma)
		rdma_peer_leave_soon(c->rdma);
	c->rdma = NULL;
	if (c->session) {
		session_leave(c->session, c);
		if (c->state == CONN_CONTROL || c->rule_broken)
			session_end(sessions, c->session,
				    c->why ? c->why : "it closed the connection", c->rule_broken);
		session_put(c->session);
		c->session = NULL;
	} else if (c->rule_broken) {
		report_warn("connection from %s dropped: %s", c->peer, c->why);
	}
	conn_release(c);
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	close(c->fd);
	pthread_mutex_lock(&w->lock);
	conns_remove(w, c);
	pthread_mutex_unlock(&w->lock);
	c->next = w->dead;
	w->dead = c;
	atomic_fetch_sub(&metrics.connections, 1);
}

/* To a data worker, which has an answer to send first, so that its turn comes. It may run and free it before we return. */
static void conn_move(struct worker *from, struct conn *c)
{
	struct donor *donor = from->donor;
	struct worker *to = &donor->workers[donor->next_worker++ % donor->nworkers];
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
	int r;

	epoll_ctl(from->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	pthread_mutex_lock(&from->lock);
	conns_remove(from, c);
	pthread_mutex_unlock(&from->lock);
	c->interest = ev.events;
	pthread_mutex_lock(&to->lock);
	conns_add(to, c);
	r = epoll_ctl(to->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
	if (r)
		conns_remove(to, c);
	pthread_mutex_unlock(&to->lock);
	if (!r)
		return;
	pthread_mutex_lock(&from->lock);
	conns_add(from, c);
	pthread_mutex_unlock(&from->lock);
	conn_close(from, c);
}

static void conn_run(struct worker *w, struct conn *c)
{
	switch (conn_turn(c)) {
	case TURN_MOVE:
		conn_move(w, c);
		break;
	case TURN_CLOSE:
		conn_close(w, c);
		break;
	case TURN_MORE:
		ready_add(w, c);
		break;
	case TURN_WAIT:
		conn_interest(w, c);
		break;
	}
}

/* A machine that does not acknowledge what we send is gone; one whose program sleeps is not. */
static bool conn_peer_gone(const struct conn *c, uint64_t timeout_ns)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (c->local || !c->out_count)
		return false;
	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return false;
	return info.tcpi_unacked && info.tcpi_retransmits > 1 &&
	       info.tcpi_last_ack_recv * 1000000ull > timeout_ns;
}

static void worker_sweep(struct worker *w, uint64_t now)
{
	uint64_t deadline = w->donor->options.deadline_ns;
	unsigned strangers = 0, most = strangers_max(w->donor);
	struct conn *next;

	pthread_mutex_lock(&w->lock);
	next = w->conns;
	atomic_store(&w->strangers, 0);
	pthread_mutex_unlock(&w->lock);
	for (struct conn *c = next; c; c = next) {
		next = c->next; /* only this thread removes; the accepting thread adds in front */
		if (c->state == CONN_HELLO && c->stranger && ++strangers > most) {
			report_info("connection from %s dropped: more than %u wait for their "
				    "handshake, and this is the oldest",
				    c->peer, most);
			conn_close(w, c);
			/* one may have been opened after `now` was taken */
		} else if (c->state == CONN_HELLO && now > c->opened_ns &&
			   now - c->opened_ns > deadline) {
			report_info("connection from %s dropped: no handshake within the deadline",
				    c->peer);
			conn_close(w, c);
		} else if (conn_peer_gone(c, w->donor->options.client_timeout_ns)) {
			c->why = "its machine does not answer";
			conn_close(w, c);
		}
	}
	w->swept_ns = now;
}

static void worker_notices(struct worker *w)
{
	struct conn *list;

	pthread_mutex_lock(&w->lock);
	list = w->conns;
	pthread_mutex_unlock(&w->lock);
	for (struct conn *c = list; c; c = c->next)
		if (c->state == CONN_CONTROL)
			ready_add(w, c);
}

static void worker_ready(struct worker *w)
{
	struct conn *list = w->ready, *c;

	w->ready = NULL;
	w->ready_tail = &w->ready;
	while ((c = list)) {
		list = c->ready_next;
		c->ready = false;
		if (!c->closed)
			conn_run(w, c);
	}
}

static bool conn_urgent(const struct conn *c)
{
	return c->state != CONN_LANE || c->kind == PROTO_KIND_DEMAND;
}

/* Each is run once: then it may be another worker's. */
static void worker_events(struct worker *w, struct epoll_event *ev, int n)
{
	uint64_t junk;

	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (!c) {
				if (pass == 0 && read(w->wake_fd, &junk, sizeof(junk)) > 0 &&
				    atomic_exchange(&w->notices, false))
					worker_notices(w);
			} else if (pass == 1 || conn_urgent(c)) {
				ev[i].data.ptr = NULL;
				if (!c->closed && !c->ready)
					conn_run(w, c);
			}
		}
	}
}

static int worker_timeout(struct worker *w, uint64_t now)
{
	if (w->ready)
		return 0;
	if (!w->control && now - w->busy_ns < w->donor->options.spin_ns)
		return 0;
	return (int)(SWEEP_NS / 1000000);
}

static void worker_bury(struct worker *w)
{
	struct conn *c;

	while ((c = w->dead)) {
		w->dead = c->next;
		free(c);
	}
}

static void *worker_main(void *arg)
{
	struct epoll_event ev[WORKER_EVENTS];
	struct worker *w = arg;
	uint64_t now;
	int n;

	store_bind_thread(&w->donor->store);
	while (!atomic_load(&w->stop)) {
		now = clock_ns();
		if (now - w->swept_ns > SWEEP_NS ||
		    atomic_load(&w->strangers) > strangers_max(w->donor))
			worker_sweep(w, now);
		n = epoll_wait(w->epoll_fd, ev, WORKER_EVENTS, worker_timeout(w, now));
		if (n > 0) {
			w->busy_ns = w->donor->options.spin_ns ? clock_ns() : 0;
			worker_events(w, ev, n);
		}
		worker_ready(w);
		worker_bury(w);
	}
	return NULL;
}

static void worker_wake(struct worker *w)
{
	uint64_t one = 1;

	if (write(w->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		report_warn("cannot wake a worker: %s", strerror(errno));
}

/* What is left of the descriptors is kept for those that are connected: their slabs have one each. */
static bool donor_has_room(struct donor *donor, const char *peer)
{
	uint64_t now = clock_ns();

	if (atomic_load(&metrics.connections) < donor->conns_max)
		return true;
	if (!donor->full_said_ns || now - donor->full_said_ns > FULL_SAY_NS)
		report_warn("connection from %s refused: there are %u, half of what the limit on "
			    "descriptors allows (ulimit -n); raise it",
			    peer, donor->conns_max);
	donor->full_said_ns = now;
	return false;
}

void worker_adopt(struct donor *donor, int fd, enum conn_from from, bool local, const char *peer,
		  struct rdma_peer *rdma)
{
	struct worker *w = &donor->control;
	bool stranger = from == FROM_STRANGER, crowded = false;
	struct conn *c = !stranger || donor_has_room(donor, peer) ? calloc(1, sizeof(*c)) : NULL;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

	if (!c)
		goto fail_close;
	c->fd = fd;
	c->local = local;
	c->rdma = rdma;
	c->opened_ns = clock_ns();
	c->interest = EPOLLIN;
	snprintf(c->peer, sizeof(c->peer), "%s", peer);
	pthread_mutex_lock(&w->lock);
	conns_add(w, c);
	c->stranger = stranger;
	if (stranger)
		crowded = atomic_fetch_add(&w->strangers, 1) >= strangers_max(donor);
	atomic_fetch_add(&metrics.connections, 1);
	/* From here on the worker may run and free it. */
	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		conns_remove(w, c);
		atomic_fetch_sub(&metrics.connections, 1);
		pthread_mutex_unlock(&w->lock);
		free(c);
		goto fail_close;
	}
	pthread_mutex_unlock(&w->lock);
	if (crowded)
		worker_wake(w);
	return;
fail_close:
	if (rdma)
		rdma_peer_leave_soon(rdma);
	close(fd);
}

static int worker_start(struct donor *donor, struct worker *w, const char *name)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int r;

	w->control = w == &donor->control;
	w->donor = donor;
	w->ready_tail = &w->ready;
	pthread_mutex_init(&w->lock, NULL);
	w->scratch = malloc(WORKER_SCRATCH_BYTES);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!w->scratch || w->epoll_fd < 0 || w->wake_fd < 0)
		return -errno;
	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->wake_fd, &ev))
		return -errno;
	r = pthread_create(&w->thread, NULL, worker_main, w);
	if (!r)
		pthread_setname_np(w->thread, name);
	return -r;
}

int workers_start(struct donor *donor, char *error, size_t size)
{
	unsigned n = donor->options.threads;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int r;

	if (!n)
		n = cores < 1 ? 1 : cores > 4 ? 4 : (unsigned)cores;
	donor->workers = calloc(n, sizeof(*donor->workers));
	if (!donor->workers) {
		snprintf(error, size, "out of memory");
		return -ENOMEM;
	}
	r = keeper_start(donor);
	if (!r)
		r = worker_start(donor, &donor->control, "control");
	for (donor->nworkers = 0; !r && donor->nworkers < n; donor->nworkers += !r)
		r = worker_start(donor, &donor->workers[donor->nworkers], "data");
	if (r)
		snprintf(error, size,
			 "cannot start a worker thread: %s; raise the limits on "
			 "descriptors and processes (ulimit -n, -u)",
			 strerror(-r));
	return r;
}

void workers_notify(struct donor *donor)
{
	atomic_store(&donor->control.notices, true);
	worker_wake(&donor->control);
}

static void worker_stop(struct worker *w)
{
	atomic_store(&w->stop, true);
	worker_wake(w);
	pthread_join(w->thread, NULL);
	while (w->conns) {
		if (!w->conns->why)
			w->conns->why = "the donor stops";
		conn_close(w, w->conns);
	}
	worker_bury(w);
	close(w->epoll_fd);
	close(w->wake_fd);
	free(w->scratch);
	pthread_mutex_destroy(&w->lock);
}

/* The control worker first: it hands lanes to the others. */
void workers_stop(struct donor *donor)
{
	worker_stop(&donor->control);
	for (unsigned i = 0; i < donor->nworkers; i++)
		worker_stop(&donor->workers[i]);
	keeper_stop();
	free(donor->workers);
	donor->workers = NULL;
	donor->nworkers = 0;
}
