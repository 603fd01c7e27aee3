/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_list.h - what the lanes of all transports do with requests: keep them in order, check their bounds, deliver
 * what is complete. Lane's thread.
 */
#ifndef LEAP_TRANSPORT_IO_LIST_H
#define LEAP_TRANSPORT_IO_LIST_H

#include "libleap/transport/transport.h"

struct io_list {
	struct io *first, *last;
};

static inline void io_list_add(struct io_list *list, struct io *io)
{
	io->next = NULL;
	if (list->first)
		list->last->next = io;
	else
		list->first = io;
	list->last = io;
}

static inline struct io *io_list_pop(struct io_list *list)
{
	struct io *io = list->first;

	if (io)
		list->first = io->next;
	return io;
}

/* Does it ask for 1 to LEAP_IO_PAGES_MAX pages, all inside one slab? */
static inline bool io_in_slab(const struct io *io)
{
	return io->npages >= 1 && io->npages <= LEAP_IO_PAGES_MAX && io->page < LEAP_SLAB_PAGES &&
	       io->npages <= LEAP_SLAB_PAGES - io->page;
}

/* Calls done() for all of the list, for those that done() adds, too. Returns how many; 0 from within done() itself,
 * which *delivering tells. */
static inline int io_list_deliver(struct io_list *list, bool *delivering)
{
	struct io *io;
	int n = 0;

	if (*delivering)
		return 0;
	*delivering = true;
	while ((io = io_list_pop(list))) {
		n++;
		io->done(io);
	}
	*delivering = false;
	return n;
}

#endif
