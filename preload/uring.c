/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring.c - io_uring: what the program registers is pinned (pins.h), by system call or by liburing, whose own system
 * calls are not seen: its functions are replaced by name.
 *
 * A ring may send from memory that it only refers to (IORING_OP_SEND_ZC), and what is in its queue is not seen. So no
 * frame is used again once there is a ring.
 */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "preload/pins.h"
#include "preload/preload.h"

/* The kernel's interface; the headers at hand may be older than the kernel. */
enum {
	REGISTER_BUFFERS = 0,
	REGISTER_BUFFERS2 = 15,
	REGISTER_BUFFERS_UPDATE = 16,
	REGISTER_PBUF_RING = 22,
	REGISTER_MEM_REGION = 34,
};
#define REGISTER_BY_INDEX (1u << 31) /* a flag of the operation: the ring is no descriptor */
#define PBUF_RING_KERNEL  1          /* the kernel allocates it */
#define MEM_REGION_OURS   1
#define SETUP_CQSIZE      (1u << 3)
#define SETUP_NO_MMAP     (1u << 14)
#define ENTRIES_MAX       32768u
#define RING_HEAD_BYTES   4096u
#define SQE_BYTES_MAX     128u
#define CQE_BYTES_MAX     32u
#define PBUF_BYTES        16u

struct buffers { /* struct io_uring_rsrc_register */
	uint32_t n, flags;
	uint64_t reserved, iov, tags;
};
struct buffers_update { /* struct io_uring_rsrc_update2 */
	uint32_t offset, reserved;
	uint64_t iov, tags;
	uint32_t n, reserved2;
};
struct pbuf_ring { /* struct io_uring_buf_reg */
	uint64_t addr;
	uint32_t entries;
	uint16_t group, flags;
};
struct mem_region { /* struct io_uring_region_desc */
	uint64_t addr, bytes;
	uint32_t flags;
};
struct setup { /* struct io_uring_params */
	uint32_t sq_entries, cq_entries, flags, rest[7];
	uint32_t sq_offsets[8];
	uint64_t sqes;
	uint32_t cq_offsets[8];
	uint64_t rings;
};

static int pin_pbuf_ring(struct pins *p, uint64_t arg)
{
	struct pbuf_ring ring = {0};

	if (pins_copy(&ring, arg, sizeof(ring)) && !(ring.flags & PBUF_RING_KERNEL) &&
	    ring.entries <= ENTRIES_MAX)
		pins_add(p, ring.addr, (uint64_t)ring.entries * PBUF_BYTES);
	return 0;
}

static int pin_mem_region(struct pins *p, uint64_t arg)
{
	struct mem_region region = {0};
	uint64_t where = 0;

	if (pins_copy(&where, arg, sizeof(where)) && pins_copy(&region, where, sizeof(region)) &&
	    region.flags & MEM_REGION_OURS)
		pins_add(p, region.addr, region.bytes);
	return 0;
}

/* What an operation registers. -ENOMEM. */
static int registered(struct pins *p, unsigned op, uint64_t arg, unsigned n)
{
	struct buffers_update update = {0};
	struct buffers buffers = {0};

	switch (op & ~REGISTER_BY_INDEX) {
	case REGISTER_BUFFERS:
		return pins_array(p, arg, n);
	case REGISTER_BUFFERS2:
		if (!pins_copy(&buffers, arg, sizeof(buffers)))
			return 0;
		return pins_array(p, buffers.iov, buffers.n);
	case REGISTER_BUFFERS_UPDATE:
		if (!pins_copy(&update, arg, sizeof(update)))
			return 0;
		return pins_array(p, update.iov, update.n);
	case REGISTER_PBUF_RING:
		return pin_pbuf_ring(p, arg);
	case REGISTER_MEM_REGION:
		return pin_mem_region(p, arg);
	default:
		return 0;
	}
}

static int begin(struct pins *p, unsigned op, const void *arg, unsigned n)
{
	int err;

	if (!preload_ready() || in_runtime())
		return 0;
	err = registered(p, op, (uintptr_t)arg, n);
	return err ? err : pins_begin(p);
}

/* -errno */
static int do_register(unsigned fd, unsigned op, const void *arg, unsigned n)
{
	struct pins pins = {.n = 0};
	int r = begin(&pins, op, arg, n);

	if (r)
		return r;
	r = (int)sys_ret(syscall(SYS_io_uring_register, fd, op, arg, n));
	pins_end(&pins, r >= 0);
	return r;
}

static unsigned power_of_two(unsigned n)
{
	unsigned p = 1;

	while (p < n)
		p <<= 1;
	return p;
}

/* Rings in memory of the program: at most this much of it. */
static void setup_begin(struct pins *p, unsigned entries, const void *params)
{
	unsigned sq = power_of_two(entries < ENTRIES_MAX ? entries : ENTRIES_MAX), cq = 2 * sq;
	struct setup setup = {0};

	if (!preload_ready() || in_runtime())
		return;
	runtime_no_recycle(preload.leap);
	if (!pins_copy(&setup, (uintptr_t)params, sizeof(setup)) || !(setup.flags & SETUP_NO_MMAP))
		return;
	if (setup.flags & SETUP_CQSIZE)
		cq = power_of_two(setup.cq_entries < 2 * ENTRIES_MAX ? setup.cq_entries
								     : 2 * ENTRIES_MAX);
	pins_add(p, setup.sqes, (uint64_t)sq * SQE_BYTES_MAX);
	pins_add(p, setup.rings,
		 RING_HEAD_BYTES + (uint64_t)sq * sizeof(uint32_t) + (uint64_t)cq * CQE_BYTES_MAX);
}

