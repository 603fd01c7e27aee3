/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_conn.h - ports, lanes and what both stand on: the device, and a link, which is one reliable connection with a
 * completion queue and an event channel of its own.
 *
 * Links are made on a device context of the port's own, not on the one that librdmacm keeps for the whole process: after
 * fork() the child must open everything anew, and librdmacm's context is the parent's for ever. So the queue pair is
 * moved through its states here, with the attributes that the connection manager gives.
 *
 * The device never sees the pager's buffers. Requests go through a staging pool of the lane, registered once and kept
 * out of fork(): a request that failed is done at once, whatever the device still does with the pool.
 */
#ifndef LEAP_TRANSPORT_RDMA_CONN_H
#define LEAP_TRANSPORT_RDMA_CONN_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "libleap/lock.h"
#include "libleap/transport/ctl.h"
#include "libleap/transport/io_list.h"
#include "libleap/transport/late.h"
#include "libleap/transport/rdma_lib.h"
#include "libleap/transport/rdma_proto.h"
#include "libleap/transport/rdma_queue.h"
#include "libleap/transport/transport.h"

#define RDMA_READS_MAX \
	16 /* outstanding READs asked for; the device and the donor may allow fewer */

struct rdma_device {
	struct ibv_context *verbs; /* NULL: not open */
	struct ibv_pd *pd;
	uint32_t reads_max; /* that this device can have outstanding */
	uint8_t port_num;
	unsigned mtu;
	int node; /* memory node, or -1 */
};

/* What option rdma_device says; no name: whatever device the route leads to. */
struct rdma_wish {
	char name[64];
	uint8_t port_num; /* 0: any */
};

struct rdma_link {
	struct rdma_event_channel *events;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *comp;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	uint32_t reads_max;  /* agreed on */
	uint32_t inline_max; /* bytes that a SEND can carry itself */
	long pinned;         /* pages of the queues, of devices that have them in our memory */
};

/* Registered memory that a fork() does not share. */
struct rdma_memory {
	uint8_t *base;
	size_t bytes;
	struct ibv_mr *mr;
};

/* Where a slab is; address 0: the port does not hold it. Written by the control thread. */
struct rdma_key {
	_Atomic uint64_t address;
	_Atomic uint32_t key;
};

struct lane {
	struct port *port;
	struct lane *prev, *next; /* of the port; its lock */
	enum lane_kind kind;
	struct rdma_link link;
	struct rdma_memory pool;
	struct rdma_queue credits;
	struct io_list queue, done;
	int failed; /* 0, or what all ios get from now on */
	bool delivering;
	int epoll_fd; /* around the two channels and wake_fd: what lane_fd() gives */
	int wake_fd;  /* readable: look here */
	bool armed;   /* the completion queue will tell; wake_fd is not set */
	uint32_t idle_polls;
	struct late late;
	_Atomic uint64_t bytes_read, bytes_written; /* one writer */
	struct ibv_send_wr wr[RDMA_DEPTH];
	struct ibv_sge sge[RDMA_DEPTH];
	struct rdma_slot *slot[RDMA_DEPTH];
};

/* The control connection: messages in and out. */
struct rdma_ctl {
	struct rdma_link link;
	struct rdma_memory memory; /* RDMA_RECVS to receive into, as many to send from */
	uint64_t sent, sent_done;  /* messages */
	uint32_t arrived[RDMA_RECVS], arrived_bytes[RDMA_RECVS]; /* not yet read, a ring */
	uint32_t arrived_first, arrived_count;
	uint32_t read_bytes; /* of the first */
};

struct port {
	struct transport_params params;
	struct donor_uri uri;
	struct sockaddr_storage sa; /* the address that worked */
	struct rdma_wish wish;
	struct sockaddr_storage source; /* ours, of the device that was wished for; or family 0 */
	char text[300];
	_Atomic int dead; /* 0, -EPIPE, -ETIMEDOUT */
	struct rdma_device device;
	struct ctl control;
	struct rdma_ctl ctl;
	struct rdma_key *keys; /* PROTO_SLABS_MAX */
	uint32_t keys_end;
	struct lock lock; /* lanes */
	struct lane *lanes;
	unsigned nlanes;
	_Atomic uint64_t bytes_read, bytes_written; /* of closed lanes */
	_Atomic uint64_t registered_bytes;
};

/* Marks the port dead with code (-EPIPE, -ETIMEDOUT) and wakes all who wait for it. Any thread. */
void rdma_port_die(struct port *port, int code);

/* rdma_cm.c: a connection to port->sa, with room for so many work requests. prepare is called when receive buffers can be
 * posted (may be NULL). The first one opens the port's device. Sets the sentence. */
int rdma_link_open(struct rdma_link *link, struct port *port, struct rdma_hello hello,
		   uint32_t sends, uint32_t recvs, int (*prepare)(struct port *port),
		   uint64_t end_ns);
void rdma_link_close(struct rdma_link *link);
/* After fork(): lets go of the descriptors, and forgets. */
void rdma_link_forget(struct rdma_link *link);
/* Reads what the connection manager has to say; never blocks. 0, or -EPIPE: the connection is gone. */
int rdma_link_events(struct rdma_link *link);

/* rdma_source.c */
int rdma_wish_parse(const char *text, struct rdma_wish *ret_wish);
/* Is the id on that device? */
bool rdma_wish_is(const struct rdma_wish *wish, const struct rdma_cm_id *id);
/* Sets the sentence; -ENODEV. */
int rdma_wish_failed(const struct rdma_wish *wish, const char *text);
/* Sets port->source for port->sa. May call malloc. */
int rdma_source_choose(struct port *port);

/* rdma_device.c */
/* The descriptors of librdmacm's own context, which lives as long as the process, become the pager's. */
void rdma_device_own(struct ibv_context *verbs);
int rdma_device_open(struct rdma_device *device, const struct rdma_cm_id *id, const char *text);
void rdma_device_close(struct rdma_device *device);
void rdma_device_forget(struct rdma_device *device);
/* Asynchronous events. 0, or -EPIPE: the device or a queue pair is broken. */
int rdma_device_events(struct rdma_device *device, const char *text);
int rdma_memory_open(struct rdma_memory *memory, struct port *port, size_t bytes);
void rdma_memory_close(struct rdma_memory *memory, struct port *port);

/* rdma_ctl.c: the control connection over a link; the carrier of ctl.h. */
int rdma_ctl_open(struct port *port, enum proto_kind kind, const uint8_t *ticket, uint64_t end_ns);
void rdma_ctl_close(struct port *port);
void rdma_ctl_forget(struct port *port);

/* rdma_lane.c */
int rdma_lane_open(struct port *port, enum lane_kind kind, struct lane **ret_lane);
void rdma_lane_close(struct lane *lane);
void rdma_lane_forget(struct lane *lane);
void rdma_submit(struct lane *lane, struct io *io);
void rdma_flush(struct lane *lane);
int rdma_poll(struct lane *lane);
int rdma_lane_fd(struct lane *lane);

#endif
