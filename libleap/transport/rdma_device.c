/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_device.c - the port's device context, its events, and registered memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/resource.h>

#include "libleap/error.h"
#include "libleap/log.h"
#include "libleap/transport/rdma_conn.h"
#include "libleap/uffd/pinned.h"
#include "libleap/util/fd.h"
#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

#define HUGE_BYTES ((size_t)2 << 20)

/* Memory node of the device, -1 when unknown. */
static int device_node(const struct ibv_device *device)
{
	char path[IBV_SYSFS_PATH_MAX + 32], text[16] = "";
	int node = 0, fd;

	fmt_print(path, sizeof(path), "%s/device/numa_node", device->ibdev_path);
	fd = (int)sys_ret(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
	if (fd < 0)
		return -1;
	if (syscall(SYS_read, fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	sys_close(fd);
	if (text[0] < '0' || text[0] > '9')
		return -1;
	for (const char *p = text; *p >= '0' && *p <= '9'; p++)
		node = node * 10 + (*p - '0');
	return node < 64 ? node : -1;
}

static void device_learn(struct rdma_device *device)
{
	struct ibv_device_attr attr;
	struct ibv_port_attr port;

	memset(&attr, 0, sizeof(attr));
	memset(&port, 0, sizeof(port));
	device->reads_max = 1;
	if (!RDMA(ibv_query_device)(device->verbs, &attr) && attr.max_qp_init_rd_atom > 0)
		device->reads_max = (uint32_t)attr.max_qp_init_rd_atom;
	if (!RDMA(ibv_query_port)(device->verbs, device->port_num,
				  (struct _compat_ibv_port_attr *)&port))
		device->mtu = 128u << port.active_mtu;
	device->node = device_node(device->verbs->device);
}

void rdma_device_own(struct ibv_context *verbs)
{
	if (fd_is_owned(verbs->cmd_fd))
		return;
	verbs->cmd_fd = fd_own(verbs->cmd_fd);
	verbs->async_fd = fd_own(verbs->async_fd);
}

int rdma_device_open(struct rdma_device *device, const struct rdma_cm_id *id, const char *text)
{
	struct ibv_context *verbs = RDMA(ibv_open_device)(id->verbs->device);
	int code;

	if (!verbs)
		return error_set(
			errno ? errno : ENODEV,
			"donor %s: cannot open the RDMA device %s (errno %d); are the "
			"/dev/infiniband/uverbs* files readable and writable for this user?",
			text, id->verbs->device->name, errno);
	verbs->cmd_fd = fd_own(verbs->cmd_fd);
	verbs->async_fd = fd_own(verbs->async_fd);
	fcntl(verbs->async_fd, F_SETFL, fcntl(verbs->async_fd, F_GETFL) | O_NONBLOCK);
	rdma_device_own(id->verbs);
	device->verbs = verbs;
	device->port_num = id->port_num;
	device->pd = RDMA(ibv_alloc_pd)(verbs);
	if (!device->pd) {
		code = errno ? errno : ENOMEM;
		rdma_device_close(device);
		return error_set(code,
				 "donor %s: the RDMA device gives no protection domain (errno %d)",
				 text, code);
	}
	device_learn(device);
	return 0;
}

void rdma_device_close(struct rdma_device *device)
{
	struct ibv_context *verbs = device->verbs;

	if (!verbs)
		return;
	if (device->pd)
		RDMA(ibv_dealloc_pd)(device->pd);
	fd_disown(verbs->cmd_fd);
	fd_disown(verbs->async_fd);
	RDMA(ibv_close_device)(verbs);
	memset(device, 0, sizeof(*device));
}

void rdma_device_forget(struct rdma_device *device)
{
	if (device->verbs) {
		fd_close(device->verbs->cmd_fd);
		fd_close(device->verbs->async_fd);
	}
	memset(device, 0, sizeof(*device));
}

int rdma_device_events(struct rdma_device *device, const char *text)
{
	struct ibv_async_event event;
	int r = 0;

	while (!RDMA(ibv_get_async_event)(device->verbs, &event)) {
		enum ibv_event_type type = event.event_type;

		if (type == IBV_EVENT_DEVICE_FATAL || type == IBV_EVENT_QP_FATAL ||
		    type == IBV_EVENT_QP_REQ_ERR || type == IBV_EVENT_QP_ACCESS_ERR ||
		    type == IBV_EVENT_CQ_ERR)
			r = -EPIPE;
		if (r || type == IBV_EVENT_PORT_ERR || type == IBV_EVENT_PORT_ACTIVE)
			log_warn("donor %s: RDMA device: %s", text, RDMA(ibv_event_type_str)(type));
		RDMA(ibv_ack_async_event)(&event);
	}
	return r;
}

static int memory_refused(const struct port *port, size_t bytes, int code)
{
	uint64_t need = (atomic_load(&port->registered_bytes) + bytes) >> 10;
	struct rlimit limit = {0};

	getrlimit(RLIMIT_MEMLOCK, &limit);
	if ((code == ENOMEM || code == EPERM || code == EAGAIN) && limit.rlim_cur != RLIM_INFINITY)
		return error_set(
			code,
			"donor %s: the system refuses to lock memory for RDMA: the limit is "
			"%luK (ulimit -l), this connection needs %luK and every further one "
			"as much; raise it, for example with 'ulimit -l unlimited' or memlock "
			"in /etc/security/limits.conf",
			port->text, (unsigned long)(limit.rlim_cur >> 10), (unsigned long)need);
	return error_set(code, "donor %s: the RDMA device refuses %luK of memory (errno %d)",
			 port->text, (unsigned long)(bytes >> 10), code);
}

static void *memory_map(size_t bytes, int node)
{
	unsigned long mask = node >= 0 ? 1ul << node : 0;
	void *base = NULL;

	if (bytes % HUGE_BYTES == 0)
		base = sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0, NULL);
	if (!base)
		base = sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0, NULL);
	if (!base)
		return NULL;
	sys_madvise(base, bytes, MADV_HUGEPAGE);
	sys_madvise(base, bytes, MADV_DONTFORK);
	if (mask)
		syscall(SYS_mbind, base, bytes, MPOL_PREFERRED, &mask, sizeof(mask) * 8, 0);
	return base;
}

static long pages_of(size_t bytes)
{
	return (long)((bytes + LEAP_PAGE_MASK) >> LEAP_PAGE_SHIFT);
}

int rdma_memory_open(struct rdma_memory *memory, struct port *port, size_t bytes)
{
	int code;

	memory->base = memory_map(bytes, port->device.node);
	memory->bytes = bytes;
	if (!memory->base)
		return error_set(ENOMEM, "donor %s: no memory for RDMA buffers", port->text);
	pinned_own_begin();
	/* (name)(): not the macro of verbs.h, which asks for more symbols */
	memory->mr =
		(rdma_lib.ibv_reg_mr)(port->device.pd, memory->base, bytes, IBV_ACCESS_LOCAL_WRITE);
	code = errno ? errno : ENOMEM;
	pinned_own_end(memory->mr ? pages_of(bytes) : 0);
	if (!memory->mr) {
		sys_munmap(memory->base, bytes);
		memory->base = NULL;
		return memory_refused(port, bytes, code);
	}
	atomic_fetch_add(&port->registered_bytes, bytes);
	return 0;
}

void rdma_memory_close(struct rdma_memory *memory, struct port *port)
{
	if (!memory->base)
		return;
	pinned_own_begin();
	RDMA(ibv_dereg_mr)(memory->mr);
	pinned_own_end(-pages_of(memory->bytes));
	sys_munmap(memory->base, memory->bytes);
	atomic_fetch_sub(&port->registered_bytes, memory->bytes);
	memory->base = NULL;
}
