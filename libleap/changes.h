/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes.h - what other processes ask for (leap ctl) and may take long: moving pages, connecting to donors. A thread of
 * its own does it, one request at a time, so that heartbeats, statistics and other requests go on.
 */
#ifndef LEAP_CHANGES_H
#define LEAP_CHANGES_H

#include <stdbool.h>
#include <stdint.h>
#include "libleap/thread.h"

#define REQUEST_MAX 4500

struct leap;

struct changes {
	struct thread thread;
	bool runs;
	uint32_t word; /* futex, enum changes_state */
	int fd;        /* who asked; the clerk's number */
	char request[REQUEST_MAX], reply[REQUEST_MAX];
};

int changes_start(struct leap *leap);
/* leap->stop is set: a change that is under way ends early. */
void changes_stop(struct leap *leap);
/* In a forked child, before changes_start(): what is under way is the parent's. */
void changes_forked(struct leap *leap);
/* May the request take long? */
bool changes_is_one(const char *request);
/* Takes the request and the connection over; false: another one is under way. The keeper's. */
bool changes_take(struct leap *leap, int fd, const char *request);

/* Answers, and closes the connection. keeper.c */
void control_reply(int fd, char *text);
/* Runs "VERB ARGUMENT" (which is cut into pieces) and writes the answer. keeper.c */
void control_answer(struct leap *leap, char *request, char *reply, size_t size);

#endif
