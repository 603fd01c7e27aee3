/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "donor/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "donor/options.h"
#include "donor/populate.h"
#include "donor/report.h"
#include "libleap/proto.h"

#define HUGE_BYTES ((size_t)2 << 20)
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#define SLAB_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* The file, opened once more: the kernel counts how many have opened it (is_ours_alone()), but not whoever made it. */
static int reopen(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* A mapped, sealed file of one slab. */
static int slab_map(struct store *store, bool huge, int *ret_fd, uint8_t **ret_base)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
	void *base;
	int fd, r, counted;

	fd = memfd_create("leap-slab", flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)PROTO_SLAB_BYTES) || fcntl(fd, F_ADD_SEALS, SLAB_SEALS))
		goto fail_close;
	counted = reopen(fd);
	store->counts_users = counted >= 0;
	if (counted >= 0) {
		close(fd);
		fd = counted;
	}
	/* Huge pages are reserved here or refused here: touching them cannot fail later. */
	base = mmap(NULL, PROTO_SLAB_BYTES, PROT_READ | PROT_WRITE,
		    MAP_SHARED | (huge ? 0 : MAP_NORESERVE), fd, 0);
	if (base == MAP_FAILED)
		goto fail_close;
	if (store->numa_node >= 0)
		numa_tonode_memory(base, PROTO_SLAB_BYTES, store->numa_node);
	if (store->hugepages && !huge)
		madvise(base, PROTO_SLAB_BYTES, MADV_HUGEPAGE);
	madvise(base, PROTO_SLAB_BYTES, MADV_DONTDUMP);
	*ret_fd = fd;
	*ret_base = base;
	return 0;
fail_close:
	r = -errno;
	close(fd);
	return r;
}

static int slab_make(struct store *store, struct slab *slab, bool mapped)
{
	int r = -ENOMEM;

	if (store->hugepages && !mapped) {
		r = slab_map(store, true, &slab->fd, &slab->base);
		if (r && !store->huge_warned) {
			store->huge_warned = true;
			report_warn("no free huge pages (%s): lending ordinary pages; reserve some "
				    "with "
				    "sysctl vm.nr_hugepages=N",
				    strerror(-r));
		}
	}
	if (r)
		r = slab_map(store, false, &slab->fd, &slab->base);
	return r;
}

int store_init(struct store *store, const struct options *options, char *error, size_t size)
{
	struct slab probe = {.fd = -1};
	int r;

	memset(store, 0, sizeof(*store));
	pthread_mutex_init(&store->lock, NULL);
	pthread_cond_init(&store->populate_more, NULL);
	atomic_store(&store->memory_bytes, options->memory_bytes);
	store->numa_node = options->numa_node;
	store->hugepages = options->hugepages;
	if (store->numa_node >= 0) {
		if (numa_available() < 0 || store->numa_node > numa_max_node() ||
		    !numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned)store->numa_node)) {
			snprintf(error, size,
				 "numa: this machine has no memory node %d; `numactl -H` lists "
				 "those it has",
				 store->numa_node);
			return -EINVAL;
		}
		numa_set_strict(0);
	}
	r = slab_make(store, &probe, false);
	if (r) {
		snprintf(error, size,
			 "cannot make a slab of %lluM: %s; lower --memory or raise the limits of "
			 "this process (ulimit -v, memory cgroup)",
			 (unsigned long long)(PROTO_SLAB_BYTES >> 20), strerror(-r));
		return r;
	}
	munmap(probe.base, PROTO_SLAB_BYTES);
	close(probe.fd);
	return 0;
}

uint64_t store_free_bytes(struct store *store)
{
	uint64_t limit = atomic_load(&store->memory_bytes), lent;

	if (atomic_load(&store->pressed))
		return 0;
	pthread_mutex_lock(&store->lock);
	lent = store->count * PROTO_SLAB_BYTES;
	pthread_mutex_unlock(&store->lock);
	return lent < limit ? (limit - lent) / PROTO_SLAB_BYTES * PROTO_SLAB_BYTES : 0;
}

