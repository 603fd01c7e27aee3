/* SPDX-License-Identifier: Apache-2.0 */
#include "libleap/transport/rdma_queue.h"

#include <stddef.h>
#include <string.h>

void rdma_queue_init(struct rdma_queue *queue, uint32_t pages, uint32_t reads_max)
{
	memset(queue, 0, sizeof(*queue));
	queue->pages = pages;
	queue->reads_max = reads_max;
}

/* A run of n pages; false when there is none now. */
static bool pages_take(struct rdma_queue *q, uint32_t n, uint32_t *ret_page)
{
	uint32_t at = (uint32_t)(q->pages_head % q->pages);
	uint32_t skip = at + n > q->pages ? q->pages - at : 0;

	if (q->pages_head + skip + n - q->pages_tail > q->pages)
		return false;
	q->pages_head += skip + n;
	*ret_page = skip ? 0 : at;
	return true;
}

struct rdma_slot *rdma_queue_take(struct rdma_queue *queue, uint32_t npages, bool read,
				  uint64_t *ret_number)
{
	struct rdma_slot *slot = &queue->slot[queue->head % RDMA_DEPTH];

	if (queue->head - queue->tail == RDMA_DEPTH || (read && queue->reads == queue->reads_max))
		return NULL;
	/* Empty: begin anew at the low pages, which are warm, and where the longest run is. */
	if (queue->head == queue->tail)
		queue->pages_head = queue->pages_tail = 0;
	if (!pages_take(queue, npages, &slot->page))
		return NULL;
	slot->pages_end = queue->pages_head;
	slot->read = read;
	queue->reads += read;
	*ret_number = queue->head++;
	return slot;
}

bool rdma_queue_signal(struct rdma_queue *queue, const struct rdma_slot *slot, bool last)
{
	if (slot->read || last || ++queue->unsignalled == RDMA_SIGNAL_EVERY) {
		queue->unsignalled = 0;
		return true;
	}
	return false;
}

struct rdma_slot *rdma_queue_retire(struct rdma_queue *queue, uint64_t number)
{
	struct rdma_slot *slot = &queue->slot[queue->tail % RDMA_DEPTH];

	/* number is in flight, or was a moment ago */
	if (queue->tail == queue->head || (int64_t)(queue->tail - number) > 0)
		return NULL;
	queue->tail++;
	queue->pages_tail = slot->pages_end;
	queue->reads -= slot->read;
	return slot;
}

const struct rdma_slot *rdma_queue_oldest(const struct rdma_queue *queue)
{
	return queue->head == queue->tail ? NULL : &queue->slot[queue->tail % RDMA_DEPTH];
}
