/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - telling the service manager, and the pid file.
 */
#ifndef DONOR_NOTIFY_H
#define DONOR_NOTIFY_H

/* Sends e.g. "READY=1" to $NOTIFY_SOCKET (sd_notify(3)), if there is one. */
void notify(const char *state);
/* 0 or -errno. */
int pidfile_write(const char *path);

#endif
