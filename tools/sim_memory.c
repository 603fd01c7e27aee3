/* SPDX-License-Identifier: Apache-2.0 */
/* sim_memory.c - see sim_memory.h. */
#include "tools/sim_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"

#define CHUNK       64
#define SLOTS_START 1024

static int no_memory(void)
{
	return error_set(ENOMEM, "no memory for the simulator's pages");
}

static int grow_nodes(struct memory *m)
{
	uint64_t room = m->room ? (uint64_t)m->room * 2 : 16 * CHUNK;
	struct node *more;
	uint64_t *chunks;

	if (room > UINT32_MAX)
		return error_set(ENOMEM, "more pages than the simulator can hold");
	more = realloc(m->nodes, room * sizeof(*more));
	if (!more)
		return no_memory();
	m->nodes = more;
	chunks = realloc(m->chunks, room / CHUNK * sizeof(*chunks));
	if (!chunks)
		return no_memory();
	m->chunks = chunks;
	m->room = (uint32_t)room;
	return 0;
}

/* Index of CHUNK zeroed nodes, or 0. */
static uint32_t new_chunk(struct memory *m)
{
	uint32_t first = m->used;

	if (first + CHUNK > m->room && grow_nodes(m))
		return 0;
	memset(&m->nodes[first], 0, CHUNK * sizeof(struct node));
	m->used += CHUNK;
	return first;
}

static uint32_t place_of(uint64_t chunk, uint32_t size)
{
	return (uint32_t)(chunk * 0x9e3779b97f4a7c15ull >> 32) & (size - 1);
}

static struct slot *find_slot(struct slot *slots, uint32_t size, uint64_t chunk)
{
	uint32_t i = place_of(chunk, size);

	while (slots[i].chunk && slots[i].chunk != chunk)
		i = (i + 1) & (size - 1);
	return &slots[i];
}

static int grow_slots(struct memory *m)
{
	uint32_t size = m->slots_size * 2;
	struct slot *slots = calloc(size, sizeof(*slots));

	if (!slots)
		return no_memory();
	for (uint32_t i = 0; i < m->slots_size; i++)
		if (m->slots[i].chunk)
			*find_slot(slots, size, m->slots[i].chunk) = m->slots[i];
	free(m->slots);
	m->slots = slots;
	m->slots_size = size;
	return 0;
}

static void list_init(struct memory *m, struct list *list, uint32_t sentinel, bool shadow)
{
	struct link empty = {sentinel, sentinel};

	list->head = sentinel;
	if (shadow)
		m->nodes[sentinel].shadow = empty;
	else
		m->nodes[sentinel].link = empty;
}

void memory_free(struct memory *m)
{
	free(m->nodes);
	free(m->chunks);
	free(m->slots);
}

int memory_init(struct memory *m)
{
	memset(m, 0, sizeof(*m));
	m->slots_size = SLOTS_START;
	m->slots = calloc(m->slots_size, sizeof(*m->slots));
	if (!m->slots || grow_nodes(m)) {
		memory_free(m);
		return no_memory();
	}
	new_chunk(m); /* nodes 0 to 2 are sentinels, the others of the first chunk not used */
	list_init(m, &m->local, 1, false);
	list_init(m, &m->pool, 2, false);
	list_init(m, &m->shadow, 1, true);
	return 0;
}

uint64_t memory_page(const struct memory *m, uint32_t node)
{
	return m->chunks[node / CHUNK] * CHUNK + node % CHUNK;
}

uint32_t memory_node(struct memory *m, uint64_t page)
{
	uint64_t chunk = page / CHUNK + 1;
	struct slot *slot;

	if (chunk == m->last_chunk)
		return m->last_first + page % CHUNK;
	slot = find_slot(m->slots, m->slots_size, chunk);
	if (!slot->chunk) {
		uint32_t first;

		if (2 * m->slots_used >= m->slots_size) {
			if (grow_slots(m))
				return 0;
			slot = find_slot(m->slots, m->slots_size, chunk);
		}
		first = new_chunk(m);
		if (!first)
			return 0;
		*slot = (struct slot){chunk, first};
		m->chunks[first / CHUNK] = page / CHUNK;
		m->slots_used++;
	}
	m->last_chunk = chunk;
	m->last_first = slot->first;
	return slot->first + page % CHUNK;
}

void memory_expect(const struct memory *m, uint64_t soon, uint64_t later)
{
	uint64_t chunk = soon / CHUNK + 1;
	const struct slot *slot;

	if (later / CHUNK + 1 != m->last_chunk)
		__builtin_prefetch(&m->slots[place_of(later / CHUNK + 1, m->slots_size)]);
	if (chunk == m->last_chunk)
		return; /* its neighbours are in use */
	slot = find_slot(m->slots, m->slots_size, chunk);
	if (slot->chunk)
		__builtin_prefetch(&m->nodes[slot->first + soon % CHUNK], 1);
}

static struct link *link_of(const struct memory *m, uint32_t node, bool shadow)
{
	return shadow ? &m->nodes[node].shadow : &m->nodes[node].link;
}

void list_push(struct memory *m, struct list *list, uint32_t node, bool shadow)
{
	struct link *head = link_of(m, list->head, shadow), *l = link_of(m, node, shadow);

	l->prev = list->head;
	l->next = head->next;
	link_of(m, head->next, shadow)->prev = node;
	head->next = node;
	list->length++;
}

void list_remove(struct memory *m, struct list *list, uint32_t node, bool shadow)
{
	struct link *l = link_of(m, node, shadow);

	link_of(m, l->prev, shadow)->next = l->next;
	link_of(m, l->next, shadow)->prev = l->prev;
	list->length--;
}

uint32_t list_oldest(const struct memory *m, const struct list *list, bool shadow)
{
	return link_of(m, list->head, shadow)->prev;
}
