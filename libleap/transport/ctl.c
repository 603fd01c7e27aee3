/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "libleap/transport/ctl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/util/clerk.h"
#include "libleap/util/fd.h"
#include "libleap/util/sys.h"

#define MESSAGES_AT_ONCE 64

/* The port is dead for this cause, unless it is already for another. */
static int ctl_fail(struct ctl *c, int code, const char *what)
{
	int none = 0;

	atomic_compare_exchange_strong(c->dead, &none, -code);
	return error_set(code, "donor %s: %s", c->text, what);
}

static int ctl_check_dead(struct ctl *c)
{
	int dead = atomic_load(c->dead);

	if (dead)
		return error_set(-dead, "donor %s is dead (%s)", c->text,
				 dead == -ETIMEDOUT ? "it did not answer within the deadline"
						    : "the connection broke");
	return 0;
}

void ctl_begin(struct ctl *control, const struct proto_hello_ack *ack,
	       const struct transport_params *params)
{
	control->deadline_ns = params->deadline_ns;
	control->passed_fd = -1;
	control->in_bytes = 0;
	control->ping_ns = control->owed_ns = 0;
	control->heard_ns = run_clock_ns();
	control->all_end_ns = params->call_end_ns;
	control->session = ack->session;
	memcpy(control->token, ack->token, sizeof(control->token));
	atomic_store(&control->free_bytes, ack->info.free_bytes);
	atomic_store(&control->total_bytes, ack->info.total_bytes);
}

int ctl_open(struct ctl *control, int fd, enum proto_kind kind, const uint8_t *ticket,
	     const struct transport_params *params, uint64_t end_ns)
{
	struct proto_hello_ack ack;
	int r;

	r = stream_hello(fd, kind, ticket, params, end_ns, control->text, &ack);
	if (r)
		return r;
	control->fd = fd;
	ctl_begin(control, &ack, params);
	return 0;
}

/* It is the number of whoever received it. */
static void ctl_drop_passed(struct ctl *c)
{
	if (c->passes)
		clerk_close(c->passed_fd);
	else
		fd_close(c->passed_fd);
	c->passed_fd = -1;
}

/* Takes the descriptor out of a received message. */
static void ctl_take_fd(struct ctl *c, struct msghdr *msg)
{
	struct cmsghdr *cmsg;
	size_t n;
	int fd;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
			if (c->passed_fd >= 0)
				sys_close(c->passed_fd);
			c->passed_fd = fd;
		}
	}
}

struct receiving {
	struct ctl *ctl;
	int fd;
	size_t want;
	ssize_t n;
};

