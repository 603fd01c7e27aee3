/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Donors that go on talking and do not answer. The deadline ends every call all the same: what it says then differs
 * from what it says when the donor hangs up, which each of them does after GIVE_UP_MS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/proto.h"
#include "libleap/util/run_clock.h"
#include "libleap/util/sys.h"
#include "test/donor/harness.h"

#define DEADLINE_NS 1000000000ull
#define GIVE_UP_MS  10000
#define BYTE_MS     100 /* between two bytes of one that sends them singly */

enum oddity {
	SLOW_HELLO,   /* its answer to HELLO comes in single bytes */
	SLOW_ANSWERS, /* the answer to a request does */
	TALKATIVE,    /* notices all the time, and answers to PING */
	SILENT,       /* nothing after HELLO */
};

struct odd {
	enum oddity how;
	int listener;
	uint16_t port;
	pthread_t thread;
};

static void say(int fd, const void *bytes, size_t n, bool slowly)
{
	for (size_t i = 0; slowly && i < n && i < GIVE_UP_MS / BYTE_MS; i++) {
		send(fd, (const char *)bytes + i, 1, MSG_NOSIGNAL);
		usleep(BYTE_MS * 1000);
	}
	if (!slowly)
		send(fd, bytes, n, MSG_NOSIGNAL);
}

static void hello(int fd, bool slowly)
{
	struct {
		struct proto_head head;
		struct proto_hello hello;
	} in;
	struct {
		struct proto_head head;
		struct proto_hello_ack ack;
	} out = {.ack = {.version = PROTO_VERSION, .session = 1, .slab_bytes = LEAP_SLAB_BYTES}};

	recv(fd, &in, sizeof(in), MSG_WAITALL);
	out.head = proto_head_make(PROTO_HELLO_ACK, in.head.id, sizeof(out.ack));
	proto_head_order(&out.head);
	proto_hello_ack_order(&out.ack);
	say(fd, &out, sizeof(out), slowly);
}

/* Answers to PING; notices between. */
static void talk(int fd)
{
	struct {
		struct proto_head head;
		struct proto_info info;
	} pong = {.info = {.free_bytes = 1u << 30}};
	char notices[64 * (sizeof(struct proto_head) + 2)];
	struct proto_head head = proto_head_make(PROTO_NOTICE, 0, 2), in;
	uint64_t end = clock_ns() + GIVE_UP_MS * 1000000ull;

	proto_head_order(&head);
	for (int i = 0; i < 64; i++) {
		memcpy(notices + (size_t)i * (sizeof(head) + 2), &head, sizeof(head));
		memcpy(notices + (size_t)i * (sizeof(head) + 2) + sizeof(head), "hi", 2);
	}
	while (clock_ns() < end) {
		if (send(fd, notices, sizeof(notices), MSG_NOSIGNAL) < 0)
			return;
		if (recv(fd, &in, sizeof(in), MSG_DONTWAIT) != sizeof(in))
			continue;
		proto_head_order(&in);
		if (in.type != PROTO_PING)
			continue;
		pong.head = proto_head_make(PROTO_PING, in.id, sizeof(pong.info));
		proto_head_order(&pong.head);
		send(fd, &pong, sizeof(pong), MSG_NOSIGNAL);
	}
}

static void answer_slowly(int fd)
{
	struct proto_head head;

	recv(fd, &head, sizeof(head), MSG_WAITALL);
	say(fd, &head, sizeof(head), true);
}

static void *odd_main(void *arg)
{
	struct odd *odd = arg;
	int fd = accept(odd->listener, NULL, NULL);

	hello(fd, odd->how == SLOW_HELLO);
	if (odd->how == SLOW_ANSWERS)
		answer_slowly(fd);
	else if (odd->how == TALKATIVE)
		talk(fd);
	else if (odd->how == SILENT) {
		struct timeval most = {GIVE_UP_MS / 1000, 0};
		char byte;

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
		while (recv(fd, &byte, 1, 0) > 0)
			;
	}
	close(fd);
	return NULL;
}

static void odd_start(struct odd *odd, enum oddity how)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);

	odd->how = how;
	odd->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(odd->listener, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(odd->listener, 4), 0);
	assert_int_equal(getsockname(odd->listener, (struct sockaddr *)&sa, &len), 0);
	odd->port = ntohs(sa.sin_port);
	assert_int_equal(pthread_create(&odd->thread, NULL, odd_main, odd), 0);
}

