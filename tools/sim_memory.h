/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_memory.h - the simulator's pages: a table from page numbers to nodes, and lists of nodes.
 *
 * Nodes are named by index, since the array moves when it grows; a pointer is good until the next
 * memory_node(). Nodes come in chunks of neighbours.
 */
#ifndef LEAP_TOOLS_SIM_MEMORY_H
#define LEAP_TOOLS_SIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

enum node_state { NODE_REMOTE, NODE_LOCAL, NODE_POOL };

struct node {
	struct link {
		uint32_t prev, next;
	} link, shadow; /* memory or pool; the memory without prefetching */
	uint64_t issue_ns, ready_ns;
	uint32_t cell; /* who prefetched it */
	uint8_t state;
	bool marker, dirty, in_shadow;
};

struct list {
	uint32_t head; /* index of its sentinel */
	uint64_t length;
};

struct memory {
	struct node *nodes;
	uint64_t *chunks; /* page number / how many a chunk has, of each chunk of nodes */
	uint32_t used, room;
	struct slot {
		uint64_t chunk; /* page number / CHUNK + 1; 0: free */
		uint32_t first; /* node */
	} * slots;
	uint32_t slots_used, slots_size; /* size: a power of two */
	uint64_t last_chunk;             /* the one found last, and its first node */
	uint32_t last_first;
	struct list local, pool, shadow;
};

/* 0 or -ENOMEM with the sentence set. */
int memory_init(struct memory *memory);
void memory_free(struct memory *memory);
/* The node of a page; 0 when there is no memory (the sentence is set). */
uint32_t memory_node(struct memory *memory, uint64_t page);
/* The page of a node. */
uint64_t memory_page(const struct memory *memory, uint32_t node);
/* Takes what memory_node(soon) will look at to the processor's cache, and some of what memory_node(later) will. */
void memory_expect(const struct memory *memory, uint64_t soon, uint64_t later);

/* Lists of the links that shadow is false or true for. The front is the newest. */
void list_push(struct memory *memory, struct list *list, uint32_t node, bool shadow);
void list_remove(struct memory *memory, struct list *list, uint32_t node, bool shadow);
/* The node at the back; the list is not empty. */
uint32_t list_oldest(const struct memory *memory, const struct list *list, bool shadow);

#endif