static void do_recv(void *arg)
{
	struct receiving *r = arg;
	struct ctl *c = r->ctl;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} cm;
	struct iovec iov = {c->in + c->in_bytes, r->want - c->in_bytes};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = cm.bytes,
			     .msg_controllen = sizeof(cm.bytes)};
	do {
		r->n = sys_ret(syscall(SYS_recvmsg, r->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
	} while (r->n == -EINTR);
	if (r->n > 0)
		ctl_take_fd(c, &msg);
}

/* As recv(), but -errno. */
static ssize_t socket_recv(struct ctl *c, size_t want)
{
	struct receiving r = {.ctl = c, .fd = c->fd, .want = want};
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	if (!c->passes)
		do_recv(&r);
	else if (poll(&p, 1, 0) == 1)
		clerk_run(do_recv, &r, &r.fd);
	else
		return -EAGAIN;
	return r.n;
}

/* Receives what is there, up to the end of one message. 0, -EAGAIN, or dead. */
static int ctl_recv(struct ctl *c, size_t want)
{
	ssize_t n = c->carrier ? c->carrier->recv(c, c->in + c->in_bytes, want - c->in_bytes)
			       : socket_recv(c, want);

	if (n == -EAGAIN)
		return -EAGAIN;
	if (n == 0)
		return ctl_fail(c, EPIPE, "it closed the connection; it was stopped or killed");
	if (n < 0)
		return ctl_fail(c, n == -ETIMEDOUT ? ETIMEDOUT : EPIPE, "the connection broke");
	c->in_bytes += (uint32_t)n;
	return 0;
}

/* One whole message if it is there: 0 with its head in host order and the body in c->in; -EAGAIN;
 * or dead. */
static int ctl_message(struct ctl *c, struct proto_head *ret_head)
{
	const char *rule;
	int r;

	for (;;) {
		size_t want = PROTO_HEAD_BYTES;

		if (c->in_bytes >= PROTO_HEAD_BYTES) {
			memcpy(ret_head, c->in, sizeof(*ret_head));
			proto_head_order(ret_head);
			rule = proto_control_reply_check(ret_head);
			if (rule)
				return ctl_fail(c, EPIPE, rule);
			want += ret_head->length;
			if (c->in_bytes == want)
				break;
		}
		r = ctl_recv(c, want);
		if (r)
			return r;
	}
	c->in_bytes = 0;
	c->heard_ns = run_clock_ns();
	return 0;
}

static const uint8_t *ctl_body(const struct ctl *c)
{
	return c->in + PROTO_HEAD_BYTES;
}

static void ctl_learn(struct ctl *c, const struct proto_head *head)
{
	struct proto_info info;

	if (head->status || head->length != sizeof(info))
		return;
	memcpy(&info, ctl_body(c), sizeof(info));
	proto_info_order(&info);
	atomic_store_explicit(&c->free_bytes, info.free_bytes, memory_order_relaxed);
	atomic_store_explicit(&c->total_bytes, info.total_bytes, memory_order_relaxed);
}

static int socket_send(struct ctl *c, const void *message, size_t bytes)
{
	ssize_t n;

	do {
		n = send(c->fd, message, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)bytes)
		return 0;
	return n >= 0 ? -EAGAIN : -errno;
}

/* Requests are small and few, so the socket always has room unless the donor is stuck. */
static int ctl_send(struct ctl *c, struct proto_head head)
{
	int r;

	proto_head_order(&head);
	r = c->carrier ? c->carrier->send(c, &head, sizeof(head))
		       : socket_send(c, &head, sizeof(head));
	if (!r)
		return 0;
	if (r == -EAGAIN)
		return ctl_fail(c, ETIMEDOUT, "it does not read what it is sent");
	return ctl_fail(c, r == -ETIMEDOUT ? ETIMEDOUT : EPIPE, "the connection broke");
}

/* A request, or its absence, is what a donor is judged by: what else it says is no answer. */
static void ctl_answered(struct ctl *c, const struct proto_head *head)
{
	if (c->owed_ns && head->id >= c->owed_id)
		c->owed_ns = 0;
}

/* The answer to a request that nobody waits for any more: the slab goes back. */
static void ctl_too_late(struct ctl *c, const struct proto_head *head)
{
	struct proto_head release = proto_head_make(PROTO_RELEASE, 0, 0);

	if (head->type != PROTO_GRANT || head->status || head->slab >= PROTO_SLABS_MAX)
		return;
	release.id = ++c->next_id;
	release.slab = head->slab;
	ctl_send(c, release);
}

/* A message that is not the answer waited for. */
static void ctl_aside(struct ctl *c, const struct proto_head *head)
{
	char sentence[PROTO_SENTENCE_MAX + 1] = "";

	if (head->type == PROTO_PING && head->id == c->ping_id) {
		c->ping_ns = 0;
		ctl_learn(c, head);
	} else if (head->type == PROTO_RECLAIM) {
		c->reclaim_slabs = head->npages;
	} else if (head->type == PROTO_NOTICE && head->length <= PROTO_SENTENCE_MAX) {
		memcpy(sentence, ctl_body(c), head->length);
		if (proto_text_ok(sentence, sizeof(sentence)))
			log_info("donor %s says: %s", c->text, sentence);
	} else {
		ctl_answered(c, head);
		ctl_too_late(c, head);
	}
	ctl_drop_passed(c);
}

/* Is a request or a ping older than the deadline? */
static int ctl_check_silent(struct ctl *c, uint64_t now)
{
	if ((c->ping_ns && now - c->ping_ns >= c->deadline_ns) ||
	    (c->owed_ns && now - c->owed_ns >= c->deadline_ns))
		return ctl_fail(c, ETIMEDOUT,
				"no answer within the deadline; it is stopped, overloaded or "
				"cut off");
	return 0;
}

/* Takes what has come, up to the answer to `wanted` (NULL: none is). 0: it is there; -EAGAIN: nothing more, or a flood;
 * or dead. */
static int ctl_take(struct ctl *c, const struct proto_head *wanted, struct proto_head *ret_head)
{
	for (int i = 0; i < MESSAGES_AT_ONCE; i++) {
		int r = ctl_message(c, ret_head);

		if (r)
			return r;
		if (wanted && ret_head->type == wanted->type && ret_head->id == wanted->id)
			return 0;
		ctl_aside(c, ret_head);
	}
	return -EAGAIN;
}

static int ctl_sleep(struct ctl *c, uint64_t now, uint64_t end_ns)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	uint64_t left = (end_ns - now) / 1000000 + 1;
	int ms = left < RUN_CLOCK_SLICE_MS ? (int)left : RUN_CLOCK_SLICE_MS;
	int n = c->carrier ? c->carrier->wait(c, ms) : poll(&p, 1, ms);

	if (n < 0 && errno != EINTR)
		return ctl_fail(c, EPIPE, "cannot wait for its answer");
	return 0;
}

