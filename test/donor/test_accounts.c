/* SPDX-License-Identifier: Apache-2.0 */
/* What a donor lends is on its account until nobody has it any more, whoever that is. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "test/donor/harness.h"

#define SLABS 4u /* 256M */

static struct client joined(struct test_donor *d)
{
	struct client c;

	if (client_open(&c, d, CARRIER_SHM, 5000000000ull))
		fail_msg("%s", error_last());
	return c;
}

/* A process that keeps what is mapped here now, until it is killed. */
static pid_t keeper(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!pid)
		pause();
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* The session ends, the memory stays mapped: the donor has lent it still. */
static void test_kept_by_the_dropped(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", "--lazy", NULL);
	struct client c = joined(d);
	uint32_t slab;
	pid_t pid;

	assert_int_equal(client_grant_all(&c), SLABS);
	pid = keeper();
	client_close(&c);
	assert_true(donor_says(d, "' left: ", 10000 * (int)slow()));
	c = joined(d);
	assert_int_equal(c.ops->slab_grant(c.port, &slab), -ENOSPC);
	end(pid);
	assert_int_equal(client_grant_all(&c), SLABS);
	client_close(&c);
	donor_stop(d);
}

/* Likewise a slab that was given back: it is emptied, but it can be written again. */
static void test_kept_by_the_giver(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", "--lazy", NULL);
	struct client c = joined(d);
	uint32_t slab[SLABS], again;
	pid_t pid;

	for (unsigned i = 0; i < SLABS; i++)
		assert_int_equal(c.ops->slab_grant(c.port, &slab[i]), 0);
	pid = keeper();
	assert_int_equal(c.ops->slab_release(c.port, slab[0]), 0);
	assert_int_equal(c.ops->slab_grant(c.port, &again), -ENOSPC);
	end(pid);
	assert_int_equal(c.ops->slab_grant(c.port, &again), 0);
	/* and with nobody else, at once, however often */
	for (int i = 0; i < 50; i++) {
		assert_int_equal(c.ops->slab_release(c.port, again), 0);
		assert_int_equal(c.ops->slab_grant(c.port, &again), 0);
	}
	client_close(&c);
	donor_stop(d);
}

static int knock(struct test_donor *d)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(d->port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/*
 * Strangers that connect and say nothing take nothing from a client that is connected, nor keep another out. With 80
 * descriptors the donor has 40 connections at most, 20 of them strangers, and room for 32 slabs. (The limit stays: this is the
 * last test.)
 */
static void test_strangers(void **state)
{
	enum { STRANGERS = 38, STAY = 20 };
	struct rlimit few = {80, 80};
	struct test_donor *d;
	struct client c, later;
	int fd[STRANGERS];
	char byte;

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	d = donor_start("--memory", "2G", "--lazy", "--deadline", "60s", "--threads", "1", NULL);
	c = joined(d);
	for (int i = 0; i < STRANGERS; i++)
		fd[i] = knock(d);
	for (int i = 0; i < STRANGERS - STAY; i++) /* the oldest go */
		assert_int_equal(recv(fd[i], &byte, 1, 0), 0);
	assert_true(donor_says(d, "wait for their handshake", 10000 * (int)slow()));
	assert_int_equal(client_grant_all(&c), 32);
	later = joined(d);
	client_close(&later);
	for (int i = 0; i < STRANGERS; i++)
		close(fd[i]);
	client_close(&c);
	donor_stop(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_by_the_dropped),
		cmocka_unit_test(test_kept_by_the_giver),
		cmocka_unit_test(test_strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
