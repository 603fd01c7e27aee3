/* SPDX-License-Identifier: Apache-2.0 */
/* history.c - see history.h. */
#include "libleap/prefetch/history.h"

#include <string.h>

#include "libleap/prefetch/stream_table.h"

#define PLANNED     1024 /* blocks whose planner is known */
#define BLOCK_PAGES 64

struct block {
	uint32_t number; /* its low bits */
	uint32_t tag;    /* of the stream that planned pages of it last; 0: none */
};

struct by_stream {
	struct stream_table table;
	struct block planned[PLANNED];
};

struct history {
	const struct prefetcher_ops *ops;
	struct prefetch_params params;
	size_t first, bytes; /* where the first instance lies, and how large each is */
	uint32_t current;    /* asked last */
	bool by_stream;      /* struct by_stream follows */
	enum prefetch_hint hint;
};

static struct by_stream *streams(struct history *h)
{
	return (struct by_stream *)((char *)h + prefetch_aligned(sizeof(*h)));
}

static void *instance(const struct history *h, uint32_t i)
{
	return (char *)h + h->first + i * h->bytes;
}

static size_t first_of(bool by_stream)
{
	return prefetch_aligned(sizeof(struct history)) +
	       (by_stream ? prefetch_aligned(sizeof(struct by_stream)) : 0);
}

size_t history_bytes(const struct prefetcher_ops *ops, const struct prefetch_params *params,
		     bool by_stream)
{
	by_stream &= !ops->whole;
	return first_of(by_stream) +
	       (by_stream ? STREAMS : 1) * prefetch_aligned(ops->state_bytes(params));
}

bool history_is_small(const struct prefetcher_ops *ops, const struct prefetch_params *params,
		      bool by_stream, uint64_t pages)
{
	size_t bytes = history_bytes(ops, params, by_stream) - first_of(false);

	return !ops->scope && bytes / HISTORY_BYTES_A_PAGE > pages;
}

int history_init(struct history *h, const struct prefetcher_ops *ops,
		 const struct prefetch_params *params, bool by_stream,
		 const struct prefetch_scope *scope)
{
	int err;

	h->ops = ops;
	h->params = *params;
	h->by_stream = by_stream && !ops->whole;
	h->first = first_of(h->by_stream);
	h->bytes = prefetch_aligned(ops->state_bytes(params));
	if (h->by_stream)
		stream_table_init(&streams(h)->table);
	err = ops->init(instance(h, 0), params); /* of all, as far as errors go */
	if (!err && ops->scope)
		ops->scope(instance(h, 0), scope);
	return err;
}

/* A stream that begins at page, in the place of the one that was not used for longest. */
static uint32_t begin(struct history *h, uint64_t page)
{
	struct stream_table *t = &streams(h)->table;
	uint32_t i = stream_oldest(t);

	stream_begin(t, i);
	stream_touch(t, i, page);
	memset(instance(h, i), 0, h->bytes);
	h->ops->init(instance(h, i), &h->params);
	if (h->hint != PREFETCH_HINT_NORMAL)
		prefetch_tell_hint(h->ops, instance(h, i), h->hint);
	return i;
}

static struct block *block_of(struct history *h, uint64_t page)
{
	return &streams(h)->planned[page / BLOCK_PAGES % PLANNED];
}

/* The stream that planned pages near page last; STREAM_NONE: not known, or gone. */
static uint32_t planner(struct history *h, uint64_t page)
{
	const struct block *b = block_of(h, page);
	uint32_t i;

	if (!b->tag || b->number != (uint32_t)(page / BLOCK_PAGES) ||
	    !stream_of_tag(&streams(h)->table, b->tag, &i))
		return STREAM_NONE;
	return i;
}

static void note_planned(struct history *h, const struct prefetch_plan *plan)
{
	uint64_t last = STREAM_NOWHERE;

	for (uint32_t k = 0; k < plan->count; k++) {
		uint64_t page = prefetch_nth(plan, k);

		if (page / BLOCK_PAGES == last)
			continue;
		last = page / BLOCK_PAGES;
		*block_of(h, page) = (struct block){(uint32_t)last, plan->tag};
	}
}

/* Whose access it is. */
static uint32_t stream_of(struct history *h, const struct prefetch_access *a)
{
	struct stream_table *t = &streams(h)->table;
	uint32_t i;

	if (a->kind == PREFETCH_MARKER) {
		if (a->window && stream_of_tag(t, a->window->tag, &i))
			return i;
		i = stream_find(t, a->frontier);
		return i == STREAM_NONE ? begin(h, a->frontier) : i;
	}
	i = stream_find(t, a->page);
	if (i == STREAM_NONE && a->kind == PREFETCH_HIT)
		i = planner(h, a->page);
	else if (i == STREAM_NONE)
		i = stream_that_brought(t, a->page);
	return i == STREAM_NONE ? begin(h, a->page) : i;
}

void history_access(struct history *h, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	struct stream_table *t = &streams(h)->table;

	if (!h->by_stream) {
		h->ops->access(instance(h, 0), a, plan);
		return;
	}
	h->current = stream_of(h, a);
	stream_touch(t, h->current, a->kind == PREFETCH_MARKER ? a->frontier : a->page);
	if (a->kind == PREFETCH_MARKER)
		stream_bring(t, h->current, a->page, a->delta);
	h->ops->access(instance(h, h->current), a, plan);
	plan->tag = stream_tag(t, h->current);
	note_planned(h, plan);
}

void history_hint(struct history *h, enum prefetch_hint hint)
{
	if (h->hint == hint)
		return;
	h->hint = hint;
	for (uint32_t i = 0; i < (h->by_stream ? STREAMS : 1); i++)
		if (!h->by_stream || streams(h)->table.generation[i])
			prefetch_tell_hint(h->ops, instance(h, i), hint);
}

void history_unused(struct history *h, uint64_t page, uint32_t count)
{
	uint32_t i = h->by_stream ? planner(h, page) : 0;

	if (i != STREAM_NONE)
		h->ops->unused(instance(h, i), count);
}

void history_peek(const struct history *h, int64_t *ret_trend, uint32_t *ret_window)
{
	h->ops->peek(instance(h, h->current), ret_trend, ret_window);
}