/* The time is over. A donor that had all of it is dead; another may answer later. */
static int ctl_time_over(struct ctl *c, uint64_t now)
{
	int r = ctl_check_silent(c, now);

	return r ? r
		 : error_set(EAGAIN,
			     "donor %s has not answered yet, and the deadline of what was asked of "
			     "all donors has passed",
			     c->text);
}

/* At the end it looks once more: the answer may have come while this process was stopped. */
static int ctl_answer(struct ctl *c, const struct proto_head *wanted, struct proto_head *ret_head,
		      uint64_t end_ns)
{
	for (;;) {
		uint64_t now = run_clock_ns();
		int r = ctl_take(c, wanted, ret_head);

		if (r != -EAGAIN)
			return r;
		r = now < end_ns ? ctl_sleep(c, now, end_ns) : ctl_time_over(c, now);
		if (r)
			return r;
	}
}

static int ctl_refused(struct ctl *c, const struct proto_head *head)
{
	char sentence[PROTO_SENTENCE_MAX + 1] = "";
	int r = proto_status_errno(head->status);

	if (head->length <= PROTO_SENTENCE_MAX)
		memcpy(sentence, ctl_body(c), head->length);
	if (!sentence[0] || !proto_text_ok(sentence, sizeof(sentence)))
		return error_set(-r, "donor %s refused with status %u", c->text, head->status);
	return error_set(-r, "donor %s: %s", c->text, sentence);
}

int ctl_call(struct ctl *control, struct proto_head head, struct proto_head *ret_head, void *body,
	     int *ret_fd)
{
	struct ctl *c = control;
	uint64_t begin_ns = run_clock_ns();
	uint64_t end_ns = transport_end(c->all_end_ns, c->deadline_ns);
	int r = ctl_check_dead(c);

	if (r)
		return r;
	r = ctl_take(c, NULL, ret_head); /* what it said while others were asked */
	if (r == -EAGAIN)
		r = ctl_check_silent(c, run_clock_ns());
	if (!r && run_clock_ns() >= end_ns)
		r = error_set(EAGAIN, "donor %s was not asked: the deadline has passed", c->text);
	if (r)
		return r;
	head.id = ++c->next_id;
	r = ctl_send(c, head);
	if (!c->owed_ns) {
		c->owed_ns = begin_ns;
		c->owed_id = head.id;
	}
	if (!r)
		r = ctl_answer(c, &head, ret_head, end_ns);
	if (r)
		return r;
	ctl_answered(c, ret_head);
	if (ret_fd && !ret_head->status) {
		*ret_fd = c->passed_fd;
		c->passed_fd = -1;
	} else {
		ctl_drop_passed(c);
	}
	if (ret_head->status)
		return ctl_refused(c, ret_head);
	if (body)
		memcpy(body, ctl_body(c), ret_head->length);
	if (ret_head->type != PROTO_CLONE)
		ctl_learn(c, ret_head);
	return 0;
}

