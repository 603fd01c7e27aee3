/* SPDX-License-Identifier: Apache-2.0 */
/* advise.c - madvise(), mprotect() and mincore() on managed memory. */
#include <errno.h>

#include <limits.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "preload/map.h"
#include "preload/preload.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif

#ifndef PIDFD_GET_INFO
struct pidfd_info {
	uint64_t mask, cgroupid;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
#define PIDFD_GET_INFO _IOWR(0xff, 11, struct pidfd_info)
#endif
#ifndef PIDFD_SELF_THREAD
#define PIDFD_SELF_THREAD       -10000
#define PIDFD_SELF_THREAD_GROUP -10001
#endif

static int hint(char *from, size_t len, enum leap_advice advice)
{
	leap_advise(preload.leap, from, len, advice);
	return 0;
}

static int discard(char *from, size_t len)
{
	region_discard(preload.region, from, len);
	return 0;
}

static int advise_ours(char *from, size_t len, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_FREE:
		return space_marked(MARK_LOCKED, from, len) ? EINVAL : discard(from, len);
	case MADV_DONTNEED_LOCKED:
		return discard(from, len);
	case MADV_WILLNEED:
		return hint(from, len, LEAP_ADVISE_WILLNEED);
	case MADV_COLD:
	case MADV_PAGEOUT:
		return hint(from, len, LEAP_ADVISE_COLD);
	case MADV_WIPEONFORK:
		return -space_mark(MARK_WIPE, from, len);
	case MADV_KEEPONFORK:
		space_unmark(MARK_WIPE, from, len);
		return 0;
	case MADV_NORMAL: /* the region is one for the whole program: patterns are found, not told */
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_HUGEPAGE: /* huge pages would be split again at the first eviction */
	case MADV_NOHUGEPAGE:
	case MADV_COLLAPSE:
	case MADV_MERGEABLE: /* merged pages cannot be moved */
	case MADV_UNMERGEABLE:
	case MADV_DONTFORK: /* a child that could touch it does no harm */
	case MADV_DOFORK:
		return 0;
	case MADV_REMOVE:        /* not for anonymous memory */
	case MADV_GUARD_INSTALL: /* programs fall back to mprotect(), as on older kernels */
	case MADV_GUARD_REMOVE:
		return EINVAL;
	default:
		return syscall(SYS_madvise, from, len, advice) ? errno : 0;
	}
}

static int advise_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	if (kind == SPACE_FREE)
		return ENOMEM;
	if (kind == SPACE_OURS)
		return advise_ours(from, (size_t)(to - from), call->number);
	return syscall(SYS_madvise, from, to - from, call->number) ? errno : 0;
}

static int do_madvise(void *addr, size_t len, int advice)
{
	struct map_call call = {.fn = advise_part, .addr = addr, .number = advice};

	if (in_runtime() || (uintptr_t)addr & LEAP_PAGE_MASK || !map_round(len) ||
	    !managed(addr, map_round(len)))
		return (int)syscall(SYS_madvise, addr, len, advice);
	return map_each(&call, map_round(len), false);
}

EXPORT int madvise(void *addr, size_t len, int advice)
{
	return do_madvise(addr, len, advice);
}

/* Is the descriptor, or sentinel, of process_madvise() this process? Kernels that cannot tell (before 6.13) take no advice that drops
 * anything. */
static bool is_self(int pidfd)
{
	struct pidfd_info info = {.mask = 0};

	if (pidfd == PIDFD_SELF_THREAD || pidfd == PIDFD_SELF_THREAD_GROUP)
		return true;
	return !sys_ret(syscall(SYS_ioctl, pidfd, PIDFD_GET_INFO, &info)) &&
	       (pid_t)info.tgid == getpid();
}

/* As the kernel: how many bytes were advised, an error only if none were. */
static ssize_t advise_each(const struct iovec *iov, size_t n, int advice)
{
	ssize_t done = 0;

	for (size_t i = 0; i < n; i++) {
		if (do_madvise(iov[i].iov_base, iov[i].iov_len, advice))
			return done ? done : -1;
		done += (ssize_t)iov[i].iov_len;
	}
	return done;
}

EXPORT ssize_t process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice,
			       unsigned flags)
{
	/* the kernel says what it refuses, of no range at all */
	if (in_runtime() || flags || !iov || n > IOV_MAX || !is_self(pidfd) ||
	    syscall(SYS_process_madvise, pidfd, NULL, 0, advice, 0))
		return syscall(SYS_process_madvise, pidfd, iov, n, advice, flags);
	return advise_each(iov, n, advice);
}

EXPORT int posix_madvise(void *addr, size_t len, int advice)
{
	int saved = errno, err;

	if (advice == POSIX_MADV_DONTNEED) /* must not lose content, unlike the system call */
		return 0;
	err = do_madvise(addr, len, advice) ? errno : 0;
	errno = saved;
	return err;
}

static int protect_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	if (kind == SPACE_FREE)
		return ENOMEM;
	if (kind == SPACE_OURS && call->number != (PROT_READ | PROT_WRITE) &&
	    space_mark(MARK_GUARDED, from, (size_t)(to - from)))
		return ENOMEM;
	if (syscall(SYS_mprotect, from, to - from, call->number))
		return errno;
	if (kind == SPACE_OURS && call->number == (PROT_READ | PROT_WRITE))
		space_unmark(MARK_GUARDED, from, (size_t)(to - from));
	return 0;
}

EXPORT int mprotect(void *addr, size_t len, int prot)
{
	struct map_call call = {.fn = protect_part, .addr = addr, .number = prot};

	if (in_runtime() || (uintptr_t)addr & LEAP_PAGE_MASK || !map_round(len) ||
	    !managed(addr, map_round(len)))
		return (int)syscall(SYS_mprotect, addr, len, prot);
	return map_each(&call, map_round(len), true);
}

/* A key other than 0 keeps the pager, too, from reading the page: it stays local. */
EXPORT int pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	if (!in_runtime() && managed(addr, len))
		space_mark(MARK_GUARDED, (void *)((uintptr_t)addr & ~LEAP_PAGE_MASK),
			   map_round(len));
	return (int)syscall(SYS_pkey_mprotect, addr, len, prot, pkey);
}

static int core_part(const struct map_call *call, char *from, char *to, enum space_kind kind)
{
	unsigned char *vec = call->vec + ((size_t)(from - call->addr) >> LEAP_PAGE_SHIFT);

	if (kind == SPACE_FREE)
		return ENOMEM;
	if (kind != SPACE_OURS)
		return syscall(SYS_mincore, from, to - from, vec) ? errno : 0;
	for (; from < to; from += LEAP_PAGE_BYTES)
		*vec++ = (unsigned char)region_page_held(preload.region, from);
	return 0;
}

EXPORT int mincore(void *addr, size_t len, unsigned char *vec)
{
	struct map_call call = {.fn = core_part, .addr = addr, .vec = vec};

	if (in_runtime() || (uintptr_t)addr & LEAP_PAGE_MASK || !map_round(len) ||
	    !managed(addr, map_round(len)))
		return (int)syscall(SYS_mincore, addr, len, vec);
	return map_each(&call, map_round(len), true);
}
