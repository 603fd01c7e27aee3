/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.c - the tcp transport: a control connection, and one connection for each lane.
 *
 * State shared between threads: port->dead (atomic) and the list of lanes (port->lock), which is
 * walked only to shut the sockets down when the port dies, so that sleepers wake. A lane notices
 * by its own failing socket, by a request past the deadline, or by port->dead; the control thread
 * by heartbeats. Whoever notices first calls port_die().
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/transport/tcp_conn.h"
#include "libleap/util/fd.h"
#include "libleap/util/fmt.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

void port_die(struct port *port, int code)
{
	int none = 0;

	atomic_compare_exchange_strong(&port->dead, &none, code);
	lock_acquire(&port->lock);
	for (struct lane *l = port->lanes; l; l = l->next)
		shutdown(l->fd, SHUT_RDWR);
	lock_release(&port->lock);
}

/* After a control call: passes r on, and if it means that the port has died, tells the lanes. */
static int port_result(struct port *port, int r)
{
	int dead = r < 0 ? atomic_load(&port->dead) : 0;

	if (dead)
		port_die(port, dead);
	return r;
}

static void socket_tune(int fd, uint64_t deadline_ns)
{
	unsigned timeout_ms = (unsigned)(deadline_ns / 1000000);
	int one = 1, idle = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
}

/*
 * Port
 */
static int port_connect_socket(struct port *port, uint64_t end_ns, int *ret_fd)
{
	*ret_fd = port->adopting && port->spares ? port->spare[--port->spares] : -1;
	return stream_connect((struct sockaddr *)&port->sa, port->sa_len, end_ns, port->text,
			      ret_fd);
}