int ctl_tick(struct ctl *control)
{
	struct ctl *c = control;
	bool asking = c->all_end_ns && *c->all_end_ns; /* an operation on many donors begins */
	struct proto_head head;
	uint64_t now;
	int r = ctl_check_dead(c);

	if (!r)
		r = ctl_take(c, NULL, &head);
	if (r != -EAGAIN)
		return r;
	now = run_clock_ns();
	r = ctl_check_silent(c, now);
	if (r || c->ping_ns || (!c->heartbeat && !asking) ||
	    (!asking && now - c->heard_ns < c->deadline_ns / 4))
		return r;
	c->ping_ns = now;
	c->ping_id = ++c->next_id;
	return ctl_send(c, proto_head_make(PROTO_PING, c->ping_id, 0));
}

void ctl_forget(struct ctl *control)
{
	if (control->fd >= 0)
		fd_close(control->fd);
	ctl_drop_passed(control);
	control->fd = control->passed_fd = -1;
}

void ctl_close(struct ctl *control)
{
	struct proto_head bye = proto_head_make(PROTO_BYE, ++control->next_id, 0);

	proto_head_order(&bye);
	if (control->fd >= 0 && !atomic_load(control->dead))
		send(control->fd, &bye, sizeof(bye), MSG_NOSIGNAL | MSG_DONTWAIT);
	ctl_forget(control);
}

/* A number that no donor gives would be taken for a broken client, which is dropped. */
static int ctl_check_slab(struct ctl *c, uint32_t slab)
{
	int r = ctl_check_dead(c);

	if (!r && slab >= PROTO_SLABS_MAX)
		r = error_set(EIO, "donor %s: there is no slab %u", c->text, slab);
	return r;
}

int ctl_release(struct ctl *control, uint32_t slab)
{
	struct proto_head head = proto_head_make(PROTO_RELEASE, 0, 0), reply;
	int r = ctl_check_slab(control, slab);

	if (r)
		return r;
	head.slab = slab;
	return ctl_call(control, head, &reply, NULL, NULL);
}

int ctl_shared(struct ctl *control, uint32_t slab)
{
	struct proto_head head = proto_head_make(PROTO_SHARED, 0, 0), reply;
	int r = ctl_check_slab(control, slab);

	if (r)
		return r;
	head.slab = slab;
	r = ctl_call(control, head, &reply, NULL, NULL);
	return r ? r : (int)reply.npages;
}

int ctl_refresh(struct ctl *control)
{
	struct proto_head reply;

	return ctl_call(control, proto_head_make(PROTO_INFO, 0, 0), &reply, NULL, NULL);
}

int ctl_clone(struct ctl *control, struct port_ticket *ret_ticket, int *ret_fd)
{
	struct proto_head head = proto_head_make(PROTO_CLONE, 0, 0), reply;
	uint64_t ms = control->deadline_ns / 1000000;
	uint8_t body[PROTO_BODY_MAX];
	int r;

	head.page = ms < 1 ? 1 : ms > PROTO_TICKET_MS_MAX ? PROTO_TICKET_MS_MAX : (uint32_t)ms;
	r = ctl_call(control, head, &reply, body, ret_fd);
	if (!r)
		memcpy(ret_ticket->bytes, body, sizeof(ret_ticket->bytes));
	return r;
}
