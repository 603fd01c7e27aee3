/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "donor/report.h"
#include "donor/serve.h"

#define LISTEN_BACKLOG 128

static void address_text(const struct sockaddr_storage *sa, socklen_t len, char *buf, size_t size)
{
	char host[64], port[8];

	if (getnameinfo((const struct sockaddr *)sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(buf, size, "?");
	else
		snprintf(buf, size, strchr(host, ':') ? "tcp://[%s]:%s" : "tcp://%s:%s", host,
			 port);
}

static int listen_fail(const struct listen_address *a, int code, char *error, size_t size)
{
	const char *remedy = "check the address";

	if (code == EADDRINUSE)
		remedy = "another program (perhaps another leap-donor) listens there: stop it or "
			 "choose "
			 "another port";
	else if (code == EADDRNOTAVAIL)
		remedy = "this machine has no such address; tcp://0.0.0.0:PORT listens on all that "
			 "it has";
	else if (code == EACCES)
		remedy = "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one";
	snprintf(error, size, "cannot listen on tcp %s port %s: %s; %s", a->host, a->port,
		 strerror(code), remedy);
	return -code;
}

int serve_tcp_listen(const struct listen_address *a, struct listener *ret, char *error, size_t size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *ai;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd, one = 1, r;

	r = getaddrinfo(a->host, a->port, &hints, &ai);
	if (r) {
		snprintf(error, size,
			 "cannot listen on '%s': %s; give a numeric address or a name of this "
			 "machine",
			 a->host, gai_strerror(r));
		return -EINVAL;
	}
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		r = errno;
		freeaddrinfo(ai);
		return listen_fail(a, r, error, size);
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	r = bind(fd, ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(ai);
	if (r || listen(fd, LISTEN_BACKLOG) || getsockname(fd, (struct sockaddr *)&sa, &len)) {
		r = errno;
		close(fd);
		return listen_fail(a, r, error, size);
	}
	memset(ret, 0, sizeof(*ret));
	ret->fd = fd;
	address_text(&sa, len, ret->text, sizeof(ret->text));
	return 0;
}

/* No TCP_USER_TIMEOUT here: a client that is stopped for a while must not lose its memory. */
static void socket_tune(int fd, uint64_t timeout_ns)
{
	int one = 1, seconds = (int)(timeout_ns / 1000000000ull), count = 3;
	int idle = seconds / 2 + 1, interval = seconds / 2 / count + 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

bool serve_tcp_accept(struct donor *donor, struct listener *listener)
{
	struct sockaddr_storage sa;
	socklen_t len;
	char peer[96];
	int fd;

	for (;;) {
		len = sizeof(sa);
		fd = accept4(listener->fd, (struct sockaddr *)&sa, &len,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			return errno == EAGAIN;
		socket_tune(fd, donor->options.client_timeout_ns);
		address_text(&sa, len, peer, sizeof(peer));
		worker_adopt(donor, fd, FROM_STRANGER, false, peer, NULL);
	}
}

void listener_close(struct listener *listener)
{
	close(listener->fd);
	if (listener->path[0])
		unlink(listener->path);
	listener->fd = -1;
}
