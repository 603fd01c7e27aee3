/* SPDX-License-Identifier: Apache-2.0 */
/* What single transports do beyond transport.h (test/contract has that): refusals, and a forbidden io_uring. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "test/donor/harness.h"

static struct test_donor *donor;

static int group_setup(void **state)
{
	donor = donor_start("--memory", "1G", NULL);
	return 0;
}

static int group_teardown(void **state)
{
	donor_stop(donor);
	return 0;
}

/* Where io_uring is forbidden, as in most containers, the lanes use sockets. */
static int without_uring(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = filter};
	uint8_t *buf = pages_new(2);
	struct port_info info;
	struct client c;
	uint32_t slab;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 10;
	if (client_open(&c, donor, CARRIER_URING, 5000000000ull) ||
	    c.ops->lane_open(c.port, LANE_DEMAND, &c.lane) || c.ops->slab_grant(c.port, &slab))
		return 11;
	page_fill(buf, 1);
	if (lane_do(c.ops, c.lane, IO_WRITE, slab, 0, 1, buf) ||
	    lane_do(c.ops, c.lane, IO_READ, slab, 0, 1, buf + 4096) || !page_is(buf + 4096, 1))
		return 12;
	if (c.ops->info(c.port, false, &info) || !strstr(info.text, "sockets"))
		return 13;
	client_close(&c);
	return 0;
}

static void test_uring_refused(void **state)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(without_uring());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_refusals(void **state)
{
	struct transport_params params = {.deadline_ns = 300000000, .client_name = "test"};
	struct donor_uri uri = {.scheme = "tcp", .host = "127.0.0.1", .port = 1};
	struct port *port;

	assert_int_equal(transport_tcp.open(&uri, &params, &port), -ECONNREFUSED);
	assert_non_null(strstr(error_last(), "127.0.0.1:1"));
	strcpy(uri.host, "no-such-host.invalid");
	assert_true(transport_tcp.open(&uri, &params, &port) < 0);
	strcpy(uri.host, "@no-such-donor");
	assert_int_equal(transport_shm.open(&uri, &params, &port), -ECONNREFUSED);
	strcpy(uri.host, "no-such-donor");
	assert_int_equal(transport_shm.open(&uri, &params, &port), -ENOENT);
	memset(uri.host, 'x', 200);
	assert_true(transport_shm.open(&uri, &params, &port) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_uring_refused),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
