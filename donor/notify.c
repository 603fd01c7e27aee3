/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "donor/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libleap/util/fd.h"

void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(sa.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sa.sun_path, path, len);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sa,
	       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

int pidfile_write(const char *path)
{
	int fd = fd_open_private(path, O_WRONLY), r = fd < 0 ? fd : 0;

	if (!r && ftruncate(fd, 0))
		r = -errno;
	if (!r && dprintf(fd, "%d\n", getpid()) < 0)
		r = -EIO;
	if (fd >= 0)
		close(fd);
	return r;
}
