/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma.c - the rdma transport: a control connection (ctl.h over rdma_ctl.c), and one connection for each lane.
 *
 * The donor's processor takes no part in reads and writes: it says once where a slab is and with which key
 * (ATTACH), and the device does the rest. A donor that is stopped therefore serves on; heartbeats find it out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/transport/rdma_conn.h"
#include "libleap/util/fmt.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#define KEYS_BYTES (PROTO_SLABS_MAX * sizeof(struct rdma_key))

void rdma_port_die(struct port *port, int code)
{
	uint64_t one = 1;
	int none = 0;

	atomic_compare_exchange_strong(&port->dead, &none, code);
	lock_acquire(&port->lock);
	for (struct lane *l = port->lanes; l; l = l->next)
		syscall(SYS_write, l->wake_fd, &one, sizeof(one));
	lock_release(&port->lock);
}

/* After a control call: passes r on, and if it means that the port has died, tells the lanes. */
static int port_result(struct port *port, int r)
{
	int dead = r < 0 ? atomic_load(&port->dead) : 0;

	if (dead)
		rdma_port_die(port, dead);
	return r;
}

static bool try_next(int r)
{
	return r == -ECONNREFUSED || r == -ENETUNREACH || r == -EHOSTUNREACH ||
	       r == -EADDRNOTAVAIL || r == -ENODEV;
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
		r = rdma_source_choose(port);
		if (!r)
			r = rdma_ctl_open(port, PROTO_KIND_CONTROL, NULL, end_ns);
		if (!r)
			break;
		rdma_device_close(&port->device);
		if (!try_next(r))
			break;
	}
	freeaddrinfo(ai);
	return r;
}

static int rdma_open(const struct donor_uri *uri, const struct transport_params *params,
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
		  strchr(uri->host, ':') ? "rdma://[%s]:%u" : "rdma://%s:%u", uri->host, uri->port);
	ctl_init(&port->control, &port->dead, port->text, true);
	port->device.node = -1;
	r = rdma_wish_parse(params->rdma_device, &port->wish);
	if (!r)
		r = rdma_lib_load(port->text);
	if (r)
		goto fail_free;
	port->keys = mem_map_sparse(KEYS_BYTES);
	if (!port->keys) {
		r = error_set(ENOMEM, "out of memory for a connection to a donor");
		goto fail_free;
	}
	r = port_connect(port);
	if (r)
		goto fail_unmap;
	*ret_port = port;
	return 0;
fail_unmap:
	mem_unmap(port->keys, KEYS_BYTES);
fail_free:
	mem_free(port);
	return r;
}

static void rdma_close(struct port *port)
{
	rdma_ctl_close(port);
	rdma_device_close(&port->device);
	mem_unmap(port->keys, KEYS_BYTES);
	mem_free(port);
}

/*
 * Slabs
 */
static int attach(struct port *port, uint32_t slab)
{
	struct proto_head head = proto_head_make(PROTO_ATTACH, 0, 0), reply;
	uint8_t body[PROTO_BODY_MAX];
	struct proto_region region;
	int r;

	head.slab = slab;
	r = ctl_call(&port->control, head, &reply, body, NULL);
	if (r)
		return r;
	memcpy(&region, body, sizeof(region));
	proto_region_order(&region);
	atomic_store_explicit(&port->keys[slab].key, region.key, memory_order_relaxed);
	atomic_store_explicit(&port->keys[slab].address, region.address, memory_order_release);
	if (slab >= port->keys_end)
		port->keys_end = slab + 1;
	return 0;
}

static int rdma_slab_grant(struct port *port, uint32_t *ret_slab)
{
	struct proto_head reply;
	int r;

	r = ctl_call(&port->control, proto_head_make(PROTO_GRANT, 0, 0), &reply, NULL, NULL);
	if (r)
		return port_result(port, r);
	r = attach(port, reply.slab);
	if (!r)
		*ret_slab = reply.slab;
	else if (!atomic_load(&port->dead) && ctl_release(&port->control, reply.slab))
		log_debug("donor %s: a slab that cannot be reached stays there", port->text);
	return port_result(port, r);
}