static bool store_reserve(struct store *store)
{
	bool ok;

	pthread_mutex_lock(&store->lock);
	ok = !atomic_load(&store->pressed) &&
	     (store->count + 1) * PROTO_SLAB_BYTES <= atomic_load(&store->memory_bytes);
	store->count += ok;
	pthread_mutex_unlock(&store->lock);
	return ok;
}

static void store_unreserve(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	store->count--;
	pthread_mutex_unlock(&store->lock);
}

static void list_add(struct slab **list, struct slab *slab)
{
	slab->prev = NULL;
	slab->next = *list;
	if (slab->next)
		slab->next->prev = slab;
	*list = slab;
}

static void list_remove(struct slab **list, struct slab *slab)
{
	if (slab->prev)
		slab->prev->next = slab->next;
	else
		*list = slab->next;
	if (slab->next)
		slab->next->prev = slab->prev;
}

int store_slab_new(struct store *store, bool mapped, struct slab **ret_slab)
{
	struct slab *slab;
	int r;

	if (!store_reserve(store)) {
		store_sweep(store);
		if (!store_reserve(store))
			return -ENOSPC;
	}
	slab = calloc(1, sizeof(*slab));
	r = slab ? slab_make(store, slab, mapped) : -ENOMEM;
	if (r) {
		free(slab);
		store_unreserve(store);
		return r;
	}
	slab->store = store;
	atomic_store(&slab->refs, 1);
	atomic_store(&slab->holders, 1);
	pthread_mutex_lock(&store->lock);
	list_add(&store->slabs, slab);
	pthread_mutex_unlock(&store->lock);
	populate_add(slab);
	*ret_slab = slab;
	return 0;
}

void slab_get(struct slab *slab)
{
	atomic_fetch_add_explicit(&slab->refs, 1, memory_order_relaxed);
}

