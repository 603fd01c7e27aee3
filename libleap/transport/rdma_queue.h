/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_queue.h - what may be posted to a lane's queue pair, and what its completions mean. Pure bookkeeping, no verbs.
 *
 * A request takes three credits: a slot of the send queue, a run of neighbouring pages of the staging pool, and, if
 * it reads, one of the READs that may be outstanding. A reliable connection completes in the order of posting, so slots
 * and pages are rings: taken at the head, given back at the tail. Writes are completed in groups (only the last of a
 * group asks for a completion); a completion with success completes all that was posted before it, too.
 *
 *   pages:  tail ....... taken ....... head        run at head; the rest of the ring is skipped when it is too short
 */
#ifndef LEAP_TRANSPORT_RDMA_QUEUE_H
#define LEAP_TRANSPORT_RDMA_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define RDMA_DEPTH        128 /* slots: work requests that may be posted */
#define RDMA_SIGNAL_EVERY 16  /* at least every so many writes ask for a completion */

struct io;

struct rdma_slot {
	struct io *io;
	uint64_t pages_end; /* head of the pages after this request */
	uint32_t page;      /* first page in the pool */
	bool read;
};

struct rdma_queue {
	struct rdma_slot slot[RDMA_DEPTH];
	uint64_t head, tail;             /* slots, counted for ever */
	uint64_t pages_head, pages_tail; /* pages, counted for ever */
	uint32_t pages;                  /* of the pool */
	uint32_t reads, reads_max;       /* outstanding; most */
	uint32_t unsignalled;            /* writes posted since the last that asks */
};

void rdma_queue_init(struct rdma_queue *queue, uint32_t pages, uint32_t reads_max);
/* The credits for a request, or NULL when one is missing. The caller sets slot->io. */
struct rdma_slot *rdma_queue_take(struct rdma_queue *queue, uint32_t npages, bool read,
				  uint64_t *ret_number);
/* Must this request, just taken, ask for a completion? last: nothing follows it for now. */
bool rdma_queue_signal(struct rdma_queue *queue, const struct rdma_slot *slot, bool last);
/* The oldest request if the completion of `number` covers it, with its credits given back; or NULL. The slot is good
 * until the next take. */
struct rdma_slot *rdma_queue_retire(struct rdma_queue *queue, uint64_t number);
/* The oldest request in flight, or NULL. */
const struct rdma_slot *rdma_queue_oldest(const struct rdma_queue *queue);
/* May a completion with this number come? */
static inline bool rdma_queue_expects(const struct rdma_queue *queue, uint64_t number)
{
	return number - queue->tail < queue->head - queue->tail;
}

#endif
