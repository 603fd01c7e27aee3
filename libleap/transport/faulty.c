/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faulty.c - the faulty transport: another one, with errors on request; tests only.
 *
 * It has none of the flags: over loop and shm, too, requests complete later, there is no peek(), and fork() goes
 * by tickets. So the ways through the pager that tcp and rdma take run without a network. faultysync is the same
 * for the ways of loop and shm: it completes inside submit(), and peeks where no fault of a read is asked for.
 *
 * What the wrapped transport says when it dies makes this port dead, too; and a port told to die does so
 * whatever the wrapped one thinks.
 */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/transport/faulty.h"
#include "libleap/util/fmt.h"
#include "libleap/util/mem.h"

static int faulty_open(const struct donor_uri *uri, const struct transport_params *params,
		       struct port **ret_port)
{
	struct port *port = mem_alloc(sizeof(*port));
	struct donor_uri inner;
	int r;

	if (!port)
		return error_set(ENOMEM, "out of memory for a connection to a donor");
	r = fault_spec_parse(uri->host, &port->spec, &inner);
	if (r)
		goto free;
	port->ops = transport_find(inner.scheme);
	port->sync = !strcmp(uri->scheme, transport_faultysync.name);
	if (port->sync && !(port->ops->flags & TRANSPORT_SYNC)) {
		r = error_set(EINVAL, "faultysync: %s is not synchronous", inner.scheme);
		goto free;
	}
	port->deadline_ns = params->deadline_ns;
	lock_init(&port->lock, LOCK_RANK_TRANSPORT, 0);
	r = port->ops->open(&inner, params, &port->inner);
	if (r)
		goto free;
	*ret_port = port;
	return 0;
free:
	mem_free(port);
	return r;
}

static void faulty_close(struct port *port)
{
	port->ops->close(port->inner);
	mem_free(port);
}

/* Before a control call: the port may be dead, or it is this call's turn to fail with code. */
static int control_begin(struct port *port, enum fault_kind kind, int code, const char *what)
{
	int dead = atomic_load(&port->dead);

	if (dead)
		return error_set(-dead, "faulty: the donor is dead");
	if (fault_hit(&port->spec.rule[kind], 1, NULL))
		return error_set(code, "faulty: told to fail %s", what);
	return 0;
}

/* After one: passes r on, and notices what it means. */
static int control_end(struct port *port, int r)
{
	if (r == -EPIPE || r == -ETIMEDOUT)
		faulty_die(port, r);
	return r;
}

static int faulty_slab_grant(struct port *port, uint32_t *ret_slab)
{
	int r = control_begin(port, FAULT_GRANT, ENOSPC, "a grant");

	return r ? r : control_end(port, port->ops->slab_grant(port->inner, ret_slab));
}

static int faulty_slab_release(struct port *port, uint32_t slab)
{
	int r = control_begin(port, FAULT_RELEASE, EIO, "a release");

	return r ? r : control_end(port, port->ops->slab_release(port->inner, slab));
}

static int faulty_slab_shared(struct port *port, uint32_t slab)
{
	int r = control_begin(port, FAULT_SHARED, EIO, "a question about a slab");

	return r ? r : control_end(port, port->ops->slab_shared(port->inner, slab));
}

static int faulty_info(struct port *port, bool refresh, struct port_info *ret_info)
{
	char text[sizeof(ret_info->text)];
	int r = refresh ? control_begin(port, FAULT_INFO, EIO, "a look at the donor") : 0;

	if (!r)
		r = control_end(port, port->ops->info(port->inner, refresh, ret_info));
	if (r)
		return r;
	memcpy(text, ret_info->text, sizeof(text));
	fmt_print(ret_info->text, sizeof(ret_info->text), "%s %s",
		  port->sync ? "faultysync" : "faulty", text);
	return 0;
}

/* A heartbeat that fails means a dead donor. */
static int faulty_tick(struct port *port)
{
	int r = control_begin(port, FAULT_TICK, EPIPE, "a heartbeat");

	return control_end(port, r ? r : port->ops->tick(port->inner));
}

static const void *faulty_peek(struct port *port, uint32_t slab, uint32_t page)
{
	const struct fault_rule *rule = port->spec.rule;

	if (!port->sync || rule[FAULT_READ].nth || rule[FAULT_CORRUPT].nth ||
	    rule[FAULT_HANG].nth || rule[FAULT_DIE].nth)
		return NULL;
	return port->ops->peek(port->inner, slab, page);
}

static int no_lane_fd(struct lane *lane)
{
	return -1;
}

static int faulty_clone_prepare(struct port *port, struct port_ticket *ret_ticket)
{
	int r = control_begin(port, FAULT_CLONE, EIO, "the preparation of a clone");

	return r ? r : control_end(port, port->ops->clone_prepare(port->inner, ret_ticket));
}

static void faulty_clone_release(struct port *port)
{
	port->ops->clone_release(port->inner);
}

static int faulty_clone_adopt(struct port *port, const struct port_ticket *ticket)
{
	int r;

	faulty_lanes_forget(port);
	/* always: what was inherited must be dropped, whatever follows */
	r = port->ops->clone_adopt(port->inner, ticket);
	if (!r)
		r = control_begin(port, FAULT_ADOPT, EPIPE, "the adoption of a clone");
	if (r)
		faulty_die(port, r == -ETIMEDOUT ? r : -EPIPE);
	return r;
}

#define FAULTY_OPS(its_name, its_flags, its_submit, its_lane_fd)                                \
	{                                                                                       \
		.size = sizeof(struct transport_ops), .name = (its_name), .flags = (its_flags), \
		.open = faulty_open, .close = faulty_close, .slab_grant = faulty_slab_grant,    \
		.slab_release = faulty_slab_release, .slab_shared = faulty_slab_shared,         \
		.info = faulty_info, .tick = faulty_tick, .lane_open = faulty_lane_open,        \
		.lane_close = faulty_lane_close, .submit = (its_submit), .flush = faulty_flush, \
		.poll = faulty_poll, .lane_fd = (its_lane_fd), .peek = faulty_peek,             \
		.clone_prepare = faulty_clone_prepare, .clone_release = faulty_clone_release,   \
		.clone_adopt = faulty_clone_adopt,                                              \
	}

const struct transport_ops transport_faulty =
	FAULTY_OPS("faulty", 0, faulty_submit, faulty_lane_fd);
const struct transport_ops transport_faultysync =
	FAULTY_OPS("faultysync", TRANSPORT_SYNC | TRANSPORT_PEEK, faulty_submit_sync, no_lane_fd);
