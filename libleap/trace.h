/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - the trace format LPT1: page accesses as the runtime sees them, and as `leap sim` replays them.
 *
 * Little-endian. A header of 64 bytes, a table of regions (56 bytes each), then records of 24 bytes in the order
 * in which they happened. man/leap-trace.5 describes it for users. What is reserved is zero.
 *
 * What a live run can record are faults: a page that is mapped is touched unseen. With the records of what else
 * changes pages (new ones, dropped ones, the limit) they are enough to run the pager again in a model, since
 * nothing else tells the pager anything (tools/sim_pager.c).
 */
#ifndef LEAP_TRACE_H
#define LEAP_TRACE_H

#include <stdint.h>

#define TRACE_MAGIC   "LPT1"
#define TRACE_VERSION 1
#define TRACE_STRIPE  65536 /* pages of a region that one fault thread serves */
#define TRACE_SHARDS  256   /* no trace has more */

enum trace_flag {
	TRACE_TIMES = 1 << 0,    /* t_ns is valid */
	TRACE_THREADS = 1 << 1,  /* tid is valid */
	TRACE_ACCESSES = 1 << 2, /* full accesses, not only faults */
	TRACE_WRITES = 1 << 3,   /* TRACE_RECORD_WRITE is valid */
	TRACE_STAGED =
		1 << 4,      /* recorded with donors that bring markers along with their windows */
	TRACE_OPEN = 1 << 5, /* being recorded, or cut off: the last moments may be missing */
};

struct trace_header {
	char magic[4];
	uint16_t version;
	uint8_t page_shift;
	uint8_t flags; /* enum trace_flag */
	uint64_t n_records;
	uint32_t n_regions;
	uint32_t records_at;      /* offset of the first record; 0: right behind the regions */
	uint64_t footprint_pages; /* different pages accessed; 0: unknown */
	uint64_t local_pages;     /* limit while it was recorded; 0: none */
	char kind[8];             /* FAULT, ACCESS, BLOCK or KEY, padded with zeroes */
	uint64_t dropped;         /* records that were lost while recording */
	uint32_t shards; /* fault threads that recorded; each served stripes of its own; 0: one */
	uint32_t reserved1;
};

struct trace_region {
	uint32_t id; /* as in records, below 65536 */
	uint32_t flags;
	uint64_t first_vpn, pages;
	char name[32]; /* ends with a zero */
};

enum trace_op {
	TRACE_ACCESS,      /* a miss, or an access of a full trace */
	TRACE_HIT,         /* first touch of a prefetched page */
	TRACE_LATE_HIT,    /* the same, while it was on its way */
	TRACE_WRITE_FAULT, /* an access, too */
	TRACE_EVICT,
	TRACE_ISSUE,  /* a prefetch was asked for */
	TRACE_DONE,   /* it has come */
	TRACE_UNUSED, /* it was dropped untouched */
	TRACE_HINT,
	TRACE_PHASE, /* a mark of the program's */
	TRACE_NEW, /* pages became local without being fetched: first touches, and what was there before */
	TRACE_DROP, /* content is gone: unmapped, given up, or it was all zeroes when it was evicted */
	TRACE_LIMIT,  /* vpn: how many pages may be local from now on */
	TRACE_LOST,   /* vpn: so many records are missing here */
	TRACE_RETIRE, /* pages left limbo, or the buffer they waited in: only a donor has them */
	TRACE_COUNT,  /* vpn: a counter of the runtime's at the end, tid: which */
	TRACE_SHORT, /* there was no room for all of a window: vpn is its marker now, tid how many pages it has */
	TRACE_RESCUE, /* pages that were in limbo became local with a window */
	TRACE_ADVICE, /* of all accesses of the region from now on: vpn is its first page, tid says which */
	TRACE_WINDOW, /* a window is begun: vpn is its marker (without one: first page), tid how many pages it has */
	TRACE_OPS,
};

/* Of TRACE_COUNT. */
enum trace_counter {
	TRACE_COUNT_FAULTS = 1,
	TRACE_COUNT_ZERO,   /* first touches */
	TRACE_COUNT_REMOTE, /* misses: had to wait for a donor */
	TRACE_COUNT_LIMBO,
	TRACE_COUNT_PREFETCHED,
	TRACE_COUNT_HITS,
	TRACE_COUNT_UNUSED,
	TRACE_COUNT_EVICTED,
};

/* Of TRACE_ADVICE: as in leap.h. */
enum trace_advice { TRACE_ADVICE_NORMAL, TRACE_ADVICE_SEQUENTIAL, TRACE_ADVICE_RANDOM };

/* In flags of a record. */
enum {
	TRACE_RECORD_WRITE = 1 << 0,
	TRACE_RECORD_FIRST = 1 << 1,  /* access: the page was new */
	TRACE_RECORD_LIMBO = 1 << 2,  /* access: it had been evicted, but was still here */
	TRACE_RECORD_MARKER = 1 << 3, /* access: it was the marker of a window */
	TRACE_RECORD_SAME = 1 << 4,   /* access: heard together with the one before */
	TRACE_RECORD_THERE =
		1 << 5, /* window: all of it was mapped or on its way, so it was not begun */
	TRACE_RECORD_STAGED = 1 << 6, /* window: it is done, and its marker was asked for, too */
	TRACE_RECORD_CUT = 1 << 7, /* window: cut to its share before it is begun; vpn is its first
					 page, tid its pages, shifted, and what is left of them */
};
#define TRACE_CUT_SHIFT 16

struct trace_record {
	uint64_t t_ns;
	uint64_t vpn; /* virtual page number */
	uint32_t tid; /* of an access; of other ops: how many pages from vpn on, 0 means 1 */
	uint16_t region;
	uint8_t op;
	uint8_t flags;
};

_Static_assert(sizeof(struct trace_header) == 64, "header");
_Static_assert(sizeof(struct trace_region) == 56, "region");
_Static_assert(sizeof(struct trace_record) == 24, "record");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "records are used as they are in the file");

/* Whether the record is the program's touching a page. */
static inline int trace_is_access(const struct trace_record *r)
{
	return r->op <= TRACE_WRITE_FAULT;
}

/* How many pages the record is about. */
static inline uint32_t trace_pages(const struct trace_record *r)
{
	return trace_is_access(r) || !r->tid ? 1 : r->tid;
}

#endif
