/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faulty_lane.c - lanes of the faulty transport: requests that wait, fail, lie or hang.
 *
 * A request goes queue -> waiting (flush) -> a slot, while the wrapped lane has it (when its delay is over) ->
 * finished -> its caller. It is decided when it leaves waiting, in the order of submission, what goes wrong
 * with it: an error takes it to finished at once; a hang leaves it, and all that are behind it, where they are
 * until the deadline. Completions are delivered by poll() and lane_close() alone, whatever the wrapped transport
 * does: over loop and shm, too, the caller sees a transport that is not synchronous.
 *
 * With faultysync all of this happens inside submit(), and there is neither timer nor delay.
 *
 * The lane's descriptor is an epoll instance around a timer and the wrapped lane's descriptor. The timer
 * stands at the time when poll() will next have something to do; that is now while finished is not empty.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "libleap/error.h"
#include "libleap/transport/faulty.h"
#include "libleap/transport/io_list.h"
#include "libleap/util/fd.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#define SLOTS     64 /* requests of a lane that the wrapped transport has at once */
#define TIMER_NOW 1  /* long past */

/* A request inside the wrapped transport. */
struct slot {
	struct io io; /* first */
	struct io *outer;
	struct lane *lane;
	bool corrupt;
	uint32_t corrupt_page;
	struct slot *next;
};

struct lane {
	struct port *port;
	struct lane *prev, *next; /* of the port; its lock */
	struct lane *inner;       /* NULL once failed */
	int timer_fd, epoll_fd;
	uint64_t timer_ns; /* what the timer stands at; 0 = off */
	int failed;        /* 0, or what all requests get from now on */
	bool hung, delivering;
	uint64_t polled_ns, since_ns; /* silence counts from since_ns at the earliest */
	struct io_list queue, waiting, finished;
	struct slot *free;
	struct slot slots[SLOTS];
};

static void finish(struct lane *lane, struct io *io, int status)
{
	io->status = status;
	io_list_add(&lane->finished, io);
}

static void fail_list(struct lane *lane, struct io_list *list, int status)
{
	struct io *io;

	while ((io = io_list_pop(list)))
		finish(lane, io, status);
}

/*
 * The timer
 */
static void timer_set(int fd, uint64_t at_ns)
{
	struct itimerspec t = {
		.it_value = {(time_t)(at_ns / 1000000000), (long)(at_ns % 1000000000)},
	};

	syscall(SYS_timerfd_settime, fd, TFD_TIMER_ABSTIME, &t, NULL);
}

/* When poll() has something to do next; 0 = not before something is submitted or arrives. */
static uint64_t next_due(const struct lane *lane)
{
	if (lane->finished.first || (!lane->failed && atomic_load(&lane->port->dead)))
		return TIMER_NOW;
	if (!lane->waiting.first)
		return 0;
	if (lane->hung)
		return lane->since_ns + lane->port->deadline_ns;
	if (!lane->free)
		return 0; /* a completion is awaited */
	return lane->waiting.first->submitted_ns + lane->port->spec.delay_ns;
}

static void timer_update(struct lane *lane)
{
	uint64_t due = next_due(lane);

	if (due == lane->timer_ns)
		return;
	lane->timer_ns = due;
	timer_set(lane->timer_fd, due);
	/* whoever declared the port dead meanwhile has set the timer, too, perhaps before us */
	if (due != TIMER_NOW && !lane->failed && atomic_load(&lane->port->dead)) {
		lane->timer_ns = TIMER_NOW;
		timer_set(lane->timer_fd, TIMER_NOW);
	}
}

void faulty_die(struct port *port, int code)
{
	int none = 0;

	if (!atomic_compare_exchange_strong(&port->dead, &none, code))
		return;
	lock_acquire(&port->lock);
	for (struct lane *l = port->lanes; l; l = l->next)
		timer_set(l->timer_fd, TIMER_NOW);
	lock_release(&port->lock);
}

/*
 * Into the wrapped lane and out of it
 */
static void inner_done(struct io *io)
{
	struct slot *slot = (struct slot *)io;
	struct lane *lane = slot->lane;
	int status = io->status;

	if (!status && slot->corrupt)
		((uint8_t *)io->buf)[(size_t)slot->corrupt_page * LEAP_PAGE_BYTES + 1234] ^= 0x10;
	if (lane->failed && status == -ECANCELED)
		status = lane->failed;
	finish(lane, slot->outer, status);
	slot->next = lane->free;
	lane->free = slot;
	if (status == -EPIPE || status == -ETIMEDOUT)
		faulty_die(lane->port, status);
}

