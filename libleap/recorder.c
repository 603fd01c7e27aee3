/* SPDX-License-Identifier: Apache-2.0 */
/* recorder.c - see recorder.h. */
#include "libleap/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/recorder_file.h"
#include "libleap/session.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/fmt.h"
#include "libleap/util/mem.h"

#define RECORDS_AT  65536 /* behind room for the regions */
#define REGIONS_MAX ((RECORDS_AT - sizeof(struct trace_header)) / sizeof(struct trace_region))
#define BUFFER      4096 /* records written at once */
#define ROUND_NS    (10 * 1000000)
#define RING_BYTES  (RECORDER_RING * sizeof(struct trace_record))
#define LIMIT_STEP  16 /* pages; a limit that changed by less is not told */

struct recorder {
	struct leap *leap;
	struct lock lock; /* one round at a time */
	int fd;
	uint64_t records; /* in the file */
	uint64_t unwritten;
	uint32_t nregions; /* atomic; changed under the SESSION lock */
	bool failed;       /* the file takes no more */
	uint32_t event;    /* futex: a ring is half full, or stop */
	bool stop, runs;
	struct thread thread;
	unsigned nrings;
	struct recorder_ring ring[SHARDS_MAX];
	uint64_t until[SHARDS_MAX]; /* of this round */
	struct trace_record buffer[BUFFER];
};

/* "%p" is the process's id. */
static void expand(const char *pattern, char *buf, size_t size)
{
	const char *at = strstr(pattern, "%p");

	if (at)
		fmt_print(buf, size, "%.*s%d%s", (int)(at - pattern), pattern, (int)getpid(),
			  at + 2);
	else
		fmt_print(buf, size, "%s", pattern);
}

