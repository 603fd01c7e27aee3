/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve_shm.c - clients on this machine: a unix socket for control, slabs mapped by the client.
 *
 * shm:NAME is the socket NAME.sock in the run directory, or the path NAME when it has a '/', or
 * the abstract socket "leap/NAME" when it begins with '@' (for clients that do not share a file
 * system).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "donor/report.h"
#include "donor/serve.h"
#include "libleap/transport/shm_path.h"

/* Is anybody listening on the socket file? */
static bool path_is_alive(const struct sockaddr_un *sa, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive;

	if (fd < 0)
		return true;
	alive = connect(fd, (const struct sockaddr *)sa, len) == 0 || errno == EAGAIN;
	close(fd);
	return alive;
}

int serve_shm_listen(const struct listen_address *a, struct listener *ret, char *error, size_t size)
{
	struct sockaddr_un sa;
	socklen_t len;
	int fd, r;

	r = shm_path(a->host, true, &sa, &len);
	if (r) {
		snprintf(error, size,
			 "cannot listen on shm:%s: %s; the name is too long or the run directory "
			 "cannot be made (set LEAP_RUN_DIR)",
			 a->host, strerror(-r));
		return r;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto fail;
	r = bind(fd, (struct sockaddr *)&sa, len);
	if (r && errno == EADDRINUSE && sa.sun_path[0] && !path_is_alive(&sa, len)) {
		unlink(sa.sun_path); /* left behind by a donor that was killed */
		r = bind(fd, (struct sockaddr *)&sa, len);
	}
	if (r || listen(fd, 128))
		goto fail_close;
	memset(ret, 0, sizeof(*ret));
	ret->fd = fd;
	ret->local = true;
	if (sa.sun_path[0])
		snprintf(ret->path, sizeof(ret->path), "%s", sa.sun_path);
	snprintf(ret->text, sizeof(ret->text), "shm:%s", a->host);
	return 0;
fail_close:
	r = errno;
	close(fd);
	errno = r;
fail:
	r = -errno;
	snprintf(error, size, "cannot listen on shm:%s: %s; %s", a->host, strerror(-r),
		 r == -EADDRINUSE
			 ? "another leap-donor has this name: stop it or choose another name"
			 : "check the name and the rights on the run directory");
	return r;
}

bool serve_shm_accept(struct donor *donor, struct listener *listener)
{
	struct ucred cred;
	socklen_t len;
	char peer[96];
	int fd;

	for (;;) {
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			return errno == EAGAIN;
		len = sizeof(cred);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
			snprintf(peer, sizeof(peer), "shm");
		else
			snprintf(peer, sizeof(peer), "shm pid %d uid %u", cred.pid, cred.uid);
		worker_adopt(donor, fd, FROM_STRANGER, true, peer, NULL);
	}
}
