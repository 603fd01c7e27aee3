/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorder.h - option trace: what the pager hears and does, written to a file in the format of trace.h.
 *
 * Each shard has a ring of records, written under the shard's lock by whoever holds it, without a system call. A
 * thread of its own (leap-trace) takes them out, puts those of all shards in order of time, and appends them to
 * the file. When the ring is full, records are lost, and counted: TRACE_LOST stands in their place, and the
 * header tells the sum. The header is correct after each round, so the file of a process that was killed
 * can be read; TRACE_OPEN in it tells that its last moments may be missing.
 *
 * A forked child is not recorded. Its copy of the file is closed before it does anything else.
 *
 * The rings do not count into the local limit, so that a run that is recorded evicts as one that is not.
 */
#ifndef LEAP_RECORDER_H
#define LEAP_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/trace.h"

#define RECORDER_RING 65536 /* records of a shard; a power of two */

struct extent;
struct leap;
struct leap_region;
struct recorder;
struct shard;

struct recorder_ring {
	struct recorder *recorder;
	struct trace_record *records;
	uint64_t head; /* running number of the next record; shard's lock */
	uint64_t tail; /* atomic; of the next one to be taken out */
	uint64_t lost; /* records for which there was no room since the last one that had; shard's lock */
	uint64_t all_lost; /* sum; shard's lock */
	int64_t limit;     /* as told last */
	uint64_t last_ns;  /* time of the last record; shard's lock */
};

/* Creates the file that option trace names and the rings; nothing when it names none. 0, or -errno with the sentence
 * set. Before threads run and regions exist. */
int recorder_open(struct leap *leap);
/* Starts the thread, if there is something to record. */
int recorder_start(struct leap *leap);
/* Writes what is left and closes. Fault threads and evictor have ended. */
void recorder_close(struct leap *leap);
/* At exit of the process: writes what is there now. */
void recorder_flush(struct leap *leap);
/* Whether the thread runs. */
bool recorder_runs(const struct leap *leap);
/* In a forked child, which has no other thread yet: forgets it all without writing. */
void recorder_forked(struct leap *leap);
/* The session has a new region. SESSION lock held. */
void recorder_region(struct leap *leap, const struct leap_region *region);

/* The following are for the inline functions below. Shard's lock held. */
void recorder_emit(struct recorder_ring *ring, enum trace_op op, const struct leap_region *region,
		   size_t index, uint32_t tid, unsigned flags);
void recorder_emit_mask(struct recorder_ring *ring, enum trace_op op, const struct extent *e,
			uint64_t mask);
void recorder_emit_limit(struct recorder_ring *ring, const struct leap *leap);

/* `count` pages from index on. */
#define record_pages(shard, op, region, index, count)                              \
	do {                                                                       \
		if (__builtin_expect((shard)->ring != NULL, 0))                    \
			recorder_emit((shard)->ring, op, region, index, count, 0); \
	} while (0)

/* A window; index: of its marker, or first page. */
#define record_window(shard, region, index, count, flags)                                        \
	do {                                                                                     \
		if (__builtin_expect((shard)->ring != NULL, 0))                                  \
			recorder_emit((shard)->ring, TRACE_WINDOW, region, index, count, flags); \
	} while (0)

/* Pages of an extent, a record a run. */
#define record_mask(shard, op, e, mask)                                   \
	do {                                                              \
		if (__builtin_expect((shard)->ring != NULL, 0))           \
			recorder_emit_mask((shard)->ring, op, e, (mask)); \
	} while (0)

/* A fault; flags: TRACE_RECORD_*. */
#define record_access(shard, op, region, index, fault, flags)                               \
	do {                                                                                \
		if (__builtin_expect((shard)->ring != NULL, 0))                             \
			recorder_emit((shard)->ring, op, region, index, (fault)->thread,    \
				      (flags) | ((fault)->write ? TRACE_RECORD_WRITE : 0)); \
	} while (0)

/* The limit, if it is not what was told last. */
#define record_limit(shard)                                                \
	do {                                                               \
		if (__builtin_expect((shard)->ring != NULL, 0))            \
			recorder_emit_limit((shard)->ring, (shard)->leap); \
	} while (0)

#endif