static int rdma_slab_release(struct port *port, uint32_t slab)
{
	if (slab < PROTO_SLABS_MAX)
		atomic_store_explicit(&port->keys[slab].address, 0, memory_order_release);
	return port_result(port, ctl_release(&port->control, slab));
}

static int rdma_slab_shared(struct port *port, uint32_t slab)
{
	return port_result(port, ctl_shared(&port->control, slab));
}

static int rdma_info(struct port *port, bool refresh, struct port_info *ret_info)
{
	int r = refresh ? port_result(port, ctl_refresh(&port->control)) : 0;
	unsigned links;
	uint32_t reads;

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
	links = port->nlanes + 1;
	reads = port->ctl.link.reads_max;
	lock_release(&port->lock);
	fmt_print(ret_info->text, sizeof(ret_info->text),
		  strchr(port->uri.host, ':')
			  ? "rdma [%s]:%u %s port %u MTU %u, %u QPs, %u reads each, %luK registered"
			  : "rdma %s:%u %s port %u MTU %u, %u QPs, %u reads each, %luK registered",
		  port->uri.host, port->uri.port,
		  port->device.verbs ? port->device.verbs->device->name : "-",
		  (unsigned)port->device.port_num, port->device.mtu, links, reads,
		  (unsigned long)(atomic_load(&port->registered_bytes) >> 10));
	return 0;
}

static int rdma_tick(struct port *port)
{
	int r = atomic_load(&port->dead);

	if (!r && port->device.verbs && rdma_device_events(&port->device, port->text))
		rdma_port_die(port, -EPIPE);
	return port_result(port, ctl_tick(&port->control));
}

static const void *rdma_peek(struct port *port, uint32_t slab, uint32_t page)
{
	return NULL;
}

/*
 * fork
 */
static int rdma_clone_prepare(struct port *port, struct port_ticket *ret_ticket)
{
	return port_result(port, ctl_clone(&port->control, ret_ticket, NULL));
}

/* New keys for all slabs: those that came along open nothing to the child's connections. */
static int attach_all(struct port *port)
{
	int r = 0;

	for (uint32_t i = 0; i < port->keys_end && !r; i++)
		if (atomic_load(&port->keys[i].address))
			r = attach(port, i);
	return r;
}

static void rdma_clone_release(struct port *port)
{
}

static int rdma_clone_adopt(struct port *port, const struct port_ticket *ticket)
{
	uint64_t end_ns = transport_end(port->params.open_end_ns, port->params.deadline_ns);
	struct lane *lane;
	int r = atomic_load(&port->dead);

	lock_init(&port->lock, LOCK_RANK_TRANSPORT, 0);
	while ((lane = port->lanes)) {
		port->lanes = lane->next;
		rdma_lane_forget(lane);
	}
	port->nlanes = 0;
	rdma_ctl_forget(port);
	rdma_device_forget(&port->device);
	port->device.node = -1;
	atomic_store(&port->registered_bytes, 0);
	if (r)
		return error_set(-r, "donor %s was dead before fork()", port->text);
	r = rdma_ctl_open(port, PROTO_KIND_CLONE, ticket->bytes, end_ns);
	if (!r)
		r = attach_all(port);
	if (r)
		atomic_store(&port->dead, r == -ETIMEDOUT ? -ETIMEDOUT : -EPIPE);
	return r;
}

const struct transport_ops transport_rdma = {
	.size = sizeof(struct transport_ops),
	.name = "rdma",
	.flags = 0,
	.open = rdma_open,
	.close = rdma_close,
	.slab_grant = rdma_slab_grant,
	.slab_release = rdma_slab_release,
	.slab_shared = rdma_slab_shared,
	.info = rdma_info,
	.tick = rdma_tick,
	.lane_open = rdma_lane_open,
	.lane_close = rdma_lane_close,
	.submit = rdma_submit,
	.flush = rdma_flush,
	.poll = rdma_poll,
	.lane_fd = rdma_lane_fd,
	.peek = rdma_peek,
	.clone_prepare = rdma_clone_prepare,
	.clone_release = rdma_clone_release,
	.clone_adopt = rdma_clone_adopt,
};
