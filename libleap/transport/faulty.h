/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faulty.h - what the files of the faulty transport share (transport.h says what it is for).
 *
 * faulty.c is the port, faulty_lane.c the lanes, faulty_spec.c reads "faulty:SPEC:URI".
 */
#ifndef LEAP_TRANSPORT_FAULTY_H
#define LEAP_TRANSPORT_FAULTY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "libleap/lock.h"
#include "libleap/transport/transport.h"

/* What can be told to go wrong, in the order of spec_names[]. */
enum fault_kind {
	FAULT_READ, /* requests get -EIO and never reach the donor */
	FAULT_WRITE,
	FAULT_GRANT, /* control calls */
	FAULT_RELEASE,
	FAULT_SHARED,
	FAULT_INFO,
	FAULT_TICK,
	FAULT_LANE,
	FAULT_CLONE,
	FAULT_ADOPT,
	FAULT_CORRUPT, /* counts pages */
	FAULT_HANG,    /* counts reads */
	FAULT_DIE,     /* counts requests of both kinds */
	FAULT_KINDS,
};

/* Counts calls; the nth (1 = first, 0 = none) is hit, and with later all behind it. */
struct fault_rule {
	uint64_t nth;
	bool later;
	_Atomic uint64_t count;
};

struct fault_spec {
	struct fault_rule rule[FAULT_KINDS];
	uint64_t delay_ns;
};

/* Parses the SPEC and the URI behind it. 0, or -EINVAL/-EPROTONOSUPPORT with the sentence set. */
int fault_spec_parse(const char *text, struct fault_spec *spec, struct donor_uri *ret_inner);
/* Counts n; is one of them hit? *ret_which (may be NULL) gets the first, from 0. */
bool fault_hit(struct fault_rule *rule, uint32_t n, uint32_t *ret_which);

/* dead is set once and for good, by any thread. The list of lanes is under the lock; a lane's own fields are
 * its thread's, but for timer_fd, which is set under the lock of the list to wake whoever sleeps on it. */
struct port {
	const struct transport_ops *ops; /* the wrapped transport */
	struct port *inner;
	uint64_t deadline_ns;
	bool sync; /* scheme faultysync */
	struct fault_spec spec;
	_Atomic int dead; /* 0, -EPIPE, -ETIMEDOUT */
	struct lock lock;
	struct lane *lanes;
};

/* The port is dead from now on: all lanes wake up and fail what they have. Any thread. */
void faulty_die(struct port *port, int code);

int faulty_lane_open(struct port *port, enum lane_kind kind, struct lane **ret_lane);
void faulty_lane_close(struct lane *lane);
/* In the child of fork(): forgets all lanes, whose requests are none. */
void faulty_lanes_forget(struct port *port);
void faulty_submit(struct lane *lane, struct io *io);
/* faultysync: the wrapped transport is synchronous, and so is this. */
void faulty_submit_sync(struct lane *lane, struct io *io);
void faulty_flush(struct lane *lane);
int faulty_poll(struct lane *lane);
int faulty_lane_fd(struct lane *lane);

#endif
