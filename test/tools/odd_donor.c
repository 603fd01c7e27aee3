/* SPDX-License-Identifier: Apache-2.0 */
/*
 * odd_donor.c - a server on 127.0.0.1 that is no good donor. Prints its port, serves until killed.
 *
 * usage: odd_donor version|silent|web|closes
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libleap/proto.h"

static void other_version(int fd)
{
	struct proto_head head;
	struct proto_hello hello;
	struct proto_hello_ack ack = {.version = PROTO_VERSION + 1};

	if (recv(fd, &head, sizeof(head), MSG_WAITALL) != sizeof(head) ||
	    recv(fd, &hello, sizeof(hello), MSG_WAITALL) != sizeof(hello))
		return;
	head = proto_head_make(PROTO_HELLO_ACK, head.id, sizeof(ack));
	head.status = PROTO_VERSION_MISMATCH;
	snprintf(ack.sentence, sizeof(ack.sentence),
		 "client speaks version %d of the protocol, this donor version %d", PROTO_VERSION,
		 PROTO_VERSION + 1);
	send(fd, &head, sizeof(head), MSG_NOSIGNAL);
	send(fd, &ack, sizeof(ack), MSG_NOSIGNAL);
}

static void serve(int fd, const char *how)
{
	static const char page[] =
		"HTTP/1.0 400 Bad Request\r\n\r\nthis is a web server, not a donor\n";

	if (!strcmp(how, "version"))
		other_version(fd);
	else if (!strcmp(how, "web"))
		send(fd, page, sizeof(page) - 1, MSG_NOSIGNAL);
	else if (!strcmp(how, "silent"))
		return; /* keeps the connection */
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0), peer;

	alarm(240);
	if (argc != 2 || bind(fd, (struct sockaddr *)&addr, len) || listen(fd, 8) ||
	    getsockname(fd, (struct sockaddr *)&addr, &len))
		return 1;
	printf("%u\n", ntohs(addr.sin_port));
	fflush(stdout);
	while ((peer = accept(fd, NULL, NULL)) >= 0)
		serve(peer, argv[1]);
	return 0;
}