int recorder_create(const char *pattern, int *ret_fd)
{
	char path[320];
	struct stat st;
	int fd, err;

	expand(pattern, path, sizeof(path));
	fd = fd_open_private(path, O_WRONLY | O_NONBLOCK);
	if (fd < 0)
		return error_set(-fd,
				 "option trace: cannot create %s (error %d%s); name a file in "
				 "a directory that exists and may be written",
				 path, -fd,
				 fd == -ENOENT   ? ", no such directory"
				 : fd == -EACCES ? ", permission denied"
				 : fd == -EISDIR ? ", it is a directory"
				 : fd == -ELOOP  ? ", it is a symbolic link"
				 : fd == -EPERM  ? ", it belongs to another user"
						 : "");
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		err = error_set(EINVAL, "option trace: %s is not a regular file; name one", path);
	else if (sys_ret(syscall(SYS_flock, fd, LOCK_EX | LOCK_NB)))
		err = error_set(EBUSY,
				"option trace: another process is recording into %s; write %%p "
				"into the name, which becomes the process's id",
				path);
	else
		err = (int)sys_ret(syscall(SYS_ftruncate, fd, 0));
	if (err) {
		sys_close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

/* The rings of a shard are written by whoever holds its lock. */
static void put(struct recorder_ring *ring, const struct trace_record *record)
{
	ring->records[ring->head % RECORDER_RING] = *record;
	__atomic_store_n(&ring->head, ring->head + 1, __ATOMIC_RELEASE);
}

static uint64_t now_ns(const struct recorder_ring *ring)
{
	return clock_ns() - ring->recorder->leap->start_ns;
}

static void emit(struct recorder_ring *ring, struct trace_record *record)
{
	uint64_t used = ring->head - __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);

	record->t_ns = ring->last_ns = now_ns(ring);
	if (used + 2 > RECORDER_RING) {
		ring->lost++;
		ring->all_lost++;
		return;
	}
	if (ring->lost)
		put(ring, &(struct trace_record){
				  .t_ns = record->t_ns, .vpn = ring->lost, .op = TRACE_LOST});
	ring->lost = 0;
	put(ring, record);
	if (used == RECORDER_RING / 2)
		lock_signal(&ring->recorder->event);
}

void recorder_emit(struct recorder_ring *ring, enum trace_op op, const struct leap_region *region,
		   size_t index, uint32_t tid, unsigned flags)
{
	struct trace_record record = {
		.vpn = ((uintptr_t)region->addr >> LEAP_PAGE_SHIFT) + index,
		.tid = tid,
		.region = (uint16_t)region->id,
		.op = (uint8_t)op,
		.flags = (uint8_t)flags,
	};

	emit(ring, &record);
}

void recorder_emit_mask(struct recorder_ring *ring, enum trace_op op, const struct extent *e,
			uint64_t mask)
{
	unsigned bit = 0, n;

	for (; (n = mask_run(mask, &bit)); bit += n)
		recorder_emit(ring, op, e->region, extent_first_page(e) + bit, n, 0);
}

void recorder_emit_limit(struct recorder_ring *ring, const struct leap *leap)
{
	int64_t limit = budget_pages(leap), change = limit - ring->limit;
	struct trace_record record = {.vpn = (uint64_t)limit, .op = TRACE_LIMIT};

	if (change > -LIMIT_STEP && change < LIMIT_STEP)
		return;
	ring->limit = limit;
	emit(ring, &record);
}

static void write_at(struct recorder *rec, const void *data, size_t bytes, uint64_t at)
{
	const char *from = data;

	while (bytes && !rec->failed) {
		long n = sys_ret(syscall(SYS_pwrite64, rec->fd, from, bytes, at));

		if (n == -EINTR)
			continue;
		if (n <= 0) {
			rec->failed = true;
			log_error("the trace is cut off: its file cannot be written (error %d%s)",
				  (int)-n, n == -ENOSPC ? ", no space left" : "");
			return;
		}
		from += n;
		at += (uint64_t)n;
		bytes -= (size_t)n;
	}
}

static void write_header(struct recorder *rec, bool open)
{
	const struct leap *leap = rec->leap;
	struct trace_header h = {
		.magic = TRACE_MAGIC,
		.version = TRACE_VERSION,
		.page_shift = LEAP_PAGE_SHIFT,
		.flags = TRACE_TIMES | TRACE_WRITES | (open ? TRACE_OPEN : 0),
		.n_records = rec->records,
		.n_regions = __atomic_load_n(&rec->nregions, __ATOMIC_ACQUIRE),
		.records_at = RECORDS_AT,
		.local_pages = (uint64_t)budget_pages(leap),
		.kind = "FAULT",
		.dropped = rec->unwritten,
		.shards = rec->nrings,
	};
	bool failed = rec->failed;

	if (leap->features & UFFD_FEATURE_THREAD_ID)
		h.flags |= TRACE_THREADS;
	if (!__atomic_load_n(&leap->all_sync, __ATOMIC_RELAXED))
		h.flags |= TRACE_STAGED;
	for (unsigned s = 0; s < rec->nrings; s++)
		h.dropped += __atomic_load_n(&rec->ring[s].all_lost, __ATOMIC_RELAXED);
	rec->failed = false; /* what is there can still be said to be too little */
	write_at(rec, &h, sizeof(h), 0);
	rec->failed |= failed;
}

static void write_buffer(struct recorder *rec, unsigned n)
{
	write_at(rec, rec->buffer, n * sizeof(*rec->buffer),
		 RECORDS_AT + rec->records * sizeof(*rec->buffer));
	if (rec->failed)
		rec->unwritten += n;
	else
		rec->records += n;
}

/* The ring whose next record of this round is the oldest; NULL: there is none. */
static struct recorder_ring *oldest(struct recorder *rec, uint64_t horizon_ns)
{
	struct recorder_ring *found = NULL;
	uint64_t least = horizon_ns;

	for (unsigned s = 0; s < rec->nrings; s++) {
		struct recorder_ring *ring = &rec->ring[s];
		uint64_t t;

		if (ring->tail == rec->until[s])
			continue;
		t = ring->records[ring->tail % RECORDER_RING].t_ns;
		if (t > least || (found && t == least))
			continue;
		found = ring;
		least = t;
	}
	return found;
}

/*
 * Takes out and writes what happened before now. Records are stamped under their shard's lock: once each has been taken
 * after the horizon was, all that is older is in the rings, so the order in the file is that of time.
 */
static void take_round(struct recorder *rec)
{
	uint64_t horizon_ns = now_ns(&rec->ring[0]);
	struct recorder_ring *ring;
	unsigned n = 0;

	for (unsigned s = 0; s < rec->nrings; s++) {
		struct shard *shard = &rec->leap->shards[s];

		lock_acquire(&shard->lock);
		ring = &rec->ring[s];
		if (ring->lost && ring->tail == ring->head) {
			put(ring, &(struct trace_record){
					  .t_ns = horizon_ns, .vpn = ring->lost, .op = TRACE_LOST});
			ring->lost = 0;
		}
		rec->until[s] = ring->head;
		lock_release(&shard->lock);
	}
	while ((ring = oldest(rec, horizon_ns))) {
		rec->buffer[n++] = ring->records[ring->tail % RECORDER_RING];
		__atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_RELEASE);
		if (n == BUFFER) {
			write_buffer(rec, n);
			n = 0;
		}
	}
	if (n)
		write_buffer(rec, n);
}

static void *recorder_main(void *arg)
{
	struct recorder *rec = arg;

	while (!__atomic_load_n(&rec->stop, __ATOMIC_ACQUIRE)) {
		uint32_t seen = __atomic_load_n(&rec->event, __ATOMIC_ACQUIRE);
		uint64_t before = rec->records;

		lock_acquire(&rec->lock);
		take_round(rec);
		if (rec->records != before || rec->failed)
			write_header(rec, true);
		lock_release(&rec->lock);
		sys_futex_wait(&rec->event, seen, ROUND_NS);
	}
	return NULL;
}

