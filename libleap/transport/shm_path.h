/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_path.h - where the socket of shm:NAME is; the client and the donor must agree.
 */
#ifndef LEAP_TRANSPORT_SHM_PATH_H
#define LEAP_TRANSPORT_SHM_PATH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libleap/stats.h"

/*
 * NAME with a '/' is a path, "@NAME" the abstract socket "leap/NAME", any other NAME the file
 * NAME.sock in the run directory, which is made when create is set. 0, or -ENAMETOOLONG, or what
 * rundir_path() says.
 */
static inline int shm_path(const char *name, bool create, struct sockaddr_un *sa,
			   socklen_t *ret_len)
{
	size_t n = strlen(name), at = 0;
	char dir[sizeof(sa->sun_path)];
	int r;

	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (name[0] == '@') {
		if (n + 5 >= sizeof(sa->sun_path))
			return -ENAMETOOLONG;
		memcpy(sa->sun_path + 1, "leap/", 5);
		memcpy(sa->sun_path + 6, name + 1, n - 1);
		*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 5 + n);
		return 0;
	}
	if (!strchr(name, '/')) {
		r = rundir_path(dir, sizeof(dir), create);
		if (r)
			return r;
		at = strlen(dir);
		if (at + 1 + n + 5 >= sizeof(sa->sun_path))
			return -ENAMETOOLONG;
		memcpy(sa->sun_path, dir, at);
		sa->sun_path[at++] = '/';
		memcpy(sa->sun_path + at + n, ".sock", 5);
	}
	if (at + n >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memcpy(sa->sun_path + at, name, n);
	*ret_len = sizeof(*sa);
	return 0;
}

#endif