/* -errno */
static int do_setup(unsigned entries, void *params)
{
	struct pins pins = {.n = 0};
	int r;

	setup_begin(&pins, entries, params);
	r = pins_begin(&pins);
	if (r)
		return r;
	r = (int)sys_ret(syscall(SYS_io_uring_setup, entries, params));
	pins_end(&pins, r >= 0);
	return r;
}

static long answer(int r)
{
	if (r >= 0)
		return r;
	errno = -r;
	return -1;
}

long uring_register_call(unsigned fd, unsigned op, const void *arg, unsigned n)
{
	return answer(do_register(fd, op, arg, n));
}

long uring_setup_call(unsigned entries, void *params)
{
	return answer(do_setup(entries, params));
}

/* liburing. What it does besides the system call is its own, so its functions are called. */
struct io_uring;
int io_uring_register(unsigned fd, unsigned op, const void *arg, unsigned n);
int io_uring_setup(unsigned entries, void *params);
int io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned n);
int io_uring_register_buffers_tags(struct io_uring *ring, const struct iovec *iov,
				   const uint64_t *tags, unsigned n);
int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned offset,
					 const struct iovec *iov, const uint64_t *tags, unsigned n);
int io_uring_register_buf_ring(struct io_uring *ring, void *reg, unsigned flags);
int io_uring_register_region(struct io_uring *ring, void *reg);
int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, void *params);
int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, void *params, void *buf,
			    size_t bytes);

/* The pager's own use: found before its threads are there. */
static __typeof__(io_uring_queue_init_params) *real_queue_init_params;

void uring_resolve(void)
{
	real_queue_init_params =
		(__typeof__(real_queue_init_params))dlsym(RTLD_NEXT, "io_uring_queue_init_params");
}

EXPORT int io_uring_register(unsigned fd, unsigned op, const void *arg, unsigned n)
{
	return do_register(fd, op, arg, n);
}

EXPORT int io_uring_setup(unsigned entries, void *params)
{
	return do_setup(entries, params);
}

/* -ENOSYS: this liburing has no such function. */
#define FORWARD(what, from, count, name, ...)                                       \
	({                                                                          \
		__typeof__(name) *real = (__typeof__(real))dlsym(RTLD_NEXT, #name); \
		struct pins pins = {.n = 0};                                        \
		int r = real ? begin(&pins, what, from, count) : -ENOSYS;           \
                                                                                    \
		if (!r) {                                                           \
			r = real(__VA_ARGS__);                                      \
			pins_end(&pins, r >= 0);                                    \
		}                                                                   \
		r;                                                                  \
	})

EXPORT int io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned n)
{
	return FORWARD(REGISTER_BUFFERS, iov, n, io_uring_register_buffers, ring, iov, n);
}

EXPORT int io_uring_register_buffers_tags(struct io_uring *ring, const struct iovec *iov,
					  const uint64_t *tags, unsigned n)
{
	return FORWARD(REGISTER_BUFFERS, iov, n, io_uring_register_buffers_tags, ring, iov, tags,
		       n);
}

EXPORT int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned offset,
						const struct iovec *iov, const uint64_t *tags,
						unsigned n)
{
	return FORWARD(REGISTER_BUFFERS, iov, n, io_uring_register_buffers_update_tag, ring, offset,
		       iov, tags, n);
}

EXPORT int io_uring_register_buf_ring(struct io_uring *ring, void *reg, unsigned flags)
{
	return FORWARD(REGISTER_PBUF_RING, reg, 1, io_uring_register_buf_ring, ring, reg, flags);
}

EXPORT int io_uring_register_region(struct io_uring *ring, void *reg)
{
	return FORWARD(REGISTER_MEM_REGION, reg, 1, io_uring_register_region, ring, reg);
}

EXPORT int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	__typeof__(io_uring_queue_init) *real =
		(__typeof__(real))dlsym(RTLD_NEXT, "io_uring_queue_init");

	if (preload_ready() && !in_runtime())
		runtime_no_recycle(preload.leap);
	return real ? real(entries, ring, flags) : -ENOSYS;
}

EXPORT int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, void *params)
{
	struct pins pins = {.n = 0};
	int r;

	if (!real_queue_init_params)
		return -ENOSYS;
	setup_begin(&pins, entries, params);
	r = pins_begin(&pins);
	if (r)
		return r;
	r = real_queue_init_params(entries, ring, params);
	pins_end(&pins, r >= 0);
	return r;
}

EXPORT int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, void *params, void *buf,
				   size_t bytes)
{
	__typeof__(io_uring_queue_init_mem) *real =
		(__typeof__(real))dlsym(RTLD_NEXT, "io_uring_queue_init_mem");
	struct pins pins = {.n = 0};
	int r;

	if (!real)
		return -ENOSYS;
	setup_begin(&pins, entries, NULL);
	pins_add(&pins, (uintptr_t)buf, bytes);
	r = pins_begin(&pins);
	if (r)
		return r;
	r = real(entries, ring, params, buf, bytes);
	pins_end(&pins, r >= 0);
	return r;
}
