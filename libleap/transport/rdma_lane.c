/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_lane.c - requests as one-sided READs and WRITEs.
 *
 * An io goes queue -> credits (posted) -> done list -> its caller. What has no credit waits in the queue for the
 * completions that poll() sees. All is the lane's thread alone, but for wake_fd, which rdma_port_die() writes to.
 *
 * Sleeping. While requests are awaited by polling, the completion queue is not armed, and raises no interrupts; so that
 * nobody sleeps through that, wake_fd is readable meanwhile. After IDLE_POLLS polls that found nothing poll() empties
 * wake_fd, arms, and looks once more; from then on the descriptor is quiet until the device speaks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/transport/rdma_conn.h"
#include "libleap/util/fd.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#define IDLE_POLLS 64
#define REAP       16

static const uint32_t pool_pages[] = {
	[LANE_DEMAND] = 128,
	[LANE_PREFETCH] = 256,
	[LANE_WRITE] = 256,
};

static void wake_set(struct lane *lane)
{
	uint64_t one = 1;

	syscall(SYS_write, lane->wake_fd, &one, sizeof(one));
}

static void wake_clear(struct lane *lane)
{
	uint64_t junk;

	syscall(SYS_read, lane->wake_fd, &junk, sizeof(junk));
}

static void finish(struct lane *lane, struct io *io, int status)
{
	io->status = status;
	io_list_add(&lane->done, io);
}

/*
 * Opening
 */
static int watch(struct lane *lane, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int open_fds(struct lane *lane)
{
	int r;

	lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lane->epoll_fd >= 0)
		lane->epoll_fd = fd_own(lane->epoll_fd);
	if (lane->wake_fd >= 0)
		lane->wake_fd = fd_own(lane->wake_fd);
	r = lane->epoll_fd < 0 || lane->wake_fd < 0 ? -EMFILE : 0;
	if (!r)
		r = watch(lane, lane->wake_fd);
	if (!r)
		r = watch(lane, lane->link.comp->fd);
	if (!r)
		r = watch(lane, lane->link.events->fd);
	if (r)
		return error_set(-r,
				 "cannot make a lane to donor %s: errno %d; raise the limit on "
				 "descriptors (ulimit -n)",
				 lane->port->text, -r);
	wake_set(lane);
	return 0;
}

static void release(struct lane *lane)
{
	rdma_link_close(&lane->link);
	rdma_memory_close(&lane->pool, lane->port);
	if (lane->epoll_fd >= 0)
		fd_close(lane->epoll_fd);
	if (lane->wake_fd >= 0)
		fd_close(lane->wake_fd);
	mem_free(lane);
}

int rdma_lane_open(struct port *port, enum lane_kind kind, struct lane **ret_lane)
{
	struct rdma_hello hello = {.kind = (uint16_t)(PROTO_KIND_DEMAND + kind)};
	uint64_t end_ns = transport_end(port->params.open_end_ns, port->params.deadline_ns);
	int r = atomic_load(&port->dead);
	struct lane *lane;

	if (r)
		return error_set(-r, "donor %s is dead", port->text);
	lane = mem_alloc(sizeof(*lane));
	if (!lane)
		return error_set(ENOMEM, "out of memory for a lane to donor %s", port->text);
	lane->port = port;
	lane->kind = kind;
	lane->epoll_fd = lane->wake_fd = -1;
	memcpy(hello.token, port->control.token, sizeof(hello.token));
	r = rdma_memory_open(&lane->pool, port, (size_t)pool_pages[kind] * LEAP_PAGE_BYTES);
	if (!r)
		r = rdma_link_open(&lane->link, port, hello, RDMA_DEPTH, 0, NULL, end_ns);
	if (!r)
		r = open_fds(lane);
	if (r) {
		release(lane);
		return r;
	}
	rdma_queue_init(&lane->credits, pool_pages[kind], lane->link.reads_max);
	lock_acquire(&port->lock);
	lane->next = port->lanes;
	if (lane->next)
		lane->next->prev = lane;
	port->lanes = lane;
	port->nlanes++;
	lock_release(&port->lock);
	*ret_lane = lane;
	return 0;
}

/*
 * Ending
 */
