/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - connecting to a donor and shaking hands; both block until a point in time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "libleap/error.h"
#include "libleap/transport/ctl.h"
#include "libleap/util/fd.h"
#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

/* Sleeps until one of events (or an error) may be there; -ETIMEDOUT at the end, though something came all the time. */
static int stream_wait(int fd, short events, uint64_t end_ns)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now = run_clock_ns(), left;

	if (now >= end_ns)
		return -ETIMEDOUT;
	left = (end_ns - now) / 1000000 + 1;
	if (poll(&p, 1, left < RUN_CLOCK_SLICE_MS ? (int)left : RUN_CLOCK_SLICE_MS) < 0 &&
	    errno != EINTR)
		return -errno;
	return 0;
}

/* Until it is connected, or not. */
static int stream_connected(int fd, uint64_t end_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t size = sizeof(int);
	int code, r;

	do {
		r = stream_wait(fd, POLLOUT, end_ns);
	} while (!r && poll(&p, 1, 0) <= 0);
	if (!r && !getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size))
		r = -code;
	return r;
}

int stream_resolve(const char *host, uint16_t port, const char *text, struct addrinfo **ret_ai)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	char service[8];
	int r;

	fmt_print(service, sizeof(service), "%u", port);
	/* an address needs no look at files and interfaces, which would open them in the running program */
	r = getaddrinfo(host, service, &hints, ret_ai);
	if (r) {
		hints.ai_flags = AI_ADDRCONFIG;
		r = getaddrinfo(host, service, &hints, ret_ai);
	}
	if (r == EAI_NONAME || r == EAI_ADDRFAMILY) { /* a machine with nothing but loopback */
		hints.ai_flags = 0;
		r = getaddrinfo(host, service, &hints, ret_ai);
	}
	if (r)
		return error_set(
			ENOENT,
			"donor %s: the name '%s' cannot be resolved (%s); check it, or give "
			"the address",
			text, host, gai_strerror(r));
	return 0;
}

static int connect_fail(int code, const char *text)
{
	switch (code) {
	case ECONNREFUSED:
		return error_set(
			code,
			"cannot connect to donor %s: connection refused; is leap-donor running "
			"there and listening on this address?",
			text);
	case ENOENT:
		return error_set(
			code,
			"cannot connect to donor %s: it has no socket; is leap-donor running on "
			"this machine with --listen %s?",
			text, text);
	case ETIMEDOUT:
		return error_set(
			code,
			"cannot connect to donor %s: no answer within the deadline; check the "
			"address and the firewall",
			text);
	case EHOSTUNREACH:
	case ENETUNREACH:
		return error_set(
			code,
			"cannot connect to donor %s: there is no route to it; check the address "
			"and the network",
			text);
	case EACCES:
	case EPERM:
		return error_set(
			code,
			"cannot connect to donor %s: no permission; it was started by another "
			"user",
			text);
	}
	return error_set(code, "cannot connect to donor %s: errno %d", text, code);
}