static void send_on(struct lane *lane, struct io *io)
{
	struct fault_spec *spec = &lane->port->spec;
	struct slot *slot = lane->free;

	lane->free = slot->next;
	memset(slot, 0, sizeof(*slot));
	slot->io = (struct io){
		.op = io->op,
		.slab = io->slab,
		.page = io->page,
		.npages = io->npages,
		.buf = io->buf,
		.done = inner_done,
	};
	slot->outer = io;
	slot->lane = lane;
	if (io->op == IO_READ)
		slot->corrupt =
			fault_hit(&spec->rule[FAULT_CORRUPT], io->npages, &slot->corrupt_page);
	lane->port->ops->submit(lane->inner, &slot->io);
}

/* Decides about the first of waiting. False when it stays. */
static bool start(struct lane *lane)
{
	struct fault_rule *rule = lane->port->spec.rule;
	struct io *io = lane->waiting.first;
	bool is_read = io->op == IO_READ;

	if (is_read && fault_hit(&rule[FAULT_HANG], 1, NULL)) {
		lane->hung = true;
		lane->since_ns = clock_ns();
		return false;
	}
	io_list_pop(&lane->waiting);
	if (fault_hit(&rule[FAULT_DIE], 1, NULL)) {
		faulty_die(lane->port, -EPIPE);
		finish(lane, io, -EPIPE);
		return false;
	}
	if (fault_hit(&rule[is_read ? FAULT_READ : FAULT_WRITE], 1, NULL))
		finish(lane, io, -EIO);
	else
		send_on(lane, io);
	return true;
}

/* Starts what is due. Does not call done(). */
static void pump(struct lane *lane)
{
	const struct transport_ops *ops = lane->port->ops;
	uint64_t delay_ns = lane->port->spec.delay_ns, now = delay_ns ? clock_ns() : 0;

	while (!lane->failed && !lane->hung && lane->free && lane->waiting.first &&
	       !atomic_load(&lane->port->dead)) {
		if (delay_ns && now < lane->waiting.first->submitted_ns + delay_ns)
			break;
		if (!start(lane))
			break;
	}
	if (lane->inner)
		ops->flush(lane->inner);
}

/* Everything gets status, now and from now on. */
static void lane_fail(struct lane *lane, int status)
{
	if (lane->failed)
		return;
	lane->failed = status;
	/* what the wrapped transport has comes back before it returns */
	lane->port->ops->lane_close(lane->inner);
	lane->inner = NULL;
	fail_list(lane, &lane->waiting, status);
	fail_list(lane, &lane->queue, status);
}

/* A hung request past the deadline. As with tcp, time counts while somebody watches. */
static bool late(struct lane *lane)
{
	uint64_t deadline = lane->port->deadline_ns, now;

	if (!lane->hung)
		return false;
	now = clock_ns();
	if (lane->polled_ns && now - lane->polled_ns > deadline)
		lane->since_ns = now;
	lane->polled_ns = now;
	return now - lane->since_ns > deadline;
}

/*
 * The operations
 */
void faulty_submit(struct lane *lane, struct io *io)
{
	if (lane->failed) {
		finish(lane, io, lane->failed);
		if (!lane->delivering)
			timer_update(lane);
		return;
	}
	io->submitted_ns = clock_ns();
	io_list_add(&lane->queue, io);
}

/* A request that done() submits waits for its turn, as in loop and shm. */
void faulty_submit_sync(struct lane *lane, struct io *io)
{
	io_list_add(&lane->waiting, io);
	if (lane->delivering)
		return;
	while (lane->waiting.first) {
		int dead = atomic_load(&lane->port->dead);

		if (dead || lane->failed)
			fail_list(lane, &lane->waiting, lane->failed ? lane->failed : dead);
		else if (!start(lane) && lane->hung)
			faulty_die(lane->port, -ETIMEDOUT); /* nobody would wait in submit() */
		io_list_deliver(&lane->finished, &lane->delivering);
	}
}

void faulty_flush(struct lane *lane)
{
	struct io *io;

	if (lane->port->sync)
		return;

	while ((io = io_list_pop(&lane->queue)))
		io_list_add(&lane->waiting, io);
	pump(lane);
	timer_update(lane);
}