static void odd_stop(struct odd *odd)
{
	pthread_join(odd->thread, NULL);
	close(odd->listener);
}

static int open_port(const struct odd *odd, const uint64_t *call_end_ns, struct port **ret_port)
{
	struct transport_params params = {
		.deadline_ns = DEADLINE_NS, .client_name = "test", .call_end_ns = call_end_ns};
	struct donor_uri uri = {.scheme = "tcp", .host = "127.0.0.1", .port = odd->port};

	return transport_tcp.open(&uri, &params, ret_port);
}

static void test_slow_hello(void **state)
{
	struct port *port;
	struct odd odd;

	odd_start(&odd, SLOW_HELLO);
	assert_int_equal(open_port(&odd, NULL, &port), -ETIMEDOUT);
	odd_stop(&odd);
}

static void grant_times_out(enum oddity how)
{
	struct port *port;
	struct odd odd;
	uint32_t slab;

	odd_start(&odd, how);
	assert_int_equal(open_port(&odd, NULL, &port), 0);
	assert_int_equal(transport_tcp.slab_grant(port, &slab), -ETIMEDOUT);
	assert_int_equal(transport_tcp.tick(port), -ETIMEDOUT);
	transport_tcp.close(port);
	odd_stop(&odd);
}

static void test_slow_answers(void **state)
{
	grant_times_out(SLOW_ANSWERS);
}

static void test_talkative(void **state)
{
	grant_times_out(TALKATIVE);
}

/* Ticks alone find it, too: a talkative donor keeps no tick from ending. */
static void test_talkative_tick(void **state)
{
	struct port *port;
	struct odd odd;

	odd_start(&odd, TALKATIVE);
	assert_int_equal(open_port(&odd, NULL, &port), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(transport_tcp.tick(port), 0);
	transport_tcp.close(port);
	odd_stop(&odd);
}

/* Four silent donors are asked one after the other within one deadline. The first one has had all of it, the others answer neither to what they
 * were asked when it began; in the end all are known to be dead, after the time of one. */
static void test_silent_together(void **state)
{
	struct odd odd[4];
	struct port *port[4];
	uint64_t end_ns = 0, begin;
	int dead = 0;

	for (int i = 0; i < 4; i++) {
		odd_start(&odd[i], SILENT);
		assert_int_equal(open_port(&odd[i], &end_ns, &port[i]), 0);
	}
	begin = run_clock_ns();
	for (int round = 0; round < 8 && dead < 4; round++) {
		end_ns = run_clock_ns() + DEADLINE_NS;
		for (int i = 0; i < 4; i++)
			transport_tcp.tick(port[i]);
		dead = 0;
		for (int i = 0; i < 4; i++) {
			uint32_t slab;
			int r = transport_tcp.slab_grant(port[i], &slab);

			assert_true(r == -ETIMEDOUT || r == -EAGAIN);
			dead += r == -ETIMEDOUT;
		}
	}
	assert_int_equal(dead, 4);
	assert_true(run_clock_ns() - begin < 3 * DEADLINE_NS);
	for (int i = 0; i < 4; i++) {
		transport_tcp.close(port[i]);
		odd_stop(&odd[i]);
	}
}

/* A process that was stopped heard nothing because it did not listen. */
static void test_stopped_client(void **state)
{
	struct port *port;
	struct odd odd;
	int status;
	pid_t pid;

	odd_start(&odd, SILENT);
	assert_int_equal(open_port(&odd, NULL, &port), 0);
	pid = fork();
	if (!pid) {
		for (int i = 0; i < 4; i++) { /* the ping is sent */
			usleep(100000);
			if (transport_tcp.tick(port))
				_exit(1);
		}
		raise(SIGSTOP);
		_exit(transport_tcp.tick(port) != 0);
	}
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	usleep(2 * DEADLINE_NS / 1000);
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	transport_tcp.close(port);
	odd_stop(&odd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow_hello),      cmocka_unit_test(test_slow_answers),
		cmocka_unit_test(test_talkative),       cmocka_unit_test(test_talkative_tick),
		cmocka_unit_test(test_silent_together), cmocka_unit_test(test_stopped_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