/* One for each connection that there is. */
static void spares_make(struct port *port)
{
	unsigned want = 1;

	lock_acquire(&port->lock);
	for (struct lane *l = port->lanes; l; l = l->next)
		want++;
	lock_release(&port->lock);
	while (port->spares < want && port->spares < PORT_SPARES) {
		int fd = fd_own(
			(int)sys_ret(syscall(SYS_socket, port->sa.ss_family,
					     SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));

		if (fd < 0)
			return; /* the child makes its own */
		port->spare[port->spares++] = fd;
	}
}

static void spares_close(struct port *port)
{
	while (port->spares)
		fd_close(port->spare[--port->spares]);
}

static int port_connect_control(struct port *port, enum proto_kind kind, const uint8_t *ticket,
				uint64_t end_ns)
{
	int fd, r;

	r = port_connect_socket(port, end_ns, &fd);
	if (r)
		return r;
	socket_tune(fd, port->params.deadline_ns);
	r = ctl_open(&port->control, fd, kind, ticket, &port->params, end_ns);
	if (r)
		fd_close(fd);
	return r;
}

static int port_connect(struct port *port)
{
	uint64_t end_ns = transport_end(port->params.open_end_ns, transport_open_ns(&port->params));
	struct addrinfo *ai, *a;
	int r;

	r = stream_resolve(port->uri.host, port->uri.port, port->text, &ai);
	if (r)
		return r;
	r = -ENOENT;
	for (a = ai; a; a = a->ai_next) {
		if (a->ai_addrlen > sizeof(port->sa))
			continue;
		memcpy(&port->sa, a->ai_addr, a->ai_addrlen);
		port->sa_len = a->ai_addrlen;
		r = port_connect_control(port, PROTO_KIND_CONTROL, NULL, end_ns);
		if (r != -ECONNREFUSED && r != -ENETUNREACH && r != -EHOSTUNREACH &&
		    r != -EADDRNOTAVAIL)
			break;
	}
	freeaddrinfo(ai);
	return r;
}

static int tcp_open(const struct donor_uri *uri, const struct transport_params *params,
		    struct port **ret_port)
{
	struct port *port = mem_alloc(sizeof(*port));
	int r;

	if (!port)
		return error_set(ENOMEM, "out of memory for a connection to a donor");
	port->params = *params;
	port->uri = *uri;
	lock_init(&port->lock, LOCK_RANK_TRANSPORT, 0);
	fmt_print(port->text, sizeof(port->text),
		  strchr(uri->host, ':') ? "tcp://[%s]:%u" : "tcp://%s:%u", uri->host, uri->port);
	ctl_init(&port->control, &port->dead, port->text, true);
	r = port_connect(port);
	if (r) {
		mem_free(port);
		return r;
	}
	*ret_port = port;
	return 0;
}

static void tcp_close(struct port *port)
{
	ctl_close(&port->control);
	spares_close(port);
	mem_free(port);
}

static int tcp_slab_grant(struct port *port, uint32_t *ret_slab)
{
	struct proto_head reply;
	int r;

	r = ctl_call(&port->control, proto_head_make(PROTO_GRANT, 0, 0), &reply, NULL, NULL);
	if (!r)
		*ret_slab = reply.slab;
	return port_result(port, r);
}

static int tcp_slab_release(struct port *port, uint32_t slab)
{
	return port_result(port, ctl_release(&port->control, slab));
}

static int tcp_slab_shared(struct port *port, uint32_t slab)
{
	return port_result(port, ctl_shared(&port->control, slab));
}

static int tcp_info(struct port *port, bool refresh, struct port_info *ret_info)
{
	bool uring = port->params.io_uring && !atomic_load(&port->uring_refused);
	int r = refresh ? port_result(port, ctl_refresh(&port->control)) : 0;

	if (r)
		return r;
	memset(ret_info, 0, sizeof(*ret_info));
	ret_info->free_bytes = atomic_load(&port->control.free_bytes);
	ret_info->total_bytes = atomic_load(&port->control.total_bytes);
	ret_info->bytes_read = atomic_load(&port->bytes_read);
	ret_info->bytes_written = atomic_load(&port->bytes_written);
	lock_acquire(&port->lock);
	for (struct lane *l = port->lanes; l; l = l->next) {
		ret_info->bytes_read += atomic_load_explicit(&l->bytes_read, memory_order_relaxed);
		ret_info->bytes_written +=
			atomic_load_explicit(&l->bytes_written, memory_order_relaxed);
	}
	lock_release(&port->lock);
	fmt_print(ret_info->text, sizeof(ret_info->text),
		  strchr(port->uri.host, ':') ? "tcp [%s]:%u %s" : "tcp %s:%u %s", port->uri.host,
		  port->uri.port, uring ? "io_uring" : "sockets");
	return 0;
}

static int tcp_tick(struct port *port)
{
	port->adopting = false;
	spares_make(port);
	return port_result(port, ctl_tick(&port->control));
}

/*
 * Lanes
 */
static int lane_backend_open(struct lane *lane)
{
	struct port *port = lane->port;
	int r;

	if (port->params.io_uring && !atomic_load(&port->uring_refused)) {
		lane->backend = &lane_backend_uring;
		r = lane->backend->open(lane);
		if (!r)
			return 0;
		log_info("io_uring is refused here (errno %d): using plain sockets", -r);
		atomic_store(&port->uring_refused, true);
	}
	lane->backend = &lane_backend_plain;
	return lane->backend->open(lane);
}

static int lane_connect(struct lane *lane)
{
	struct port *port = lane->port;
	uint64_t end_ns = transport_end(port->params.open_end_ns, port->params.deadline_ns);
	struct proto_hello_ack ack;
	int r;

	r = port_connect_socket(port, end_ns, &lane->fd);
	if (r)
		return r;
	socket_tune(lane->fd, port->params.deadline_ns);
	r = stream_hello(lane->fd, (enum proto_kind)(PROTO_KIND_DEMAND + lane->kind),
			 port->control.token, &port->params, end_ns, port->text, &ack);
	if (r)
		goto fail_close;
	r = lane_backend_open(lane);
	if (r) {
		error_set(-r, "cannot make a lane to donor %s: errno %d", port->text, -r);
		goto fail_close;
	}
	return 0;
fail_close:
	fd_close(lane->fd);
	return r;
}

static int tcp_lane_open(struct port *port, enum lane_kind kind, struct lane **ret_lane)
{
	int r = atomic_load(&port->dead);
	struct lane *lane;

	if (r)
		return error_set(-r, "donor %s is dead", port->text);
	lane = mem_alloc(sizeof(*lane));
	if (!lane)
		return error_set(ENOMEM, "out of memory for a lane to donor %s", port->text);
	lane->port = port;
	lane->kind = kind;
	r = lane_connect(lane);
	if (r) {
		mem_free(lane);
		return r;
	}
	lock_acquire(&port->lock);
	lane->next = port->lanes;
	if (lane->next)
		lane->next->prev = lane;
	port->lanes = lane;
	lock_release(&port->lock);
	if (!port->adopting)
		spares_make(
			port); /* now, while nobody is in the way, rather than with the next tick */
	*ret_lane = lane;
	return 0;
}

/* Everything fails with status, now and from now on. */
static void lane_fail(struct lane *lane, int status)
{
	struct io_list *lists[] = {&lane->flight, &lane->queue};
	struct io *io;

	if (lane->failed)
		return;
	lane->failed = status;
	shutdown(lane->fd, SHUT_RDWR);
	lane->backend->quiesce(lane);
	lane->tx.count = 0;
	for (int i = 0; i < 2; i++)
		while ((io = io_list_pop(lists[i]))) {
			io->status = status;
			io_list_add(&lane->done, io);
		}
}

static void lane_die(struct lane *lane, int code)
{
	port_die(lane->port, code == -ETIMEDOUT ? -ETIMEDOUT : -EPIPE);
	lane_fail(lane, atomic_load(&lane->port->dead));
}

static void tcp_lane_close(struct lane *lane)
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
	io_list_deliver(&lane->done, &lane->delivering);
	atomic_fetch_add(&port->bytes_read, atomic_load(&lane->bytes_read));
	atomic_fetch_add(&port->bytes_written, atomic_load(&lane->bytes_written));
	lane->backend->close(lane, false);
	fd_close(lane->fd);
	mem_free(lane);
}

