/* SPDX-License-Identifier: Apache-2.0 */
/*
 * late.h - has a lane's oldest request waited too long?
 *
 * Time counts while the lane is looked at and no request is answered: a donor that answers one after the other is not late with those
 * behind, one that sends a byte now and then is, and one whose answers lie unread because this process was stopped is not:
 * between two looks no more than a quarter of the deadline counts.
 */
#ifndef LEAP_TRANSPORT_LATE_H
#define LEAP_TRANSPORT_LATE_H

#include "libleap/transport/transport.h"
#include "libleap/util/sys.h"

struct late {
	bool progress;      /* a request was answered since the last look */
	uint64_t looked_ns; /* the last look */
	uint64_t waited_ns; /* how long none was answered */
};

static inline bool late_look(struct late *late, const struct io *oldest, uint64_t deadline_ns)
{
	uint64_t now, from, gap;

	if (!oldest) {
		late->waited_ns = 0;
		return false;
	}
	now = clock_ns();
	if (late->progress || oldest->submitted_ns > late->looked_ns)
		late->waited_ns = 0;
	from = oldest->submitted_ns > late->looked_ns ? oldest->submitted_ns : late->looked_ns;
	gap = now - from < deadline_ns / 4 ? now - from : deadline_ns / 4;
	late->waited_ns += gap;
	late->progress = false;
	late->looked_ns = now;
	return late->waited_ns > deadline_ns;
}

#endif