/* Everything fails with status, now and from now on; the descriptor tells until that is fetched. */
static void lane_fail(struct lane *lane, int status)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	struct rdma_slot *slot;
	struct io *io;

	if (lane->failed)
		return;
	lane->failed = status;
	RDMA(ibv_modify_qp)(lane->link.qp, &attr, IBV_QP_STATE);
	epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, lane->link.comp->fd, NULL);
	epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, lane->link.events->fd, NULL);
	while ((slot = rdma_queue_retire(&lane->credits, lane->credits.head - 1)))
		finish(lane, slot->io, status);
	while ((io = io_list_pop(&lane->queue)))
		finish(lane, io, status);
	lane->armed = false;
	wake_set(lane);
}

static void lane_die(struct lane *lane, int code)
{
	rdma_port_die(lane->port, code == -ETIMEDOUT ? -ETIMEDOUT : -EPIPE);
	lane_fail(lane, atomic_load(&lane->port->dead));
}

void rdma_lane_close(struct lane *lane)
{
	struct port *port = lane->port;

	lock_acquire(&port->lock);
	if (lane->prev)
		lane->prev->next = lane->next;
	else
		port->lanes = lane->next;
	if (lane->next)
		lane->next->prev = lane->prev;
	port->nlanes--;
	lock_release(&port->lock);
	lane_fail(lane, -ECANCELED);
	io_list_deliver(&lane->done, &lane->delivering);
	atomic_fetch_add(&port->bytes_read, atomic_load(&lane->bytes_read));
	atomic_fetch_add(&port->bytes_written, atomic_load(&lane->bytes_written));
	release(lane);
}

void rdma_lane_forget(struct lane *lane)
{
	rdma_link_forget(&lane->link);
	fd_close(lane->epoll_fd);
	fd_close(lane->wake_fd);
	mem_free(lane);
}

/*
 * Requests
 */
/* What the device of a donor that is stopped would still do is not asked of it once the port is dead. */
void rdma_submit(struct lane *lane, struct io *io)
{
	int status = lane->failed;

	if (!status)
		status = atomic_load_explicit(&lane->port->dead, memory_order_relaxed);
	io->submitted_ns = clock_ns();
	if (!status && io_in_slab(io) && io->slab < PROTO_SLABS_MAX)
		io_list_add(&lane->queue, io);
	else
		finish(lane, io, status ? status : -EIO);
}

/* Makes work request n of the chain for the io; false: no credit. */
static bool chain_add(struct lane *lane, unsigned n, struct io *io, uint64_t address, uint32_t key)
{
	uint32_t bytes = io->npages * (uint32_t)LEAP_PAGE_BYTES;
	bool read = io->op == IO_READ;
	struct ibv_send_wr *wr = &lane->wr[n];
	struct rdma_slot *slot;
	uint64_t number;
	uint8_t *at;

	slot = rdma_queue_take(&lane->credits, io->npages, read, &number);
	if (!slot)
		return false;
	slot->io = io;
	lane->slot[n] = slot;
	at = lane->pool.base + (size_t)slot->page * LEAP_PAGE_BYTES;
	if (!read)
		memcpy(at, io->buf, bytes);
	lane->sge[n] = (struct ibv_sge){
		.addr = (uintptr_t)at, .length = bytes, .lkey = lane->pool.mr->lkey};
	memset(wr, 0, sizeof(*wr));
	wr->wr_id = number;
	wr->sg_list = &lane->sge[n];
	wr->num_sge = 1;
	wr->opcode = read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
	wr->wr.rdma.remote_addr = address + (uint64_t)io->page * LEAP_PAGE_BYTES;
	wr->wr.rdma.rkey = key;
	/* A WRITE may overtake READs before it, and they would see what it wrote. */
	if (!read && lane->credits.reads)
		wr->send_flags = IBV_SEND_FENCE;
	return true;
}

/* Posts what credits allow. 0 or -EPIPE. */
static int push(struct lane *lane)
{
	struct ibv_send_wr *bad;
	unsigned n = 0;
	struct io *io;

	while (n < RDMA_DEPTH && (io = lane->queue.first)) {
		struct rdma_key *k = &lane->port->keys[io->slab];
		uint64_t address = atomic_load_explicit(&k->address, memory_order_acquire);
		uint32_t key = atomic_load_explicit(&k->key, memory_order_relaxed);

		if (!address) { /* not ours */
			finish(lane, io_list_pop(&lane->queue), -EIO);
			continue;
		}
		if (!chain_add(lane, n, io, address, key))
			break;
		io_list_pop(&lane->queue);
		if (n)
			lane->wr[n - 1].next = &lane->wr[n];
		n++;
	}
	if (!n)
		return 0;
	for (unsigned i = 0; i < n; i++)
		if (rdma_queue_signal(&lane->credits, lane->slot[i], i == n - 1))
			lane->wr[i].send_flags |= IBV_SEND_SIGNALED;
	lane->idle_polls = 0;
	return ibv_post_send(lane->link.qp, &lane->wr[0], &bad) ? -EPIPE : 0;
}

