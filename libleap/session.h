/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - struct leap: everything of one session. Included by the pager's own files only.
 */
#ifndef LEAP_SESSION_H
#define LEAP_SESSION_H

#include "leap.h"
#include "libleap/changes.h"
#include "libleap/config.h"
#include "libleap/donors.h"
#include "libleap/lock.h"
#include "libleap/prefetch/prefetch.h"
#include "libleap/region.h"
#include "libleap/runtime.h"
#include "libleap/shard.h"
#include "libleap/slab.h"
#include "libleap/stats.h"
#include "libleap/thread.h"
#include "libleap/util/fd.h"

#define SHARDS_MAX      16
#define LIMIT_MIN_PAGES 1024 /* 4 MiB of pages at least, whatever the overhead */

struct leap {
	struct lock change; /* CHANGE: pages are moved for an option, or for a donor that goes */
	bool coming_home;   /* SESSION: for remote=off */
	struct lock lock;   /* SESSION: regions, configuration */
	struct cgroup_memory cgroup; /* as it was at the start */
	struct config config;        /* changed under lock; single values read without it */

	uint64_t features; /* of userfaultfd, masked */
	bool user_only;
	bool can_move; /* mover */
	bool can_poison;
	bool has_wp;  /* write-protection is offered (mover wp, or its fallback) */
	bool recycle; /* atomic: frames may be reused */
	bool forked;  /* atomic: this process forked once: EBUSY of MOVE may mean "shared" */
	enum config_frontend frontend;

	struct slabs slabs;
	struct donors donors;

	/* regions sorted by address; changed under `lock` and all shard locks */
	struct leap_region **regions;
	uint32_t nregions, regions_cap;
	uint32_t next_region_id;

	struct shard *shards;
	unsigned nshards;
	const struct prefetcher_ops *prefetcher; /* atomic */
	const struct replay_future *future;      /* of policy replay */
	uint32_t prefetch_generation;            /* changes with its parameters */
	bool all_sync;                           /* atomic: every donor completes inside submit() */

	/* page budget; atomic counters, changed in batches */
	int64_t held;      /* pages with content */
	int64_t local_all; /* LOCAL + limbo frames + staged */
	int64_t committed; /* pages the program owns */
	int64_t pinned;
	bool armed;     /* some stripe is registered: from now on register everything */
	bool no_room;   /* atomic: donors gave no slab, or refused a write; evict_full() */
	bool no_writes; /* atomic: they refused a write though they gave slots */
	uint64_t no_room_said_ns;
	bool grow_asked; /* atomic: the keeper was told that free groups run out */

	struct changes changes;
	struct thread evictor, keeper;
	bool evictor_runs, keeper_runs;
	bool stop;            /* atomic */
	uint32_t evict_event; /* futex */
	int keeper_fd;        /* eventfd */
	int ctl_fd;           /* listening control socket, or -1 */
	char ctl_path[108];
	struct stats_page *page;
	struct recorder *recorder; /* NULL: option trace is not given */
	uint64_t start_ns;
	struct leap *next; /* all sessions, for the SIGBUS handler and fork */
};

/* The local limit in bytes now: as it was set, or the share of what is held. */
int64_t limit_bytes(const struct leap *leap);
/* How many pages may be local now (LOCAL + limbo + staged); follows `held` when the limit is a share. */
int64_t budget_pages(const struct leap *leap);
/* How many may be when the donors are full: `ceiling` beyond the budget, as far as the memory cgroup allows it. */
int64_t ceiling_pages(const struct leap *leap);
/* Bytes of the pager's own memory that count into the limit. */
uint64_t overhead_bytes(const struct leap *leap);
/* Free pages that the evictor aims at. */
int64_t budget_headroom(const struct leap *leap);
static inline int64_t local_pages_all(const struct leap *leap)
{
	return __atomic_load_n(&leap->local_all, __ATOMIC_RELAXED);
}
static inline void budget_add(struct leap *leap, int64_t held, int64_t local)
{
	if (held)
		__atomic_fetch_add(&leap->held, held, __ATOMIC_RELAXED);
	if (local)
		__atomic_fetch_add(&leap->local_all, local, __ATOMIC_RELAXED);
}
/* Memory the machine could still give (MemAvailable), in bytes; UINT64_MAX when unknown. */
uint64_t available_bytes(void);
/* Wakes the evictor thread / the keeper. */
void evictor_kick(struct leap *leap);
void keeper_kick(struct leap *leap);

/* Locks all shards in order (app context) and releases them. */
void shards_lock_all(struct leap *leap);
void shards_unlock_all(struct leap *leap);

/* A page's content is gone: state LOST, poisoned, sentence on stderr once per cause. Shard lock held. */
void page_lost(struct shard *shard, struct leap_region *region, size_t index, const char *why);
/* The page, LOCAL or EVICTING, has no content any more: LOST, but only a touch is an error. */
#define PAGE_GONE                                                                                   \
	"the program, or a library of it, dropped it by a system call that Leap did not see (drop " \
	"it by madvise(), munmap() or leap_advise())"
void page_gone(struct shard *shard, struct leap_region *region, size_t index);

extern struct leap *sessions; /* all open sessions */
/* The region of any session that holds the address, or NULL. No lock held. */
struct leap_region *sessions_find_region(const void *addr);
/* Does a session other than leap manage a part of the range? Until sessions_let_go(), none can begin to. App context. */
bool sessions_hold_range(struct leap *leap, const void *addr, size_t bytes);
void sessions_let_go(void);

#endif
