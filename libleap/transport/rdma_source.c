/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_source.c - the local address that stands for the device the user named. The connection manager takes a device by
 * its addresses, never by its name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/transport/rdma_conn.h"
#include "libleap/util/parse.h"

int rdma_wish_parse(const char *text, struct rdma_wish *ret_wish)
{
	const char *colon = text ? strchr(text, ':') : NULL;
	size_t n = colon ? (size_t)(colon - text) : text ? strlen(text) : 0;
	uint32_t port = 0;

	memset(ret_wish, 0, sizeof(*ret_wish));
	if (!text || !*text)
		return 0;
	if (!n || n >= sizeof(ret_wish->name) ||
	    (colon && (parse_u32(colon + 1, "", &port) || !port || port > UINT8_MAX)))
		return error_set(EINVAL,
				 "rdma_device: '%s' is not NAME or NAME:PORT, for example mlx5_0:1",
				 text);
	memcpy(ret_wish->name, text, n);
	ret_wish->port_num = (uint8_t)port;
	return 0;
}

bool rdma_wish_is(const struct rdma_wish *wish, const struct rdma_cm_id *id)
{
	if (!wish->name[0])
		return true;
	return id->verbs && !strcmp(id->verbs->device->name, wish->name) &&
	       (!wish->port_num || wish->port_num == id->port_num);
}

int rdma_wish_failed(const struct rdma_wish *wish, const char *text)
{
	return error_set(
		ENODEV,
		wish->port_num ? "donor %s: it is not reached from RDMA device %s port %u (option "
				 "rdma_device): the device is not there, or has no address of this "
				 "kind; 'rdma link' lists devices; without the option the route "
				 "decides"
			       : "donor %s: it is not reached from RDMA device %s (option "
				 "rdma_device): the device is not there, or has no address of this "
				 "kind; 'rdma link' lists devices; without the option the route "
				 "decides",
		text, wish->name, (unsigned)wish->port_num);
}

static socklen_t address_bytes(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static bool is_of_wish(struct rdma_event_channel *events, const struct rdma_wish *wish,
		       struct sockaddr *sa)
{
	struct rdma_cm_id *id;
	bool is;

	if (RDMA(rdma_create_id)(events, &id, NULL, RDMA_PS_TCP))
		return false;
	is = !RDMA(rdma_bind_addr)(id, sa) && id->verbs && rdma_wish_is(wish, id);
	if (id->verbs)
		rdma_device_own(id->verbs);
	RDMA(rdma_destroy_id)(id);
	return is;
}

int rdma_source_choose(struct port *port)
{
	struct rdma_event_channel *events;
	struct ifaddrs *list, *i;

	memset(&port->source, 0, sizeof(port->source));
	if (!port->wish.name[0])
		return 0;
	if (getifaddrs(&list))
		return error_set(errno,
				 "donor %s: this machine's addresses cannot be listed (errno %d)",
				 port->text, errno);
	events = RDMA(rdma_create_event_channel)();
	for (i = events ? list : NULL; i; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == port->sa.ss_family &&
		    is_of_wish(events, &port->wish, i->ifa_addr))
			break;
	if (i)
		memcpy(&port->source, i->ifa_addr, address_bytes(i->ifa_addr));
	if (events)
		RDMA(rdma_destroy_event_channel)(events);
	freeifaddrs(list);
	return i ? 0 : rdma_wish_failed(&port->wish, port->text);
}
