/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_lib.h - libibverbs and librdmacm, loaded when the first rdma:// donor is opened, so that programs which use
 * none neither load nor need them. What verbs.h has as inline functions over the context's own table (ibv_post_send(),
 * ibv_poll_cq(), ibv_req_notify_cq()) needs no symbol and is called as it is.
 */
#ifndef LEAP_TRANSPORT_RDMA_LIB_H
#define LEAP_TRANSPORT_RDMA_LIB_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#define RDMA_VERBS_SYMBOLS(X)       \
	X(ibv_open_device)          \
	X(ibv_close_device)         \
	X(ibv_query_device)         \
	X(ibv_query_port)           \
	X(ibv_alloc_pd)             \
	X(ibv_dealloc_pd)           \
	X(ibv_reg_mr)               \
	X(ibv_dereg_mr)             \
	X(ibv_create_comp_channel)  \
	X(ibv_destroy_comp_channel) \
	X(ibv_create_cq)            \
	X(ibv_destroy_cq)           \
	X(ibv_get_cq_event)         \
	X(ibv_ack_cq_events)        \
	X(ibv_create_qp)            \
	X(ibv_modify_qp)            \
	X(ibv_destroy_qp)           \
	X(ibv_get_async_event)      \
	X(ibv_ack_async_event)      \
	X(ibv_event_type_str)       \
	X(ibv_wc_status_str)        \
	X(ibv_fork_init)

#define RDMA_CM_SYMBOLS(X)            \
	X(rdma_create_event_channel)  \
	X(rdma_destroy_event_channel) \
	X(rdma_create_id)             \
	X(rdma_destroy_id)            \
	X(rdma_bind_addr)             \
	X(rdma_resolve_addr)          \
	X(rdma_resolve_route)         \
	X(rdma_connect)               \
	X(rdma_establish)             \
	X(rdma_disconnect)            \
	X(rdma_get_cm_event)          \
	X(rdma_ack_cm_event)          \
	X(rdma_init_qp_attr)

/* A member's name cannot stand in parentheses. NOLINTNEXTLINE(bugprone-macro-parentheses) */
#define RDMA_MEMBER(name) __typeof__(&(name)) name;

struct rdma_lib {
	RDMA_VERBS_SYMBOLS(RDMA_MEMBER)
	RDMA_CM_SYMBOLS(RDMA_MEMBER)
};

/* Filled by rdma_lib_load(). */
extern struct rdma_lib rdma_lib;
#define RDMA(name) (rdma_lib.name)

/* 0, or -errno with the sentence set, which names text. May call malloc. */
int rdma_lib_load(const char *text);

#endif
