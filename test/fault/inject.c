/* SPDX-License-Identifier: Apache-2.0 */
/* inject.c - what can be made to fail, and how. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libleap/uffd/uffd.h"
#include "libleap/util/mem.h"
#include "test/fault/fault.h"

#define TRANSPORT(what)                                                      \
	{                                                                    \
		.name = (what), .kind = INJECT_TRANSPORT, .spec = what "=%u" \
	}
#define IOCTL(what, err, how, calls)                                                      \
	{                                                                                 \
		.name = #what " " #err " " #how " x" #calls, .kind = INJECT_IOCTL,        \
		.request = (what), .error = (err), .mode = IOCTL_##how, .length = (calls) \
	}

const struct injection injections[] = {
	{.name = "nothing"},
	TRANSPORT("read-error"),
	TRANSPORT("write-error"),
	TRANSPORT("grant-error"),
	TRANSPORT("corrupt"),
	TRANSPORT("die"),
	TRANSPORT("hang"),
	TRANSPORT("tick-error"),
	TRANSPORT("release-error"),
	{.name = "info-error",
	 .kind = INJECT_TRANSPORT,
	 .spec = "info-error=%u,grant-error=1",
	 .linger = true},
	{.name = "shared-error",
	 .kind = INJECT_TRANSPORT,
	 .spec = "shared-error=%u",
	 .linger = true},
	{.name = "shared-error+",
	 .kind = INJECT_TRANSPORT,
	 .spec = "shared-error=%u+",
	 .linger = true},
	TRANSPORT("lane-error"),
	TRANSPORT("clone-error"),
	TRANSPORT("adopt-error"),
	{.name = "read-error+", .kind = INJECT_TRANSPORT, .spec = "read-error=%u+"},
	{.name = "write-error+", .kind = INJECT_TRANSPORT, .spec = "write-error=%u+"},
	{.name = "grant-error+", .kind = INJECT_TRANSPORT, .spec = "grant-error=%u+"},
	{.name = "corrupt+", .kind = INJECT_TRANSPORT, .spec = "corrupt=%u+"},
	{.name = "memory", .kind = INJECT_MEMORY, .length = 1},
	{.name = "memory+", .kind = INJECT_MEMORY, .length = 2},
	IOCTL(UFFDIO_API, EINVAL, INSTEAD, 1),
	IOCTL(UFFDIO_REGISTER, ENOMEM, INSTEAD, 1),
	IOCTL(UFFDIO_REGISTER, EBUSY, INSTEAD, 1),
	IOCTL(UFFDIO_COPY, EAGAIN, INSTEAD, 1),
	IOCTL(UFFDIO_COPY, EAGAIN, INSTEAD, 30000), /* longer than it is tried again */
	IOCTL(UFFDIO_COPY, EAGAIN, PART, 3),
	IOCTL(UFFDIO_COPY, EEXIST, FIRST, 1),
	IOCTL(UFFDIO_COPY, EEXIST, FIRST, 100),
	IOCTL(UFFDIO_COPY, ENOENT, INSTEAD, 1),
	IOCTL(UFFDIO_COPY, ENOMEM, INSTEAD, 1),
	IOCTL(UFFDIO_COPY, ENOMEM, INSTEAD, 100),
	IOCTL(UFFDIO_MOVE, EAGAIN, INSTEAD, 1),
	IOCTL(UFFDIO_MOVE, EAGAIN, INSTEAD, 30000),
	IOCTL(UFFDIO_MOVE, EAGAIN, PART, 3),
	IOCTL(UFFDIO_MOVE, EBUSY, INSTEAD, 1),
	IOCTL(UFFDIO_MOVE, EBUSY, INSTEAD, 100),
	IOCTL(UFFDIO_MOVE, EEXIST, INSTEAD, 1),
	IOCTL(UFFDIO_MOVE, ENOENT, INSTEAD, 1),
	IOCTL(UFFDIO_MOVE, ENOMEM, INSTEAD, 1),
	IOCTL(UFFDIO_MOVE, EINVAL, INSTEAD, 100),
	{.name = "no page can be mapped", .kind = INJECT_IOCTL, .error = ENOMEM, .length = 20},
	{.name = "no page can be mapped x1000",
	 .kind = INJECT_IOCTL,
	 .error = ENOMEM,
	 .length = 1000},
	{.name = "no page can be mapped nor written",
	 .kind = INJECT_IOCTL,
	 .spec = "write-error=5+",
	 .error = ENOMEM,
	 .length = 1000},
	{.name = "POISON ENOMEM with reads failing",
	 .kind = INJECT_IOCTL,
	 .spec = "read-error=3+",
	 .request = UFFDIO_POISON,
	 .error = ENOMEM,
	 .length = 3},
	{.name = "POISON EAGAIN with corruption",
	 .kind = INJECT_IOCTL,
	 .spec = "corrupt=5+",
	 .request = UFFDIO_POISON,
	 .error = EAGAIN,
	 .length = 30000},
	IOCTL(UFFDIO_WRITEPROTECT, EAGAIN, INSTEAD, 1),
	IOCTL(UFFDIO_WRITEPROTECT, EAGAIN, INSTEAD, 30000),
	IOCTL(UFFDIO_WRITEPROTECT, ENOENT, INSTEAD, 1),
	IOCTL(UFFDIO_WRITEPROTECT, ENOMEM, INSTEAD, 10),
};
const unsigned injections_count = sizeof(injections) / sizeof(injections[0]);