int faulty_poll(struct lane *lane)
{
	int dead = atomic_load_explicit(&lane->port->dead, memory_order_acquire), n;

	if (lane->port->sync)
		return 0;
	if (!lane->failed && !dead) {
		pump(lane);
		lane->port->ops->poll(lane->inner);
		pump(lane); /* slots are free again */
		if (late(lane))
			faulty_die(lane->port, -ETIMEDOUT);
		dead = atomic_load(&lane->port->dead);
	}
	if (!lane->failed && dead)
		lane_fail(lane, dead);
	n = io_list_deliver(&lane->finished, &lane->delivering);
	timer_update(lane);
	return n;
}

int faulty_lane_fd(struct lane *lane)
{
	return lane->epoll_fd;
}

static int open_fds(struct lane *lane)
{
	const struct transport_ops *ops = lane->port->ops;
	struct epoll_event ev = {.events = EPOLLIN};
	int inner_fd = ops->lane_fd(lane->inner), r;

	lane->timer_fd = fd_own((int)sys_ret(
		syscall(SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)));
	lane->epoll_fd = fd_own((int)sys_ret(syscall(SYS_epoll_create1, EPOLL_CLOEXEC)));
	r = lane->timer_fd < 0 ? lane->timer_fd : lane->epoll_fd < 0 ? lane->epoll_fd : 0;
	if (!r)
		r = (int)sys_ret(
			syscall(SYS_epoll_ctl, lane->epoll_fd, EPOLL_CTL_ADD, lane->timer_fd, &ev));
	if (!r && inner_fd >= 0)
		r = (int)sys_ret(
			syscall(SYS_epoll_ctl, lane->epoll_fd, EPOLL_CTL_ADD, inner_fd, &ev));
	if (!r)
		return 0;
	fd_close(lane->timer_fd);
	fd_close(lane->epoll_fd);
	return error_set(-r, "faulty: cannot make a lane's descriptors: error %d", -r);
}

int faulty_lane_open(struct port *port, enum lane_kind kind, struct lane **ret_lane)
{
	int r = atomic_load(&port->dead);
	struct lane *lane;

	if (r)
		return error_set(-r, "faulty: the donor is dead");
	if (fault_hit(&port->spec.rule[FAULT_LANE], 1, NULL))
		return error_set(EIO, "faulty: told to refuse a lane");
	lane = mem_alloc(sizeof(*lane));
	if (!lane)
		return error_set(ENOMEM, "out of memory for a lane of faulty:");
	lane->port = port;
	r = port->ops->lane_open(port->inner, kind, &lane->inner);
	if (r)
		goto free;
	lane->timer_fd = lane->epoll_fd = -1;
	r = port->sync ? 0 : open_fds(lane);
	if (r)
		goto close;
	for (int i = 0; i < SLOTS; i++) {
		lane->slots[i].next = lane->free;
		lane->free = &lane->slots[i];
	}
	lock_acquire(&port->lock);
	lane->next = port->lanes;
	if (lane->next)
		lane->next->prev = lane;
	port->lanes = lane;
	lock_release(&port->lock);
	*ret_lane = lane;
	return 0;
close:
	port->ops->lane_close(lane->inner);
free:
	mem_free(lane);
	return r;
}

static void lane_delete(struct lane *lane)
{
	fd_close(lane->epoll_fd);
	fd_close(lane->timer_fd);
	mem_free(lane);
}

void faulty_lane_close(struct lane *lane)
{
	struct port *port = lane->port;

	lock_acquire(&port->lock);
	if (lane->prev)
		lane->prev->next = lane->next;
	else
		port->lanes = lane->next;
	if (lane->next)
		lane->next->prev = lane->prev;
	lock_release(&port->lock);
	lane_fail(lane, -ECANCELED);
	io_list_deliver(&lane->finished, &lane->delivering);
	lane_delete(lane);
}

void faulty_lanes_forget(struct port *port)
{
	struct lane *lane;

	lock_init(&port->lock, LOCK_RANK_TRANSPORT, 0);
	while ((lane = port->lanes)) {
		port->lanes = lane->next;
		/* the others forget theirs in clone_adopt() */
		if (lane->inner && port->ops->flags & TRANSPORT_FORK_COPIES)
			port->ops->lane_close(lane->inner);
		lane_delete(lane);
	}
}
