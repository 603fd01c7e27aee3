/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_table.h - accesses told apart by where they happen: which stream a page belongs to.
 *
 * A page belongs to the stream whose last page is nearest to it, within STREAM_NEAR pages. One that is near to none may
 * begin a stream, in place of the one that was not used for longest. What a stream is good for is its owner's
 * business: policy streams has a history of steps for each, option history_key=stream an instance of any policy (history.h).
 *
 * A window carries its stream's tag, which tells a stream from the one that has its place later.
 */
#ifndef LEAP_PREFETCH_STREAM_TABLE_H
#define LEAP_PREFETCH_STREAM_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define STREAMS            64
#define STREAM_NONE        STREAMS
#define STREAM_NEAR        64
#define STREAM_NOWHERE     (~0ull >> 1) /* near to no page */
#define STREAM_GENERATIONS 0xffff
#define STREAM_TAG_BITS    7

/* Numbers that are compared all at once. */
typedef uint16_t stream_lanes __attribute__((vector_size(16), aligned(8)));
#define STREAM_LANES 8

struct stream_table {
	/* last / STREAM_NEAR, its low bits: a look at these rules most streams out */
	stream_lanes place[STREAMS / STREAM_LANES];
	uint64_t last[STREAMS]; /* page; STREAM_NOWHERE: free */
	uint64_t from[STREAMS]; /* pages from here to last were brought, ... */
	int64_t step[STREAMS];  /* ... so far apart */
	uint64_t brought;       /* a bit for each stream where from is not last */
	/* A ring by time of the last access; STREAM_NONE is before the oldest and behind the newest. */
	uint8_t older[STREAMS + 1], newer[STREAMS + 1];
	uint16_t generation[STREAMS +
			    1]; /* 0: never begun; the last is for what its owner keeps beside streams */
};

static inline void stream_set_last(struct stream_table *t, uint32_t i, uint64_t page)
{
	t->last[i] = t->from[i] = page;
	t->place[i / STREAM_LANES][i % STREAM_LANES] = (uint16_t)(page / STREAM_NEAR);
	t->brought &= ~(1ull << i);
}

/* The table is zeroed. */
static inline void stream_table_init(struct stream_table *t)
{
	for (uint32_t i = 0; i < STREAMS; i++)
		stream_set_last(t, i, STREAM_NOWHERE);
	for (uint32_t i = 0; i <= STREAMS; i++) {
		t->newer[i] = (uint8_t)(i == STREAMS ? 0 : i + 1);
		t->older[i] = (uint8_t)(i ? i - 1 : STREAMS);
	}
}

/* False: no stream's last page is near to page. True: perhaps. */
static inline bool stream_may_be_near(const struct stream_table *t, uint64_t page)
{
	uint16_t before = (uint16_t)(page / STREAM_NEAR - 1);
	stream_lanes near = {0};
	uint64_t any[2];

	for (uint32_t i = 0; i < STREAMS / STREAM_LANES; i++)
		near |= (stream_lanes)(t->place[i] - before <= 2);
	memcpy(any, &near, sizeof(any));
	return any[0] | any[1];
}

/* The stream whose last page is nearest to page, STREAM_NONE when none is near. */
static inline uint32_t stream_find(const struct stream_table *t, uint64_t page)
{
	uint64_t least = STREAM_NEAR + 1;
	uint32_t found = STREAM_NONE;

	if (!stream_may_be_near(t, page))
		return STREAM_NONE;
	for (uint32_t i = 0; i < STREAMS; i++) {
		uint64_t way = page - t->last[i];

		if (way + STREAM_NEAR > 2 * STREAM_NEAR)
			continue;
		if ((int64_t)way < 0)
			way = -way;
		if (way < least) {
			least = way;
			found = i;
		}
	}
	return found;
}

/* The stream's newest access was to page. */
static inline void stream_touch(struct stream_table *t, uint32_t i, uint64_t page)
{
	uint8_t newest = t->older[STREAM_NONE], k = (uint8_t)i;

	stream_set_last(t, i, page);
	if (newest == k)
		return;
	t->newer[t->older[k]] = t->newer[k];
	t->older[t->newer[k]] = t->older[k];
	t->older[k] = newest;
	t->newer[k] = STREAM_NONE;
	t->newer[newest] = k;
	t->older[STREAM_NONE] = k;
}

static inline uint32_t stream_oldest(const struct stream_table *t)
{
	return t->newer[STREAM_NONE];
}

/* The place has another stream from now on. */
static inline void stream_begin(struct stream_table *t, uint32_t i)
{
	t->generation[i] = t->generation[i] % STREAM_GENERATIONS + 1;
}

static inline uint32_t stream_tag(const struct stream_table *t, uint32_t i)
{
	return (uint32_t)t->generation[i] << STREAM_TAG_BITS | i;
}

/* The stream of that tag, which may be the one beside the streams (number STREAMS); false: it is gone. */
static inline bool stream_of_tag(const struct stream_table *t, uint32_t tag, uint32_t *ret_stream)
{
	uint32_t i = tag & ((1u << STREAM_TAG_BITS) - 1);

	if (i > STREAMS || !t->generation[i] || tag != stream_tag(t, i))
		return false;
	*ret_stream = i;
	return true;
}

/* A window of the stream was used: pages from `from` to its last one were brought. */
static inline void stream_bring(struct stream_table *t, uint32_t i, uint64_t from, int64_t step)
{
	if (from == t->last[i])
		return;
	t->from[i] = from;
	t->step[i] = step;
	t->brought |= 1ull << i;
}

/* The stream that brought page, which must have been dropped then; STREAM_NONE: none. */
static inline uint32_t stream_that_brought(const struct stream_table *t, uint64_t page)
{
	for (uint64_t b = t->brought; b; b &= b - 1) {
		uint32_t i = (uint32_t)__builtin_ctzll(b);
		uint64_t length = t->last[i] - t->from[i], way = page - t->from[i];
		int64_t step = t->step[i];

		if (step < 0) {
			length = -length;
			way = -way;
			step = -step;
		}
		if (way <= length && step && way % (uint64_t)step == 0)
			return i;
	}
	return STREAM_NONE;
}

#endif
