/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leap.h - remote memory for programs that need more than their machine has.
 *
 * A *session* (struct leap) connects this process to donors of memory. A *region* is a range of
 * addresses that the session manages: its pages are local up to the session's limit and live on
 * donors beyond it. Reading and writing a region needs no call: a page that is not local is fetched
 * when it is touched.
 *
 * Errors. Functions that return int return 0 or -errno; results come back through ret_ parameters, which
 * are written on success only. leap_last_error() gives the sentence. No function prints, exits or
 * aborts on a user's or a donor's error.
 *
 * Threads. Every function may be called from any thread unless it says otherwise.
 *
 * Pages that cannot be had. When the only copy of a page is gone (its donor died), touching it raises
 * SIGBUS (option on_loss) and a sentence is written to stderr. A page never reads as zeroes instead.
 */
#ifndef LEAP_H
#define LEAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

#define LEAP_VERSION_MAJOR  0
#define LEAP_VERSION_MINOR  1
#define LEAP_VERSION_PATCH  0
#define LEAP_VERSION_STRING "0.1.0"

/* Version of the library that runs, "0.1.0"; static. */
const char *leap_version(void);
/* This thread's last error as a sentence, "" when there was none. Owned by the library, valid until the
 * thread's next failing call. */
const char *leap_last_error(void);

struct leap;
struct leap_options;
struct leap_region;

/*
 * Options. One table (leap(1), leap_option_name()) makes these names, the LEAP_* variables and the flags
 * of `leap run`: "local" is LEAP_LOCAL and --local. Values are text: sizes take K, M, G, T (powers of
 * 1024), times us, ms, s, switches on/off.
 */
/* New options with the defaults; NULL when out of memory. Free with leap_options_free(). */
struct leap_options *leap_options_new(void);
void leap_options_free(struct leap_options *options);
/* -ENOENT: no such option; -EINVAL: bad value; -ERANGE: out of bounds. */
int leap_options_set(struct leap_options *options, const char *name, const char *value);
/* Sets every option that has a LEAP_* variable in the environment. First error wins. */
int leap_options_from_env(struct leap_options *options);
/* Name and one-line help of the index-th option; NULL past the last. Static strings. */
const char *leap_option_name(unsigned index);
const char *leap_option_help(unsigned index);

/*
 * Opens a session: checks what the kernel offers, connects to the donors, starts the pager threads. options
 * NULL means defaults; the caller keeps ownership and may free them at once. May take up to the
 * deadline for each donor. -EPERM: userfaultfd is not allowed; -ENOSYS: the kernel lacks it; -EINVAL; -ENOMEM;
 * -ECONNREFUSED, -ETIMEDOUT, -EPROTO, -ENOENT: a donor.
 */
int leap_open(const struct leap_options *options, struct leap **ret_leap);
/* Destroys all regions (their memory is unmapped, adopted ranges come home first) and disconnects.
 * No other thread may use the session or its regions any more. -ENOMEM and the session stays open when
 * an adopted range cannot come home. */
int leap_close(struct leap *leap);

/*
 * Regions. Addresses and lengths are in bytes, multiples of 4096. A child of fork() does not get them: touching
 * one raises SIGSEGV there (programs started by `leap run` are served with their children).
 */
/* Maps a new zeroed region of bytes (rounded up to pages). Freed by leap_region_destroy(). */
int leap_region_create(struct leap *leap, size_t bytes, struct leap_region **ret_region);
/* Takes over existing private anonymous read-write memory with its content; the memory remains the
 * caller's. -EINVAL: not aligned, or not such memory; -EBUSY: a part of it is managed already, by this session or
 * another. */
int leap_region_adopt(struct leap *leap, void *addr, size_t bytes, struct leap_region **ret_region);
/* A created region is unmapped. An adopted one first comes home whole and is then plain memory again
 * (-ENOMEM: the limit does not allow its content, -EIO: a page is lost; the region stays); parts that the caller unmapped
 * meanwhile are forgotten. Its pins end with it. No other thread may touch a created region any more. */
int leap_region_destroy(struct leap_region *region);
void *leap_region_addr(const struct leap_region *region);
size_t leap_region_bytes(const struct leap_region *region);

