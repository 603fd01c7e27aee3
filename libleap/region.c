/* SPDX-License-Identifier: Apache-2.0 */
/* region.c - life of regions: mapping, registration (arming), look-up. */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/log.h"
#include "libleap/region_int.h"
#include "libleap/session.h"
#include "libleap/stack.h"
#include "libleap/uffd/content.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/maps.h"
#include "libleap/util/mem.h"

struct shard *region_shard(const struct leap_region *r, size_t index)
{
	struct leap *leap = r->leap;

	return &leap->shards[(r->id + index / REGION_STRIPE_PAGES) % leap->nshards];
}

size_t region_stripe_end(const struct leap_region *r, size_t index)
{
	size_t end = (index / REGION_STRIPE_PAGES + 1) * REGION_STRIPE_PAGES;

	return end < r->npages ? end : r->npages;
}

/* Position of the first region that ends behind addr. */
static uint32_t position(const struct leap *leap, const void *addr)
{
	uint32_t lo = 0, hi = leap->nregions;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		const struct leap_region *r = leap->regions[mid];

		if ((const char *)addr < r->addr + (r->npages << LEAP_PAGE_SHIFT))
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct leap_region *region_find(struct leap *leap, const void *addr)
{
	uint32_t at = position(leap, addr);

	if (at == leap->nregions || (const char *)addr < leap->regions[at]->addr)
		return NULL;
	return leap->regions[at];
}

bool region_overlaps(struct leap *leap, const void *addr, size_t bytes)
{
	uint32_t at = position(leap, addr);

	return at < leap->nregions && leap->regions[at]->addr < (const char *)addr + bytes;
}

/* SESSION and all shard locks held. */
static int list_insert(struct leap *leap, struct leap_region *r)
{
	uint32_t at;

	if (leap->nregions == leap->regions_cap) {
		uint32_t cap = leap->regions_cap ? leap->regions_cap * 2 : 512;
		struct leap_region **bigger = mem_map(cap * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		if (leap->nregions)
			memcpy(bigger, leap->regions, leap->nregions * sizeof(*bigger));
		mem_unmap(leap->regions, leap->regions_cap * sizeof(*bigger));
		leap->regions = bigger;
		leap->regions_cap = cap;
	}
	at = position(leap, r->addr);
	memmove(&leap->regions[at + 1], &leap->regions[at],
		(leap->nregions - at) * sizeof(*leap->regions));
	leap->regions[at] = r;
	leap->nregions++;
	return 0;
}

static void list_remove(struct leap *leap, const struct leap_region *r)
{
	uint32_t at = position(leap, r->addr);

	leap->nregions--;
	memmove(&leap->regions[at], &leap->regions[at + 1],
		(leap->nregions - at) * sizeof(*leap->regions));
}

static void free_metadata(struct leap_region *r)
{
	mem_unmap(r->pages, r->npages * sizeof(*r->pages));
	mem_unmap(r->extents, r->nextents * sizeof(*r->extents));
	mem_unmap(r->armed, r->nstripes);
	mem_free(r->views);
	ranges_clear(&r->holes);
	mem_free(r);
}

static struct leap_region *new_region(struct leap *leap, char *addr, size_t npages)
{
	struct leap_region *r = mem_alloc(sizeof(*r));

	if (!r)
		return NULL;
	r->leap = leap;
	r->addr = addr;
	r->npages = npages;
	r->nextents = (npages + EXTENT_PAGES - 1) / EXTENT_PAGES;
	r->nstripes = (npages + REGION_STRIPE_PAGES - 1) / REGION_STRIPE_PAGES;
	r->pages = mem_map_sparse(npages * sizeof(*r->pages));
	r->extents = mem_map_sparse(r->nextents * sizeof(*r->extents));
	r->armed = mem_map_sparse(r->nstripes);
	r->views = mem_alloc(leap->nshards * sizeof(*r->views));
	if (!r->pages || !r->extents || !r->armed || !r->views) {
		free_metadata(r);
		return NULL;
	}
	return r;
}

/*
 * Which of n pages have content. A page taken for absent would be dropped with the eviction of its neighbours, so
 * mincore(), which does not see pages that are swapped out, serves only where /proc is not mounted.
 */
static void find_content(const char *addr, size_t n, bool *ret_there)
{
	unsigned char core[CONTENT_PAGES];

	if (!content_find(addr, n, ret_there))
		return;
	memset(core, 0, sizeof(core));
	syscall(SYS_mincore, addr, n << LEAP_PAGE_SHIFT, core);
	for (size_t i = 0; i < n; i++)
		ret_there[i] = core[i] & 1;
}

/* Those of n pages from index on that have content, up to the first without, are local. Returns how many. */
static size_t take_over(struct shard *shard, struct leap_region *r, size_t index, const bool *there,
			size_t n)
{
	size_t run = 0;

	for (; run < n && there[run] && page_state(&r->pages[index + run]) == PAGE_ABSENT; run++) {
		size_t i = index + run;

		page_move(&r->pages[i], PAGE_LOCAL);
		shard_pages_local(shard, region_extent(r, i), 1ull << (i % EXTENT_PAGES));
	}
	if (run)
		record_pages(shard, TRACE_NEW, r, index, (uint32_t)run);
	return run;
}

/* Pages that have content already belong to us now. Shard lock held; the stripe is registered. */
static int scan_content(struct leap_region *r, uintptr_t from, uintptr_t to)
{
	size_t first = region_page_index(r, (void *)from), end = region_page_index(r, (void *)to);
	struct shard *shard = region_shard(r, first);
	bool there[CONTENT_PAGES];
	int64_t held = 0;

	while (first < end) {
		size_t n;

		first += content_skip(region_page_addr(r, first), end - first);
		n = end - first < CONTENT_PAGES ? end - first : CONTENT_PAGES;
		find_content(region_page_addr(r, first), n, there);
		for (size_t i = 0, run; i < n; i += run ? run : 1) {
			run = take_over(shard, r, first + i, there + i, n - i);
			held += (int64_t)run;
		}
		first += n;
	}
	budget_add(r->leap, held, 0);
	return 0;
}

int region_arm_stripe(struct leap_region *r, size_t stripe)
{
	size_t first = stripe * REGION_STRIPE_PAGES, end = region_stripe_end(r, first);
	size_t scan_end = r->reserved && r->high_page < end ? r->high_page : end;
	struct shard *shard = region_shard(r, first);
	int err = 0;

	lock_acquire(&shard->lock);
	if (r->armed[stripe])
		goto unlock;
	err = region_register(r, first, end);
	if (err)
		goto unlock;
	__atomic_store_n(&r->armed[stripe], 1, __ATOMIC_RELEASE);
	if (scan_end > first)
		region_each_part(r, first, scan_end, scan_content);
unlock:
	lock_release(&shard->lock);
	return err;
}

static size_t stripes_in_use(const struct leap_region *r)
{
	size_t pages = r->reserved ? r->high_page : r->npages;

	return (pages + REGION_STRIPE_PAGES - 1) / REGION_STRIPE_PAGES;
}

static int arm_region(struct leap_region *r)
{
	for (size_t s = 0; s < stripes_in_use(r); s++) {
		int err = region_arm_stripe(r, s);

		if (err)
			return err;
	}
	return 0;
}

/* SESSION lock held. */
static int arm_all(struct leap *leap)
{
	__atomic_store_n(&leap->armed, true, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < leap->nregions; i++) {
		int err = arm_region(leap->regions[i]);

		if (err)
			return err;
	}
	evictor_kick(leap);
	return 0;
}

int regions_arm_if_needed(struct leap *leap)
{
	if (!leap->armed &&
	    __atomic_load_n(&leap->committed, __ATOMIC_RELAXED) <= budget_pages(leap))
		return 0;
	return arm_all(leap);
}

int regions_arm(struct leap *leap)
{
	struct lock_app saved;
	int err = 0;

	if (__atomic_load_n(&leap->armed, __ATOMIC_ACQUIRE))
		return 0;
	lock_app_enter(&saved);
	lock_acquire(&leap->lock);
	err = arm_all(leap);
	lock_release(&leap->lock);
	lock_app_leave(&saved);
	return err;
}

static bool any_armed(const struct leap_region *r)
{
	for (size_t s = 0; s < r->nstripes; s++)
		if (r->armed[s])
			return true;
	return false;
}

/* Puts the region into the list, unless a part of it is managed already. Takes the SESSION lock and keeps it. */
static int enlist(struct leap *leap, struct leap_region *r)
{
	size_t bytes = r->npages << LEAP_PAGE_SHIFT;
	bool taken;
	int err;

	/* no other session and no other thread can take the range between the look and the entry */
	taken = sessions_hold_range(leap, r->addr, bytes);
	lock_acquire(&leap->lock);
	taken = taken || region_overlaps(leap, r->addr, bytes);
	shards_lock_all(leap);
	r->id = leap->next_region_id++;
	err = taken ? -EBUSY : list_insert(leap, r);
	shards_unlock_all(leap);
	sessions_let_go();
	if (taken)
		error_set(
			EBUSY,
			"a part of the %zu bytes at %p is managed already: destroy the region that "
			"has it first",
			bytes, (void *)r->addr);
	else if (err)
		error_set(-err, "no memory for the list of regions");
	return err;
}

/* Puts the region into the list and registers it if need be. A range of the program that was registered in part
 * stays in the list on failure: pages of it may be remote already. */
static int publish(struct leap *leap, struct leap_region *r)
{
	struct lock_app saved;
	int err;

	stack_note_managed(r->addr, r->npages << LEAP_PAGE_SHIFT);
	lock_app_enter(&saved);
	err = enlist(leap, r);
	if (err)
		goto unlock;
	recorder_region(leap, r);
	if (!r->reserved)
		__atomic_fetch_add(&leap->committed, (int64_t)r->npages, __ATOMIC_RELAXED);
	if (leap->armed)
		err = arm_region(r);
	else
		err = regions_arm_if_needed(leap);
	if (err && (r->created || !any_armed(r))) {
		if (!r->reserved)
			__atomic_fetch_sub(&leap->committed, (int64_t)r->npages, __ATOMIC_RELAXED);
		shards_lock_all(leap);
		list_remove(leap, r);
		shards_unlock_all(leap);
	}
unlock:
	lock_release(&leap->lock);
	lock_app_leave(&saved);
	return err;
}

static int part_do_fork(struct leap_region *r, uintptr_t from, uintptr_t to)
{
	return sys_madvise((void *)from, to - from, MADV_DOFORK);
}

static int part_dont_fork(struct leap_region *r, uintptr_t from, uintptr_t to)
{
	return sys_madvise((void *)from, to - from, MADV_DONTFORK);
}

/* Of a reserved region only what is registered is kept from children: the rest is all there. Mappings of the program's own
 * are left alone. */
void region_inherit(struct leap_region *r, bool on)
{
	size_t pages = r->npages;

	if (r->reserved)
		pages = any_armed(r) ? stripes_in_use(r) * REGION_STRIPE_PAGES : 0;
	if (pages > r->npages)
		pages = r->npages;
	region_each_part(r, 0, pages, on ? part_do_fork : part_dont_fork);
}

static int create(struct leap *leap, size_t bytes, bool reserved, struct leap_region **ret_region)
{
	size_t len = (bytes + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK, slack = (size_t)2 << 20;
	struct leap_region *r;
	char *raw, *addr;
	int err = 0;

	if (!bytes || len < bytes || len + slack < len)
		return error_set(EINVAL, "a region of %zu bytes cannot be", bytes);
	raw = sys_mmap(NULL, len + slack, reserved ? PROT_NONE : PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &err);
	if (!raw)
		return error_set(-err,
				 "no address space for a region of %zu bytes (error %d): raise "
				 "'ulimit -v' or ask for less",
				 len, -err);
	/* 2 MiB alignment: extents share page tables evenly */
	addr = (char *)(((uintptr_t)raw + slack - 1) & ~(slack - 1));
	if (addr > raw)
		sys_munmap(raw, (size_t)(addr - raw));
	if (addr + len < raw + len + slack)
		sys_munmap(addr + len, (size_t)(raw + slack - addr));
	r = new_region(leap, addr, len >> LEAP_PAGE_SHIFT);
	if (!r) {
		err = error_set(ENOMEM, "no memory for the tables of a region of %zu bytes", len);
		goto unmap;
	}
	r->created = true;
	r->reserved = reserved;
	err = publish(leap, r);
	if (err)
		goto free_region;
	region_inherit(r, false);
	*ret_region = r;
	return 0;
free_region:
	free_metadata(r);
unmap:
	sys_munmap(addr, len);
	return err;
}

int leap_region_create(struct leap *leap, size_t bytes, struct leap_region **ret_region)
{
	int err;

	runtime_enter();
	err = create(leap, bytes, false, ret_region);
	runtime_leave();
	return err ? error_prefix(err, "leap_region_create") : 0;
}

int region_reserve(struct leap *leap, size_t bytes, struct leap_region **ret_region)
{
	int err = -ENOMEM;

	for (int k = 0; k < 7 && err; k++, bytes /= 2)
		err = create(leap, bytes, true, ret_region);
	return err;
}

int leap_region_adopt(struct leap *leap, void *addr, size_t bytes, struct leap_region **ret_region)
{
	struct leap_region *r;
	int err;

	if ((uintptr_t)addr & LEAP_PAGE_MASK || bytes & LEAP_PAGE_MASK || !bytes)
		return error_set(EINVAL, "leap_region_adopt: %p and %zu must be multiples of 4096",
				 addr, bytes);
	if ((uintptr_t)addr + bytes < bytes)
		return error_set(EINVAL, "leap_region_adopt: %p and %zu bytes behind it wrap", addr,
				 bytes);
	runtime_enter();
	/* the kernel would register shared memory, too; where it does not tell, registering is the check */
	if (!maps_private_anonymous(addr, bytes)) {
		err = error_set(EINVAL,
				"%p and %zu bytes behind it are not all private anonymous "
				"read-write memory",
				addr, bytes);
		goto leave;
	}
	r = new_region(leap, addr, bytes >> LEAP_PAGE_SHIFT);
	if (!r) {
		err = error_set(ENOMEM, "no memory for the tables of a region of %zu bytes", bytes);
		goto leave;
	}
	__atomic_store_n(&leap->armed, true, __ATOMIC_RELEASE);
	err = publish(leap, r);
	evictor_kick(leap);
	if (!err) {
		region_inherit(r, false);
		*ret_region = r;
	} else if (!any_armed(r)) {
		free_metadata(r);
	} else if (region_unmake(r)) {
		log_error("%p and %zu bytes behind it stay managed: %s", addr, bytes, error_last());
	}
leave:
	runtime_leave();
	return err ? error_prefix(err == -EPERM ? -EINVAL : err, "leap_region_adopt") : 0;
}

void *leap_region_addr(const struct leap_region *region)
{
	return region->addr;
}

size_t leap_region_bytes(const struct leap_region *region)
{
	return region->npages << LEAP_PAGE_SHIFT;
}

/* Waits until no fault thread and no evictor is between two locks with a pointer to the region. */
static void wait_roles(struct leap *leap)
{
	for (unsigned s = 0; s < leap->nshards; s++) {
		lock_acquire(&leap->shards[s].role_lock);
		lock_release(&leap->shards[s].role_lock);
		lock_acquire(&leap->shards[s].evict_lock);
		lock_release(&leap->shards[s].evict_lock);
	}
}

/* They see that it is dying, and let go of it soon. */
static void wait_holders(const struct leap_region *r)
{
	uint32_t n;

	while ((n = __atomic_load_n(&r->holders, __ATOMIC_ACQUIRE)))
		sys_futex_wait(&r->holders, n, -1);
}

struct leap_region *region_hold_next(struct leap *leap, uint32_t id)
{
	struct leap_region *found = NULL;

	lock_acquire(&leap->lock);
	for (uint32_t i = 0; i < leap->nregions; i++) {
		struct leap_region *r = leap->regions[i];

		if (r->id >= id && (!found || r->id < found->id))
			found = r;
	}
	if (found)
		__atomic_fetch_add(&found->holders, 1, __ATOMIC_ACQ_REL);
	lock_release(&leap->lock);
	return found;
}

void region_let_go(struct leap_region *r)
{
	const uint32_t *holders = &r->holders;

	if (!__atomic_sub_fetch(&r->holders, 1, __ATOMIC_ACQ_REL))
		sys_futex_wake(holders, INT32_MAX);
}

static void unlist(struct leap *leap, struct leap_region *r)
{
	lock_acquire(&leap->lock);
	shards_lock_all(leap);
	__atomic_store_n(&r->dying, true, __ATOMIC_RELEASE);
	list_remove(leap, r);
	for (unsigned s = 0; s < leap->nshards; s++) {
		struct shard *shard = &leap->shards[s];

		for (unsigned h = 0; h < SHARD_HINTS; h++)
			if (shard->hints[h].region == r)
				shard->hints[h].region = NULL;
		if (shard->zero_region == r)
			shard->zero_region = NULL;
	}
	shards_unlock_all(leap);
	lock_release(&leap->lock);
	wait_roles(leap);
	wait_holders(r);
}

int region_unmake(struct leap_region *r)
{
	struct leap *leap = r->leap;
	struct lock_app saved;
	int err = 0;

	if (!r->created) {
		err = region_pin_content(r);
		if (err)
			return err;
	}
	lock_app_enter(&saved);
	unlist(leap, r);
	if (!r->created) {
		for (size_t s = 0; s < r->nstripes; s++)
			if (r->armed[s])
				region_unregister(r, s * REGION_STRIPE_PAGES,
						  region_stripe_end(r, s * REGION_STRIPE_PAGES));
	}
	region_forget(r);
	region_inherit(r, true);
	if (r->created)
		sys_munmap(r->addr, r->npages << LEAP_PAGE_SHIFT);
	__atomic_fetch_sub(&leap->committed,
			   (int64_t)(r->reserved ? r->committed_pages : r->npages),
			   __ATOMIC_RELAXED);
	for (unsigned s = 0; s < leap->nshards; s++) {
		lock_acquire(&leap->shards[s].lock);
		plan_forget(&leap->shards[s], r);
		lock_release(&leap->shards[s].lock);
	}
	lock_app_leave(&saved);
	__atomic_fetch_sub(&leap->pinned, r->pinned, __ATOMIC_RELAXED);
	free_metadata(r);
	return 0;
}

int leap_region_destroy(struct leap_region *region)
{
	int err;

	runtime_enter();
	err = region_unmake(region);
	runtime_leave();
	return err ? error_prefix(err, "leap_region_destroy") : 0;
}
