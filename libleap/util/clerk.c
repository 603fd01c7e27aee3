/* SPDX-License-Identifier: Apache-2.0 */
/* clerk.c - see clerk.h. One mailbox under a lock; descriptors are lent through a pair of sockets. */
#include "libleap/util/clerk.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "libleap/lock.h"
#include "libleap/util/fd.h"
#include "libleap/util/sys.h"

enum state { IDLE, ASKED, DONE, END };

static struct {
	struct lock lock;
	bool runs;      /* atomic */
	uint32_t ready; /* futex */
	uint32_t word;  /* futex, enum state */
	void (*fn)(void *arg);
	void *arg;
	int *lent;
	int pair[2]; /* the callers' end, and the clerk's */
} clerk = {.lock = LOCK_INIT(LOCK_RANK_CLERK), .pair = {-1, -1}};

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void lend(int fd)
{
	union control cm = {.bytes = {0}};
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = cm.bytes,
			     .msg_controllen = sizeof(cm.bytes)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	syscall(SYS_sendmsg, clerk.pair[0], &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What was lent, under its number here; -1 when it could not be sent. */
static int borrow(void)
{
	union control cm;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = cm.bytes,
			     .msg_controllen = sizeof(cm.bytes)};
	struct cmsghdr *cmsg;
	int fd = -1;

	if (syscall(SYS_recvmsg, clerk.pair[1], &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* A table of its own, with nothing in it but its end of the pair. */
static void leave_table(void)
{
	unsigned keep = (unsigned)clerk.pair[1];

	syscall(SYS_unshare, CLONE_FILES);
	if (!syscall(SYS_close_range, keep + 1, UINT_MAX, 0) &&
	    !syscall(SYS_close_range, 0, keep - 1, 0))
		return;
	for (unsigned fd = 0; fd < 65536; fd++) /* Linux before 5.9 */
		if (fd != keep)
			sys_close((int)fd);
}

static void serve(void)
{
	if (clerk.lent)
		*clerk.lent = borrow();
	clerk.fn(clerk.arg);
	if (clerk.lent && *clerk.lent >= 0)
		sys_close(*clerk.lent);
}

static void set(enum state state)
{
	const uint32_t *word = &clerk.word;

	__atomic_store_n(&clerk.word, state, __ATOMIC_RELEASE);
	sys_futex_wake(word, 2);
}

int clerk_prepare(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	clerk.pair[0] = fd_own(pair[0]);
	clerk.pair[1] = fd_own(pair[1]);
	clerk.word = IDLE;
	clerk.ready = 0;
	return 0;
}

void clerk_wait(void)
{
	while (!__atomic_load_n(&clerk.ready, __ATOMIC_ACQUIRE))
		sys_futex_wait(&clerk.ready, 0, -1);
}

void *clerk_main(void *arg)
{
	uint32_t state, *ready = &clerk.ready;

	leave_table();
	__atomic_store_n(&clerk.runs, true, __ATOMIC_RELEASE);
	__atomic_store_n(ready, 1, __ATOMIC_RELEASE);
	sys_futex_wake(ready, 1);
	while ((state = __atomic_load_n(&clerk.word, __ATOMIC_ACQUIRE)) != END) {
		if (state == ASKED) {
			serve();
			set(DONE);
		} else {
			sys_futex_wait(&clerk.word, state, -1);
		}
	}
	return NULL;
}

static void close_pair(void)
{
	fd_close(clerk.pair[0]);
	fd_close(clerk.pair[1]);
	clerk.pair[0] = clerk.pair[1] = -1;
}

void clerk_end(void)
{
	lock_acquire(&clerk.lock);
	__atomic_store_n(&clerk.runs, false, __ATOMIC_RELEASE);
	set(END);
	lock_release(&clerk.lock);
	close_pair();
}

void clerk_forked(void)
{
	lock_init(&clerk.lock, LOCK_RANK_CLERK, 0);
	clerk.runs = false;
	close_pair();
}

/* Lock held. */
static void run_locked(void (*fn)(void *arg), void *arg, int *lent)
{
	uint32_t state;
	int own = lent ? *lent : -1;

	clerk.fn = fn;
	clerk.arg = arg;
	clerk.lent = lent;
	if (lent)
		lend(own);
	set(ASKED);
	while ((state = __atomic_load_n(&clerk.word, __ATOMIC_ACQUIRE)) != DONE)
		sys_futex_wait(&clerk.word, state, -1);
	__atomic_store_n(&clerk.word, IDLE, __ATOMIC_RELEASE);
	if (lent)
		*lent = own;
}

static bool runs(void)
{
	return __atomic_load_n(&clerk.runs, __ATOMIC_ACQUIRE);
}

void clerk_run(void (*fn)(void *arg), void *arg, int *lent)
{
	lock_acquire(&clerk.lock);
	if (runs())
		run_locked(fn, arg, lent);
	else
		fn(arg);
	lock_release(&clerk.lock);
}

bool clerk_try(void (*fn)(void *arg), void *arg)
{
	if (!lock_try(&clerk.lock))
		return false;
	if (runs())
		run_locked(fn, arg, NULL);
	else
		fn(arg);
	lock_release(&clerk.lock);
	return true;
}

static void do_close(void *arg)
{
	sys_close(*(int *)arg);
}

void clerk_close(int fd)
{
	if (fd >= 0)
		clerk_run(do_close, &fd, NULL);
}

struct reading {
	const char *path;
	void *buf;
	size_t size;
	long n;
};

static void do_read(void *arg)
{
	struct reading *r = arg;
	long fd = sys_ret(syscall(SYS_openat, AT_FDCWD, r->path, O_RDONLY | O_CLOEXEC));

	r->n = fd < 0 ? fd : sys_ret(syscall(SYS_read, (int)fd, r->buf, r->size));
	if (fd >= 0)
		sys_close((int)fd);
}

long clerk_read(const char *path, void *buf, size_t size)
{
	struct reading r = {.path = path, .buf = buf, .size = size};

	return clerk_try(do_read, &r) ? r.n : -EBUSY;
}