enum leap_advice {
	/* The first three hold for all of a region that the range is part of, until the next of them. */
	LEAP_ADVISE_NORMAL,
	LEAP_ADVISE_SEQUENTIAL, /* expect ascending access: prefetch at once with large windows */
	LEAP_ADVISE_RANDOM,     /* expect no pattern: do not prefetch */
	LEAP_ADVISE_WILLNEED,   /* start fetching in the background */
	LEAP_ADVISE_DONTNEED, /* content is not needed: reads as zeroes from now on (madvise() would lose the pages: SIGBUS) */
	LEAP_ADVISE_COLD, /* evict these before others */
	LEAP_ADVISE_PIN, /* fetch and keep local until UNPIN, of which each PIN needs one; -ENOMEM if the limit does not
			  * allow it, -EOVERFLOW if a page is pinned 4095 times already */
	LEAP_ADVISE_UNPIN,
};
/* Range inside one or several regions of the session; parts of pages count as whole pages except for
 * DONTNEED, which needs page alignment. -EINVAL, -ENOMEM. */
int leap_advise(struct leap *leap, void *addr, size_t bytes, enum leap_advice advice);
/* Fetches the range (as far as the limit allows) and returns when it is local. */
int leap_prefetch(struct leap *leap, const void *addr, size_t bytes);
/* Evicts the range and returns when it is remote (pages pinned or in use excepted). -ENOSPC. */
int leap_evict(struct leap *leap, void *addr, size_t bytes);

/*
 * Run-time control: changes an option of a running session ("local", "prefetch", "history_size",
 * "history_split", "window_max", "prefetching", "remote", ...). -EROFS: only at open.
 * "remote=off" brings all that is remote home first: -ENOMEM when that does not fit (nothing is lost or changed).
 */
int leap_set(struct leap *leap, const char *name, const char *value);
/* Present value as text; -ENOENT, or -ENOSPC when size is too small. */
int leap_get(struct leap *leap, const char *name, char *buf, size_t size);
/* Adds the donors of a URI list. -EINVAL, -EPROTONOSUPPORT (unknown scheme), and as leap_open(). */
int leap_donor_add(struct leap *leap, const char *uris);
/* Moves the donor's pages elsewhere, then disconnects it. -ENOSPC: no room elsewhere (nothing changed). */
int leap_donor_remove(struct leap *leap, const char *uri);

/*
 * Statistics.
 */
/* Percentiles in ns of a latency histogram that only grows. */
struct leap_latency {
	uint64_t count, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, sum_ns;
};

/* A snapshot; the counters grow from open on. size is the first field so that it can grow: set it to
 * sizeof(struct leap_stats) before the call. Pages are 4096 bytes. */
struct leap_stats {
	size_t size;
	/* gauges */
	uint64_t limit_bytes;    /* the local limit now; 0 = none (remote=off) */
	uint64_t held_pages;     /* pages with content: local + remote */
	uint64_t local_pages;    /* mapped in the program */
	uint64_t limbo_pages;    /* unmapped, still local */
	uint64_t staged_pages;   /* fetched, not mapped yet */
	uint64_t remote_pages;   /* only on donors */
	uint64_t lost_pages;     /* gone: with a donor, or dropped by a call that is not seen */
	uint64_t overhead_bytes; /* the pager's own memory, counted into the limit */
	uint64_t regions, slabs, donors_alive, donors;
	int64_t trend;   /* last trend, in pages, 0 = none */
	uint64_t window; /* last prefetch window, in pages */
	/* counters */
	uint64_t faults;        /* messages handled */
	uint64_t faults_zero;   /* first touch */
	uint64_t faults_remote; /* had to wait for a donor */
	uint64_t faults_limbo;  /* served from limbo */
	uint64_t faults_staged; /* served from a staged page: hits in cache mode, markers in marker mode */
	uint64_t faults_wp;       /* write-protect faults (mover wp) */
	uint64_t faults_spurious; /* duplicates: the page was there already */
	uint64_t prefetched;      /* pages brought by prefetch */
	uint64_t prefetch_hits;   /* of these touched (cache: counted; marker: credited) */
	uint64_t prefetch_unused; /* of these dropped untouched, as far as known */
	uint64_t markers;         /* marker touches */
	uint64_t evicted;         /* pages taken out */
	uint64_t evicted_clean;   /* of these not written: the donor's copy was the same */
	uint64_t evicted_zero;    /* of these all zeroes: nothing stored */
	uint64_t written;         /* pages written to donors */
	uint64_t read;            /* pages read from donors */
	uint64_t io_errors;
	uint64_t over_limit;                /* times that the limit had to be exceeded */
	struct leap_latency fault_latency;  /* message read to page installed, demand faults */
	struct leap_latency remote_latency; /* the same for those that read from a donor */
	uint64_t untouched_pages; /* gauge: prefetched, not known to be touched (marker: not credited) */
};
int leap_stats(struct leap *leap, struct leap_stats *ret_stats);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
