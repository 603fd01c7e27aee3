/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pinned.h - pages whose frames the kernel or a device uses although no call is under way, as the kernel counts them.
 *
 * A page that is taken out by write-protection, copy and drop leaves its frame behind, pinned or not. The kernel does not
 * say of a page whether it is pinned, but it counts what is pinned in the process (VmPin of /proc/self/status: io_uring's
 * fixed buffers, RDMA registrations), and says of each ring what it holds. A pin for writing waits for the fault of a
 * page that is write-protected. So: protect, ask, and only then copy.
 */
#ifndef LEAP_PINNED_H
#define LEAP_PINNED_H

#include <stdint.h>

/*
 * Page i of mask is at base + i pages, write-protected. Which of them must stay: none while nothing but the pager's own
 * memory is pinned, those that a ring holds, or all of them when some pin cannot be accounted for (said once a minute).
 * Evict role, shard lock not held. Opens files by the clerk.
 */
uint64_t pinned_pages(const char *base, uint64_t mask);

/*
 * The pager registers or releases memory of its own between begin and end: by so many pages the count changed. One thread
 * at a time; meanwhile all pages stay. begin answers how many pages are pinned in all, or -errno.
 */
long pinned_own_begin(void);
void pinned_own_end(long pages);
/* As pinned_own_end(), by what the kernel counted since begin answered `before`. Pages. */
long pinned_own_end_counted(long before);
/* In a forked child nothing is pinned. */
void pinned_forked(void);

#endif
