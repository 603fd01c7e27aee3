/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.c - what the preload library asks for; see runtime.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libleap/control.h"
#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/log_writer.h"
#include "libleap/region_int.h"
#include "libleap/session.h"

#define MOVE_CHUNK ((size_t)1 << 20)

int region_commit(struct leap_region *r, void *addr, size_t len)
{
	size_t n = len >> LEAP_PAGE_SHIFT, end = region_page_index(r, addr) + n;
	struct leap *leap = r->leap;
	struct lock_app saved;
	bool arm;
	int err = sys_mprotect(addr, len, PROT_READ | PROT_WRITE);

	if (err)
		return err;
	__atomic_fetch_add(&r->committed_pages, n, __ATOMIC_RELAXED);
	__atomic_fetch_add(&leap->committed, (int64_t)n, __ATOMIC_RELAXED);
	/* nothing to do while all is known to be registered, or all fits */
	arm = __atomic_load_n(&leap->armed, __ATOMIC_ACQUIRE)
		      ? end > __atomic_load_n(&r->high_page, __ATOMIC_ACQUIRE)
		      : __atomic_load_n(&leap->committed, __ATOMIC_RELAXED) > budget_pages(leap);
	if (!arm && end <= __atomic_load_n(&r->high_page, __ATOMIC_ACQUIRE))
		return 0;
	runtime_enter();
	lock_app_enter(&saved);
	lock_acquire(&leap->lock);
	if (end > r->high_page)
		__atomic_store_n(&r->high_page, end, __ATOMIC_RELEASE);
	if (regions_arm_if_needed(leap)) {
		/* unmanaged memory would break the limit silently */
		log_error("%s", error_last());
		abort_now();
	}
	lock_release(&leap->lock);
	lock_app_leave(&saved);
	runtime_leave();
	return 0;
}

void region_discard(struct leap_region *r, void *addr, size_t len)
{
	struct lock_app saved;

	runtime_enter();
	lock_app_enter(&saved);
	region_drop(r, region_page_index(r, addr), len >> LEAP_PAGE_SHIFT);
	lock_app_leave(&saved);
	runtime_leave();
}

void region_abandon(struct leap_region *r, void *addr, size_t len)
{
	size_t n = len >> LEAP_PAGE_SHIFT;

	region_discard(r, addr, len);
	__atomic_fetch_sub(&r->committed_pages, n, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&r->leap->committed, (int64_t)n, __ATOMIC_RELAXED);
}

void region_release(struct leap_region *r, void *addr, size_t len)
{
	sys_mprotect(addr, len, PROT_NONE); /* before the content goes: nobody writes any more */
	region_abandon(r, addr, len);
}

int region_pin(struct leap_region *r, const void *addr, size_t len)
{
	int err;

	runtime_enter();
	err = region_pin_pages(r, region_page_index(r, addr), len >> LEAP_PAGE_SHIFT);
	runtime_leave();
	return err;
}

void region_unpin(struct leap_region *r, const void *addr, size_t len)
{
	runtime_enter();
	region_unpin_pages(r, region_page_index(r, addr), len >> LEAP_PAGE_SHIFT);
	runtime_leave();
}

int region_move(struct leap_region *r, void *from, void *to, size_t len)
{
	/* as the program itself would: faults on either side are served as they come, and the source is
	 * given up as it is read, so that the limit holds */
	for (size_t at = 0; at < len; at += MOVE_CHUNK) {
		size_t n = len - at < MOVE_CHUNK ? len - at : MOVE_CHUNK;

		memcpy((char *)to + at, (char *)from + at, n);
		region_discard(r, (char *)from + at, n);
	}
	return 0;
}

/* A thread is woken before its page's state is written: under the lock it has been. */
static enum page_state settled_state(const struct leap_region *r, size_t index)
{
	struct shard *shard = region_shard(r, index);
	enum page_state state;
	struct lock_app saved;

	lock_app_enter(&saved);
	lock_acquire(&shard->lock);
	state = page_state(&r->pages[index]);
	lock_release(&shard->lock);
	lock_app_leave(&saved);
	return state;
}

int region_page_held(const struct leap_region *r, const void *addr)
{
	size_t index = region_page_index(r, addr);
	unsigned char there = 0;

	if (region_page_armed(r, index))
		return page_state(&r->pages[index]) != PAGE_ABSENT ||
		       settled_state(r, index) != PAGE_ABSENT;
	syscall(SYS_mincore, (uintptr_t)addr & ~LEAP_PAGE_MASK, LEAP_PAGE_BYTES, &there);
	return there & 1;
}

void runtime_no_recycle(struct leap *leap)
{
	__atomic_store_n(&leap->recycle, false, __ATOMIC_RELAXED);
}

bool runtime_sees_pins(const struct leap *leap)
{
	return leap->can_move;
}

unsigned runtime_threads(const struct leap *leap)
{
	unsigned n = (unsigned)leap->evictor_runs + leap->keeper_runs + recorder_runs(leap) +
		     leap->changes.runs + 1 /* the clerk */ + log_writer_runs();

	for (unsigned s = 0; s < leap->nshards; s++)
		n += leap->shards[s].thread_runs;
	return n;
}

int runtime_fd_floor(const struct leap *leap)
{
	return fd_lowest();
}

bool runtime_owns_fd(const struct leap *leap, int fd)
{
	return fd_is_owned(fd);
}

void runtime_withdraw(struct leap *leap)
{
	const struct stats_page *page = leap->page;

	/* a child of vfork() shares its parent's memory, and ends with these figures in it */
	if (page && page->pid == (uint64_t)syscall(SYS_getpid))
		control_withdraw(leap);
}

void runtime_exit(struct leap *leap)
{
	recorder_flush(leap);
	control_withdraw(leap);
	log_writer_flush();
}