static void tcp_submit(struct lane *lane, struct io *io)
{
	io->submitted_ns = clock_ns();
	if (!lane->failed && io_in_slab(io) && io->slab < PROTO_SLABS_MAX) {
		io_list_add(&lane->queue, io);
		return;
	}
	io->status = lane->failed ? lane->failed : -EIO;
	io_list_add(&lane->done, io);
}

static void tcp_flush(struct lane *lane)
{
	int r = 0;

	if (!lane->failed && lane->queue.first)
		r = lane->backend->push(lane);
	if (r)
		lane_die(lane, r);
	if (lane->done.first)
		io_list_deliver(&lane->done, &lane->delivering);
}

static bool lane_late(struct lane *lane)
{
	return late_look(&lane->late, lane->flight.first ? lane->flight.first : lane->queue.first,
			 lane->port->params.deadline_ns);
}

static int tcp_poll(struct lane *lane)
{
	int dead = atomic_load_explicit(&lane->port->dead, memory_order_acquire);
	int r;

	if (!lane->failed && dead)
		lane_fail(lane, dead);
	if (!lane->failed) {
		r = lane->backend->poll(lane);
		if (!r && lane_late(lane))
			r = -ETIMEDOUT;
		if (r)
			lane_die(lane, r);
	}
	return lane->done.first ? io_list_deliver(&lane->done, &lane->delivering) : 0;
}

static int tcp_lane_fd(struct lane *lane)
{
	return lane->backend->fd(lane);
}

static const void *tcp_peek(struct port *port, uint32_t slab, uint32_t page)
{
	return NULL;
}

/*
 * fork
 */
static int tcp_clone_prepare(struct port *port, struct port_ticket *ret_ticket)
{
	spares_make(port);
	return port_result(port, ctl_clone(&port->control, ret_ticket, NULL));
}

/* The child connects them. */
static void tcp_clone_release(struct port *port)
{
	spares_close(port);
}

static int tcp_clone_adopt(struct port *port, const struct port_ticket *ticket)
{
	uint64_t end_ns = transport_end(port->params.open_end_ns, port->params.deadline_ns);
	struct lane *lane;
	int r = atomic_load(&port->dead);

	lock_init(&port->lock, LOCK_RANK_TRANSPORT, 0);
	while ((lane = port->lanes)) {
		port->lanes = lane->next;
		lane->backend->close(lane, true);
		fd_close(lane->fd);
		mem_free(lane);
	}
	ctl_forget(&port->control);
	if (r)
		return error_set(-r, "donor %s was dead before fork()", port->text);
	port->adopting = true;
	r = port_connect_control(port, PROTO_KIND_CLONE, ticket->bytes, end_ns);
	if (r)
		atomic_store(&port->dead, r == -ETIMEDOUT ? -ETIMEDOUT : -EPIPE);
	return r;
}

const struct transport_ops transport_tcp = {
	.size = sizeof(struct transport_ops),
	.name = "tcp",
	.flags = 0,
	.open = tcp_open,
	.close = tcp_close,
	.slab_grant = tcp_slab_grant,
	.slab_release = tcp_slab_release,
	.slab_shared = tcp_slab_shared,
	.info = tcp_info,
	.tick = tcp_tick,
	.lane_open = tcp_lane_open,
	.lane_close = tcp_lane_close,
	.submit = tcp_submit,
	.flush = tcp_flush,
	.poll = tcp_poll,
	.lane_fd = tcp_lane_fd,
	.peek = tcp_peek,
	.clone_prepare = tcp_clone_prepare,
	.clone_release = tcp_clone_release,
	.clone_adopt = tcp_clone_adopt,
};
