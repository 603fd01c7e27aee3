/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd.h - userfaultfd, one function per ioctl, each answer of the kernel classified once.
 *
 * All return 0 or -errno. COPY may stop half-way and says how far it came in *ret_bytes (also on error).
 *   -EEXIST  a page is there already: the caller must wake
 *   -ENOENT  the range is not mapped or not registered (any more): drop it
 *   -EAGAIN  the address space is changing: already retried here a bounded number of times, but for MOVE
 *   -EBUSY   MOVE: a page is pinned or shared after fork
 *   -ESRCH   the process is gone
 */
#ifndef LEAP_UFFD_H
#define LEAP_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/uffd/compat.h"

/* Opens a descriptor: /dev/userfaultfd, the system call, then user-mode only (if allowed). Features must
 * be supported. *ret_user_only tells which. -EPERM, -ENOSYS, -EINVAL with the sentence set. */
int uffd_open(uint64_t features, bool nonblock, int *ret_fd, bool *ret_user_only);
/* Feature bits that the kernel offers to this user, masked by mask. */
int uffd_probe(uint64_t mask, uint64_t *ret_features);
int uffd_register(int fd, void *addr, size_t len, bool wp);
/* For memory that MOVE and COPY fill and nobody protects: what was not filled reads as zeroes, without a fault. */
int uffd_register_target(int fd, void *addr, size_t len);
int uffd_unregister(int fd, void *addr, size_t len);
int uffd_copy(int fd, void *dst, const void *src, size_t len, bool wake, size_t *ret_bytes);
/* Maps zeroes, without waking; -EEXIST does not wake either. */
int uffd_zero(int fd, void *addr, size_t len);
/* One try. 0: all was moved (holes: all that was there). Else any part may have been moved: only the page tables
 * say which (mover.h). */
int uffd_move(int fd, void *dst, void *src, size_t len, bool holes, bool wake);
int uffd_wp(int fd, void *addr, size_t len, bool on, bool wake);
int uffd_wake(int fd, void *addr, size_t len);
int uffd_poison(int fd, void *addr, size_t len);
/* Reads up to max messages; returns their number, 0 when there are none, or -errno. */
int uffd_read(int fd, struct uffd_msg *msgs, int max);

/* Every ioctl on a userfaultfd goes through here; weak, so that a test can put its own in place. 0 or -errno. */
int uffd_ioctl(int fd, unsigned long request, void *arg);

#endif
