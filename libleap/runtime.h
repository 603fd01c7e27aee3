/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - what the preload library needs beyond leap.h. Internal: not exported.
 *
 * The preload library takes one large region (a reservation of address space) and hands parts of it to the
 * program. A part is *committed* while the program owns it. As long as all that is committed fits the
 * local limit, the region is not even registered with userfaultfd: the program runs at native speed.
 */
#ifndef LEAP_RUNTIME_H
#define LEAP_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include "leap.h"
#include "libleap/config.h"

/* True in every thread of the pager, and in an application thread while it is inside libleap.
 * Replaced memory functions route such calls to mem.h and raw system calls. Initial-exec TLS: reading it
 * never allocates. */
extern __thread int runtime_depth __attribute__((tls_model("initial-exec")));
static inline bool in_runtime(void)
{
	return runtime_depth > 0;
}
static inline void runtime_enter(void)
{
	runtime_depth++;
}
static inline void runtime_leave(void)
{
	runtime_depth--;
}

/* As leap_open() from a filled configuration. */
int runtime_open(const struct config *config, struct leap **ret_leap);
const struct config *runtime_config(const struct leap *leap);

/* Reserves bytes of address space as a region, all uncommitted: PROT_NONE, NORESERVE, aligned to 2 MiB.
 * Tries smaller sizes down to 1/64 when the limit on address space forbids it. */
int region_reserve(struct leap *leap, size_t bytes, struct leap_region **ret_region);
/* The program owns [addr, addr + len) from now on: readable and writable, zeroes. Pages. -ENOMEM: the kernel refuses
 * (limits of the process, number of mappings). */
int region_commit(struct leap_region *region, void *addr, size_t len);
/* The program gives the range back: PROT_NONE, content dropped, local and remote; reads as zeroes if committed again. */
void region_release(struct leap_region *region, void *addr, size_t len);
/* The same where the program placed a mapping of its own, whose protection stays. */
void region_abandon(struct leap_region *region, void *addr, size_t len);
/* As madvise(MADV_DONTNEED) on a committed range: content dropped, still committed. */
void region_discard(struct leap_region *region, void *addr, size_t len);
/* Never evict the range (thread control blocks, mlock()); counted, so that it nests per page. Pages that are remote
 * come home. -ENOMEM: the limit does not allow it. */
int region_pin(struct leap_region *region, const void *addr, size_t len);
void region_unpin(struct leap_region *region, const void *addr, size_t len);
/* The program places a mapping of its own on the range, whose content was released or will be: it is not managed from
 * now on. -ENOMEM. */
int region_exclude(struct leap_region *region, void *addr, size_t len);
/* The range is managed again; remap: as uncommitted memory, in the place of whatever was mapped there. -ENOMEM. */
int region_include(struct leap_region *region, void *addr, size_t len, bool remap);
/* Moves the content of [from, from + len) to [to, to + len), both committed, not overlapping; `from` reads as
 * zeroes afterwards. 0, or -EIO when a page is lost. */
int region_move(struct leap_region *region, void *from, void *to, size_t len);
/* For mincore(): 1 = has content, local or remote. */
int region_page_held(const struct leap_region *region, const void *addr);

/*
 * fork(). In the order of pthread_atfork(): prepare stops the pager between two transitions; then the
 * caller forks at once (no managed memory may be touched in between); parent and child let it go on. In the
 * child the pager is made anew: own userfaultfd, threads, and connections that share the donors' copies.
 * prepare returns -ENOTSUP (option fork=deny, or a donor that refuses) and the caller must let fork() fail with
 * EAGAIN. leap_open() does NOT install handlers; the preload library does.
 */
int runtime_fork_prepare(struct leap *leap);
void runtime_fork_parent(struct leap *leap);
/* -errno, with the sentence written: the child must not go on. */
int runtime_fork_child(struct leap *leap) __attribute__((warn_unused_result));

/* Frames may be referenced behind our back (vmsplice, MSG_ZEROCOPY): never reuse frames from now on. */
void runtime_no_recycle(struct leap *leap);
/* Does the mover leave pages alone that a device writes to (O_DIRECT)? */
bool runtime_sees_pins(const struct leap *leap);
/* How many threads the pager runs in this process. */
unsigned runtime_threads(const struct leap *leap);
/* The process ends here and now: removes what it published. Async-signal-safe. */
void runtime_withdraw(struct leap *leap);
/* At exit of the process: removes what it published, completes the trace. Nothing else; the kernel cleans up. */
void runtime_exit(struct leap *leap);
/* Descriptors that the program must not close: true if fd belongs to the pager. */
bool runtime_owns_fd(const struct leap *leap, int fd);
/* Lowest descriptor number the pager uses (its descriptors are moved up there, >= this); for close_range(). */
int runtime_fd_floor(const struct leap *leap);

#endif