int slab_share(struct slab *slab, int *ret_fd)
{
	int fd = slab->store->counts_users ? reopen(slab->fd) : -1;

	if (fd >= 0)
		atomic_store(&slab->shared, true);
	else
		fd = fcntl(slab->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Nobody else has the file open or mapped: the kernel gives a lease on a file to its only user. */
static bool is_ours_alone(struct slab *slab)
{
	if (!atomic_load(&slab->shared))
		return true;
	if (fcntl(slab->fd, F_SETLEASE, F_WRLCK))
		return errno != EAGAIN;
	fcntl(slab->fd, F_SETLEASE, F_UNLCK);
	return true;
}

static void dispose(struct slab *slab)
{
	close(slab->fd);
	free(slab);
}

/* Nothing of this process uses it any more. A client that still has its pages has them on our account. */
static void retire(struct slab *slab)
{
	struct store *store = slab->store;
	bool alone = is_ours_alone(slab);

	munmap(slab->base, PROTO_SLAB_BYTES);
	pthread_mutex_lock(&store->lock);
	store->count += (alone ? 0 : 1) - (slab->uncounted ? 0 : 1);
	if (!alone) {
		list_add(&store->kept, slab);
		store->nkept++;
	}
	pthread_mutex_unlock(&store->lock);
	if (alone)
		dispose(slab);
}

void store_sweep(struct store *store)
{
	struct slab *next, *gone = NULL;

	pthread_mutex_lock(&store->lock);
	for (struct slab *s = store->kept; s; s = next) {
		next = s->next;
		if (!is_ours_alone(s))
			continue;
		list_remove(&store->kept, s);
		store->nkept--;
		store->count--;
		s->next = gone;
		gone = s;
	}
	pthread_mutex_unlock(&store->lock);
	for (; gone; gone = next) {
		next = gone->next;
		dispose(gone);
	}
}

/* Off the list while it is worked on, so that nobody waits; it counts as kept all the time. */
static struct slab *kept_take(struct store *store)
{
	struct slab *slab;

	pthread_mutex_lock(&store->lock);
	slab = store->kept;
	while (slab && !atomic_load(&slab->given_back))
		slab = slab->next;
	if (slab)
		list_remove(&store->kept, slab);
	pthread_mutex_unlock(&store->lock);
	return slab;
}

void store_empty_kept(struct store *store)
{
	struct slab *slab, *next, *done = NULL;

	while ((slab = kept_take(store))) {
		slab_empty(slab);
		slab->next = done;
		done = slab;
	}
	pthread_mutex_lock(&store->lock);
	for (; done; done = next) {
		next = done->next;
		list_add(&store->kept, done);
	}
	pthread_mutex_unlock(&store->lock);
}

uint64_t store_kept_bytes(struct store *store)
{
	uint64_t bytes;

	pthread_mutex_lock(&store->lock);
	bytes = store->nkept * PROTO_SLAB_BYTES;
	pthread_mutex_unlock(&store->lock);
	return bytes;
}

void slab_put(struct slab *slab)
{
	struct store *store = slab->store;
	bool orphan, alone;

	if (atomic_fetch_sub(&slab->refs, 1) != 1)
		return;
	alone = is_ours_alone(slab);
	pthread_mutex_lock(&store->lock);
	list_remove(&store->slabs, slab);
	orphan = slab->orphan = slab->populating;
	if (orphan && alone) { /* it is free as soon as populate.c looks up */
		slab->uncounted = true;
		store->count--;
	}
	pthread_mutex_unlock(&store->lock);
	if (!orphan)
		retire(slab);
}

void slab_populated(struct slab *slab)
{
	bool orphan;

	pthread_mutex_lock(&slab->store->lock);
	slab->populating = false;
	orphan = slab->orphan;
	pthread_mutex_unlock(&slab->store->lock);
	if (orphan)
		retire(slab);
}

void slab_touch(struct slab *slab, uint32_t page, uint32_t npages)
{
	uint32_t i, n = 0;

	for (i = page; i < page + npages; i++)
		n += !(atomic_load_explicit(&slab->touched[i / 64], memory_order_relaxed) >>
			       i % 64 &
		       1);
	if (!n)
		return;
	/* If it fails the pages fault, or the receive into them fails, as without it. */
	madvise(slab->base + (size_t)page * PROTO_PAGE_BYTES, (size_t)npages * PROTO_PAGE_BYTES,
		MADV_POPULATE_WRITE);
	for (i = page; i < page + npages; i++)
		atomic_fetch_or_explicit(&slab->touched[i / 64], 1ull << i % 64,
					 memory_order_relaxed);
}

void slab_empty(struct slab *slab)
{
	fallocate(slab->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)PROTO_SLAB_BYTES);
}

void slab_hold(struct slab *slab)
{
	atomic_fetch_add(&slab->holders, 1);
	slab_get(slab);
}

void slab_drop(struct slab *slab, bool erase)
{
	if (atomic_fetch_sub(&slab->holders, 1) == 1 && erase) {
		atomic_store(&slab->given_back, true);
		slab_empty(slab);
	}
	slab_put(slab);
}

static uint64_t add_figures(const struct slab *list, uint64_t *bytes)
{
	struct stat st;
	uint64_t n = 0;

	for (; list; list = list->next, n++)
		if (!fstat(list->fd, &st))
			*bytes += (uint64_t)st.st_blocks * 512;
	return n;
}

void store_figures(struct store *store, struct store_figures *ret_figures)
{
	struct store_figures f = {0};

	pthread_mutex_lock(&store->lock);
	f.slabs = add_figures(store->slabs, &f.used_bytes);
	f.kept = add_figures(store->kept, &f.used_bytes);
	pthread_mutex_unlock(&store->lock);
	f.slabs_max = atomic_load(&store->memory_bytes) / PROTO_SLAB_BYTES;
	*ret_figures = f;
}

void store_bind_thread(const struct store *store)
{
	if (store->numa_node >= 0 && numa_run_on_node(store->numa_node))
		report_warn("cannot run on memory node %d: %s", store->numa_node, strerror(errno));
}