void rdma_flush(struct lane *lane)
{
	if (!lane->failed && lane->queue.first && push(lane))
		lane_die(lane, -EPIPE);
	if (lane->done.first)
		io_list_deliver(&lane->done, &lane->delivering);
}

static void retire(struct lane *lane, struct rdma_slot *slot)
{
	size_t bytes = (size_t)slot->io->npages * LEAP_PAGE_BYTES;
	_Atomic uint64_t *counter = slot->read ? &lane->bytes_read : &lane->bytes_written;

	if (slot->read)
		memcpy(slot->io->buf, lane->pool.base + (size_t)slot->page * LEAP_PAGE_BYTES,
		       bytes);
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + bytes,
			      memory_order_relaxed);
	finish(lane, slot->io, 0);
}

/* Takes completions. How many, or -EPIPE. */
static int reap(struct lane *lane)
{
	struct ibv_wc wc[REAP];
	struct rdma_slot *slot;
	int n, total = 0;

	do {
		n = ibv_poll_cq(lane->link.cq, REAP, wc);
		if (n < 0)
			return -EPIPE;
		for (int i = 0; i < n; i++) {
			if (wc[i].status != IBV_WC_SUCCESS ||
			    !rdma_queue_expects(&lane->credits, wc[i].wr_id)) {
				log_error("donor %s: RDMA: %s", lane->port->text,
					  RDMA(ibv_wc_status_str)(wc[i].status));
				return -EPIPE;
			}
			while ((slot = rdma_queue_retire(&lane->credits, wc[i].wr_id)))
				retire(lane, slot);
		}
		total += n;
	} while (n == REAP);
	lane->late.progress |= total > 0;
	return total;
}

/* An armed lane that was woken, or not: looks at all that may have woken it. */
static int look(struct lane *lane)
{
	struct epoll_event ev[3];
	struct ibv_cq *cq;
	void *context;
	int r = 0, n = epoll_wait(lane->epoll_fd, ev, 3, 0);

	for (int i = 0; i < n; i++) {
		if (ev[i].data.fd == lane->link.events->fd) {
			r = rdma_link_events(&lane->link);
		} else if (ev[i].data.fd == lane->link.comp->fd) {
			while (!RDMA(ibv_get_cq_event)(lane->link.comp, &cq, &context))
				RDMA(ibv_ack_cq_events)(cq, 1);
			lane->armed = false;
			lane->idle_polls = 0;
			wake_set(lane);
		} else {
			wake_clear(lane);
		}
	}
	return r;
}

/* Nothing has come. Arms when it is time, and looks once more. */
static int idle(struct lane *lane)
{
	int r;

	if (lane->armed) {
		r = look(lane);
	} else if (++lane->idle_polls < IDLE_POLLS) {
		return 0;
	} else {
		wake_clear(lane);
		lane->armed = true;
		r = ibv_req_notify_cq(lane->link.cq, 0) ? -EPIPE : rdma_link_events(&lane->link);
	}
	return r ? r : reap(lane);
}

static bool late(struct lane *lane)
{
	const struct rdma_slot *slot = rdma_queue_oldest(&lane->credits);

	return late_look(&lane->late, slot ? slot->io : lane->queue.first,
			 lane->port->params.deadline_ns);
}

static int work(struct lane *lane)
{
	int n = reap(lane);

	if (!n)
		n = idle(lane);
	if (n < 0)
		return n;
	if (n)
		lane->idle_polls = 0;
	if (lane->queue.first && push(lane))
		return -EPIPE;
	return late(lane) ? -ETIMEDOUT : 0;
}

int rdma_poll(struct lane *lane)
{
	int dead, r;

	if (!lane->failed) {
		r = work(lane);
		dead = atomic_load_explicit(&lane->port->dead, memory_order_acquire);
		if (r)
			lane_die(lane, r);
		else if (dead)
			lane_fail(lane, dead);
	}
	if (lane->done.first)
		return io_list_deliver(&lane->done, &lane->delivering);
	if (lane->failed && !lane->armed) {
		wake_clear(lane); /* all is told: quiet for ever */
		lane->armed = true;
	}
	return 0;
}

int rdma_lane_fd(struct lane *lane)
{
	return lane->epoll_fd;
}