static const struct injection *now;
static unsigned first, calls, hits;
static bool traced;

void inject_arm(const struct injection *injection, unsigned nth, bool loud)
{
	now = injection;
	first = nth;
	traced = loud;
	if (now->kind == INJECT_MEMORY)
		mem_fail_nth(nth, now->length > 1);
}

bool inject_fired(void)
{
	bool fired = __atomic_load_n(&hits, __ATOMIC_RELAXED) > 0;

	if (now->kind == INJECT_MEMORY)
		fired = mem_fail_nth(0, false) >= first;
	now = NULL;
	return fired;
}

static int real(int fd, unsigned long request, void *arg)
{
	return syscall(SYS_ioctl, fd, request, arg) == -1 ? -errno : 0;
}

/* What the kernel writes back: how much was done, or the error. */
static void tell(unsigned long request, void *arg, long long done)
{
	if (request == UFFDIO_COPY)
		((struct uffdio_copy *)arg)->copy = done;
	else if (request == UFFDIO_MOVE)
		((struct uffdio_move *)arg)->move = done;
}

static unsigned long long *length_of(unsigned long request, void *arg)
{
	struct uffdio_copy *copy = arg;
	struct uffdio_move *move = arg;

	return request == UFFDIO_COPY ? (unsigned long long *)&copy->len
				      : (unsigned long long *)&move->len;
}

/* As if somebody else had been faster with the first page. */
static int first_page(int fd, unsigned long request, void *arg)
{
	unsigned long long *len = length_of(request, arg), whole = *len;
	int err;

	*len = 4096;
	err = real(fd, request, arg);
	*len = whole;
	return err;
}

/* The first half of a COPY or MOVE. */
static int half(int fd, unsigned long request, void *arg)
{
	unsigned long long *len = length_of(request, arg), whole = *len;
	int err;

	*len = whole / 2 & ~4095ull;
	if (!*len) {
		*len = whole;
		tell(request, arg, -EAGAIN);
		return -EAGAIN;
	}
	err = real(fd, request, arg);
	*len = whole;
	if (err)
		return err;
	tell(request, arg, (long long)(whole / 2 & ~4095ull));
	return -EAGAIN;
}

static bool mapping(unsigned long request)
{
	return request == UFFDIO_COPY || request == UFFDIO_MOVE;
}

/* In place of the one in uffd.c. */
int uffd_ioctl(int fd, unsigned long request, void *arg)
{
	const struct injection *i = now;
	unsigned n;
	int err;

	if (!i || i->kind != INJECT_IOCTL ||
	    !(i->request == request || (!i->request && mapping(request))))
		return real(fd, request, arg);
	n = __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
	if (n < first || n >= first + i->length)
		return real(fd, request, arg);
	__atomic_add_fetch(&hits, 1, __ATOMIC_RELAXED);
	if (traced && n == first)
		dprintf(2, "inject: %s, call %u\n", i->name, n);
	if (i->mode == IOCTL_PART)
		return half(fd, request, arg);
	if (i->mode == IOCTL_FIRST) {
		err = first_page(fd, request, arg);
		if (err)
			return err;
	}
	tell(request, arg, -i->error);
	return -i->error;
}