void recorder_region(struct leap *leap, const struct leap_region *region)
{
	struct recorder *rec = leap->recorder;
	struct trace_region entry = {
		.id = (uint16_t)region->id,
		.first_vpn = (uintptr_t)region->addr >> LEAP_PAGE_SHIFT,
		.pages = region->npages,
	};
	uint32_t n;

	if (!rec || rec->nregions == REGIONS_MAX)
		return;
	n = rec->nregions;
	fmt_print(entry.name, sizeof(entry.name), "%s",
		  region->reserved  ? "reserved"
		  : region->created ? "created"
				    : "adopted");
	write_at(rec, &entry, sizeof(entry), sizeof(struct trace_header) + n * sizeof(entry));
	__atomic_store_n(&rec->nregions, n + 1, __ATOMIC_RELEASE);
}

int recorder_open(struct leap *leap)
{
	struct recorder *rec;
	int err;

	if (!leap->config.trace[0])
		return 0;
	rec = mem_map_sparse(sizeof(*rec));
	if (!rec)
		return error_set(ENOMEM, "no memory for a trace");
	leap->recorder = rec;
	rec->leap = leap;
	rec->fd = -1;
	lock_init(&rec->lock, LOCK_RANK_RECORDER, 0);
	for (unsigned s = 0; s < leap->nshards; s++, rec->nrings++) {
		rec->ring[s].recorder = rec;
		rec->ring[s].records = mem_map_sparse(RING_BYTES);
		if (!rec->ring[s].records)
			return error_set(ENOMEM, "no memory for a trace");
	}
	err = recorder_create(leap->config.trace, &rec->fd);
	if (err)
		return err;
	rec->fd = fd_own(rec->fd);
	write_header(rec, true);
	for (unsigned s = 0; s < leap->nshards; s++)
		leap->shards[s].ring = &rec->ring[s];
	return 0;
}

int recorder_start(struct leap *leap)
{
	struct recorder *rec = leap->recorder;
	int err = rec ? thread_start(&rec->thread, recorder_main, rec, "leap-trace") : 0;

	if (rec)
		rec->runs = !err;
	return err;
}

/* What the runtime counted itself, to compare a simulation with. */
static void write_counters(struct recorder *rec)
{
	uint64_t sum[TRACE_COUNT_EVICTED + 1] = {0};
	uint64_t t_ns = now_ns(&rec->ring[0]);
	unsigned n = 0;

	for (unsigned s = 0; s < rec->nrings; s++) {
		struct shard *shard = &rec->leap->shards[s];
		const struct shard_counters *c = &shard->count;

		lock_acquire(&shard->lock);
		sum[TRACE_COUNT_FAULTS] += c->faults;
		sum[TRACE_COUNT_ZERO] += c->faults_zero;
		sum[TRACE_COUNT_REMOTE] += c->faults_remote;
		sum[TRACE_COUNT_LIMBO] += c->faults_limbo;
		sum[TRACE_COUNT_PREFETCHED] += c->prefetched;
		sum[TRACE_COUNT_HITS] += c->prefetch_hits;
		sum[TRACE_COUNT_UNUSED] += c->prefetch_unused;
		sum[TRACE_COUNT_EVICTED] += c->evicted;
		lock_release(&shard->lock);
	}
	for (unsigned id = 1; id <= TRACE_COUNT_EVICTED; id++)
		rec->buffer[n++] = (struct trace_record){
			.t_ns = t_ns, .vpn = sum[id], .tid = id, .op = TRACE_COUNT};
	write_buffer(rec, n);
}

void recorder_flush(struct leap *leap)
{
	struct recorder *rec = leap->recorder;
	struct lock_app saved;

	if (!rec || rec->fd < 0)
		return;
	lock_app_enter(&saved);
	lock_acquire(&rec->lock);
	take_round(rec);
	take_round(rec); /* of what was lost before there was room */
	write_counters(rec);
	write_header(rec, false);
	lock_release(&rec->lock);
	lock_app_leave(&saved);
}

static void forget(struct leap *leap)
{
	struct recorder *rec = leap->recorder;

	for (unsigned s = 0; s < leap->nshards; s++)
		leap->shards[s].ring = NULL;
	leap->recorder = NULL;
	fd_close(rec->fd);
	for (unsigned s = 0; s < rec->nrings; s++)
		mem_unmap(rec->ring[s].records, RING_BYTES);
	mem_unmap(rec, sizeof(*rec));
}

void recorder_close(struct leap *leap)
{
	struct recorder *rec = leap->recorder;

	if (!rec)
		return;
	if (rec->runs) {
		__atomic_store_n(&rec->stop, true, __ATOMIC_RELEASE);
		lock_signal(&rec->event);
		thread_join(&rec->thread);
	}
	recorder_flush(leap);
	forget(leap);
}

void recorder_forked(struct leap *leap)
{
	if (leap->recorder)
		forget(leap);
}

bool recorder_runs(const struct leap *leap)
{
	return leap->recorder && leap->recorder->runs;
}
