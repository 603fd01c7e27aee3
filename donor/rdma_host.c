/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_host.c - the devices that clients come by: completions and asynchronous events. Main thread. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "donor/rdma_peer.h"
#include "donor/report.h"

#define RDMA_HOST_READS_MAX 16 /* outstanding READs granted to a lane */

void rdma_fd_nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

struct rdma_host *rdma_host_get(struct rdma_server *s, struct ibv_context *verbs)
{
	struct ibv_device_attr attr = {0};
	struct rdma_host *h;

	for (h = s->hosts; h; h = h->next)
		if (h->verbs == verbs)
			return h;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->verbs = verbs;
	h->reads_max = 1;
	if (!ibv_query_device(verbs, &attr) && attr.max_qp_rd_atom > 0)
		h->reads_max = (uint32_t)attr.max_qp_rd_atom;
	if (h->reads_max > RDMA_HOST_READS_MAX)
		h->reads_max = RDMA_HOST_READS_MAX;
	h->comp = ibv_create_comp_channel(verbs);
	if (!h->comp) {
		free(h);
		return NULL;
	}
	rdma_fd_nonblock(h->comp->fd);
	rdma_fd_nonblock(verbs->async_fd);
	rdma_watch(s, EPOLL_CTL_ADD, h->comp->fd, EPOLLIN, s);
	rdma_watch(s, EPOLL_CTL_ADD, verbs->async_fd, EPOLLIN, s);
	h->next = s->hosts;
	s->hosts = h;
	return h;
}

void rdma_host_completions(struct rdma_host *h)
{
	struct rdma_peer *p;
	struct ibv_cq *cq;
	void *context;

	while (!ibv_get_cq_event(h->comp, &cq, &context)) {
		p = context;
		ibv_ack_cq_events(cq, 1);
		if (p->ended)
			continue;
		if (ibv_req_notify_cq(cq, 0))
			rdma_peer_drop(p, "the device does not tell of completions");
		else
			rdma_peer_reap(p);
	}
}

static bool is_qp_error(enum ibv_event_type type)
{
	return type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_REQ_ERR ||
	       type == IBV_EVENT_QP_ACCESS_ERR;
}

void rdma_host_events(struct rdma_server *s, struct rdma_host *h)
{
	struct ibv_async_event event;

	while (!ibv_get_async_event(h->verbs, &event)) {
		enum ibv_event_type type = event.event_type;
		struct rdma_end *end = NULL;

		if (is_qp_error(type))
			end = event.element.qp->qp_context;
		ibv_ack_async_event(&event);
		if (end && !end->peer->ended)
			rdma_peer_drop(end->peer,
				       type == IBV_EVENT_QP_ACCESS_ERR
					       ? "it used an address or key that is not its own"
					       : ibv_event_type_str(type));
		else if (type == IBV_EVENT_PORT_ERR || type == IBV_EVENT_PORT_ACTIVE ||
			 type == IBV_EVENT_DEVICE_FATAL)
			report_warn("rdma device %s: %s", h->verbs->device->name,
				    ibv_event_type_str(type));
		if (type == IBV_EVENT_DEVICE_FATAL)
			for (struct rdma_peer *p = s->peers, *next; p; p = next) {
				next = p->next;
				if (p->host == h)
					rdma_peer_drop(p, "the RDMA device failed");
			}
	}
}
