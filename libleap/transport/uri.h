/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri.h - donor addresses as people write them.
 *
 *   loop:                                   a store inside the process
 *   shm:NAME                                a donor on this machine
 *   tcp://host:port,host:port               donors over TCP; [::1]:9400 for IPv6; port defaults to 9400
 *   tcp://2,host:port,host:port             the same with their number in front, which must be right
 *   rdma://host:port                        donors over RDMA; lists as with tcp
 *   auto://host:port                        the same over RDMA, or over TCP where that cannot be had
 * Several URIs may follow each other with ',' or ' ' between: "tcp://a:1,b:2,shm:x".
 * A scheme holds until the next one.
 */
#ifndef LEAP_TRANSPORT_URI_H
#define LEAP_TRANSPORT_URI_H

#include "libleap/transport/transport.h"

#define LEAP_DONORS_MAX   64
#define LEAP_DEFAULT_PORT 9400

/* Parses text into at most max entries. Returns how many (>= 1), or -EINVAL/-E2BIG/-EPROTONOSUPPORT with
 * the sentence set: which part, why, what would be right. No malloc. */
int uri_parse_list(const char *text, struct donor_uri *uris, int max);
/* Writes the canonical form of one; returns its length. */
size_t uri_format(const struct donor_uri *uri, char *buf, size_t size);

#endif