int stream_connect(const struct sockaddr *sa, socklen_t len, uint64_t end_ns, const char *text,
		   int *io_fd)
{
	int fd = *io_fd, r;

	if (fd < 0)
		fd = fd_own(socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (fd < 0)
		return error_set(
			errno,
			"cannot connect to donor %s: no socket (errno %d); raise the limit on "
			"descriptors (ulimit -n)",
			text, errno);
	for (;;) {
		r = connect(fd, sa, len) ? -errno : 0;
		if (r == -EAGAIN && sa->sa_family == AF_UNIX && run_clock_ns() < end_ns) {
			poll(NULL, 0, 1); /* its queue is full */
			continue;
		}
		if (r != -EINTR)
			break;
	}
	if (r == -EINPROGRESS || r == -EALREADY)
		r = stream_connected(fd, end_ns);
	if (r && r != -EISCONN) {
		fd_close(fd);
		return connect_fail(-r, text);
	}
	*io_fd = fd;
	return 0;
}

static int stream_send(int fd, const void *buf, size_t bytes, uint64_t end_ns)
{
	const uint8_t *p = buf;
	ssize_t n;
	int r;

	while (bytes) {
		n = send(fd, p, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			p += n;
			bytes -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			r = stream_wait(fd, POLLOUT, end_ns);
			if (r)
				return r;
		} else if (n < 0 && errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static int stream_recv(int fd, void *buf, size_t bytes, uint64_t end_ns)
{
	uint8_t *p = buf;
	ssize_t n;
	int r;

	while (bytes) {
		n = recv(fd, p, bytes, MSG_DONTWAIT);
		if (n > 0) {
			p += n;
			bytes -= (size_t)n;
		} else if (n == 0) {
			return -ECONNRESET;
		} else if (errno == EAGAIN) {
			r = stream_wait(fd, POLLIN, end_ns);
			if (r)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static int hello_fail(int code, const char *text)
{
	if (code == -ETIMEDOUT)
		return error_set(ETIMEDOUT,
				 "donor %s accepted the connection but did not answer within the "
				 "deadline; it may be overloaded, stopped, or no leap-donor",
				 text);
	return error_set(code == -ECONNRESET ? EPIPE : -code,
			 "donor %s closed the connection during the "
			 "handshake (errno %d); is it a leap-donor of this version?",
			 text, -code);
}

static void name_copy(char *to, const char *from)
{
	for (size_t i = 0; from && from[i] && i < PROTO_NAME_BYTES - 1; i++)
		to[i] = from[i] >= 0x20 && from[i] <= 0x7e ? from[i] : '?';
}

static int hello_check(const struct proto_head *head, struct proto_hello_ack *ack, const char *text)
{
	int r;

	if (head->status) {
		ack->sentence[sizeof(ack->sentence) - 1] = '\0';
		r = head->status == PROTO_DRAINING ? -ECONNREFUSED
						   : proto_status_errno(head->status);
		return error_set(-r, "donor %s refused: %s", text,
				 proto_text_ok(ack->sentence, sizeof(ack->sentence)) ? ack->sentence
										     : "?");
	}
	if (ack->version != PROTO_VERSION)
		return error_set(
			EPROTO,
			"donor %s answered with protocol version %u, this is version %u; use "
			"the same release on both sides",
			text, ack->version, PROTO_VERSION);
	if (ack->slab_bytes != LEAP_SLAB_BYTES)
		return error_set(
			EPROTO,
			"donor %s lends slabs of %lu bytes, not %lu; use the same release on "
			"both sides",
			text, (unsigned long)ack->slab_bytes, (unsigned long)LEAP_SLAB_BYTES);
	return 0;
}

void hello_make(struct hello_message *message, enum proto_kind kind, const uint8_t *token,
		const struct transport_params *params)
{
	struct hello_message *m = message;

	memset(m, 0, sizeof(*m));
	m->head = proto_head_make(PROTO_HELLO, 0, sizeof(m->hello));
	m->hello.version = PROTO_VERSION;
	m->hello.kind = (uint16_t)kind;
	m->hello.client_id[0] = params->client_id[0];
	m->hello.client_id[1] = params->client_id[1];
	if (token)
		memcpy(m->hello.token, token, sizeof(m->hello.token));
	name_copy(m->hello.name, params->client_name);
	proto_head_order(&m->head);
	proto_hello_order(&m->hello);
}

int hello_answer_head(struct proto_head *head, const char *text)
{
	const char *rule;

	proto_head_order(head);
	rule = proto_control_reply_check(head);
	if (!rule &&
	    (head->type != PROTO_HELLO_ACK || head->length < sizeof(struct proto_hello_ack)))
		rule = "no answer to HELLO";
	if (rule)
		return error_set(EPROTO,
				 "%s is no leap-donor of this version (%s): check the address, and "
				 "use the same release on both sides",
				 text, rule);
	return 0;
}

int hello_answer(const struct proto_head *head, const void *body, const char *text,
		 struct proto_hello_ack *ret_ack)
{
	memcpy(ret_ack, body, sizeof(*ret_ack));
	proto_hello_ack_order(ret_ack);
	return hello_check(head, ret_ack, text);
}

int stream_hello(int fd, enum proto_kind kind, const uint8_t *token,
		 const struct transport_params *params, uint64_t end_ns, const char *text,
		 struct proto_hello_ack *ret_ack)
{
	uint8_t body[PROTO_BODY_MAX];
	struct hello_message m;
	struct proto_head head;
	int r;

	hello_make(&m, kind, token, params);
	r = stream_send(fd, &m, sizeof(m), end_ns);
	if (!r)
		r = stream_recv(fd, &head, sizeof(head), end_ns);
	if (r)
		return hello_fail(r, text);
	r = hello_answer_head(&head, text);
	if (r)
		return r;
	r = stream_recv(fd, body, head.length, end_ns);
	if (r)
		return hello_fail(r, text);
	return hello_answer(&head, body, text, ret_ack);
}
