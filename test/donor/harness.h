/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.h - starts real donors for tests, and drives transports against them.
 *
 * The program is $LEAP_DONOR, or leap-donor beside the test program or in ../../bin. Everything
 * listens on loopback with a port of the kernel's choice, or on unix names with this process's id
 * in them.
 */
#ifndef TEST_DONOR_HARNESS_H
#define TEST_DONOR_HARNESS_H

#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <cmocka.h>

#include "libleap/transport/transport.h"

struct test_donor {
	pid_t pid;
	int log_fd;         /* its stderr */
	uint16_t port;      /* of the first tcp address */
	uint16_t port6;     /* of [::1], 0 when there is none */
	uint16_t port_rdma; /* of $LEAP_TEST_RDMA, 0 when that is not set */
	char shm[64];
	char log[65536]; /* what it said so far */
	size_t log_bytes;
};

/* The address of an RDMA device of this machine, NULL where the tests were told of none. */
#define TEST_RDMA getenv("LEAP_TEST_RDMA")

/* Starts one on tcp 127.0.0.1, [::1] where it exists, TEST_RDMA, and shm; extra options end with NULL. Fails
 * the test when it does not become ready. */
struct test_donor *donor_start(const char *option, ...);
/* Runs the donor with exactly these options until it exits; returns its exit status, output in
 * buf. */
int donor_run(char *buf, size_t size, const char *option, ...);
/* Reads what it says until `text` appears; false after ms milliseconds. */
bool donor_says(struct test_donor *donor, const char *text, int ms);
/* Waits for its end; returns its exit status, or 128 + signal. -1 after ms. */
int donor_wait(struct test_donor *donor, int ms);
/* SIGSTOP; returns when all of it stands still. */
void donor_pause(struct test_donor *donor);
/* SIGKILL if it still runs, and frees. */
void donor_free(struct test_donor *donor);
/* SIGTERM twice; asserts a clean exit; frees. */
void donor_stop(struct test_donor *donor);

enum carrier { CARRIER_URING, CARRIER_PLAIN, CARRIER_PLAIN6, CARRIER_SHM, CARRIERS };
extern const char *const carrier_name[CARRIERS];

struct client {
	const struct transport_ops *ops;
	struct port *port;
	struct lane *lane; /* NULL until client_lane() */
};

#define TEST_DEADLINE_NS 1000000000ull

/* Opens a port; returns what open() said. */
int client_open(struct client *client, struct test_donor *donor, enum carrier carrier,
		uint64_t deadline_ns);
void client_close(struct client *client);
/* Asks for slabs until the donor has none; returns how many it gave. */
unsigned client_grant_all(struct client *client);

/* One io, waited for (at most 10 s); returns its status. */
int lane_do(const struct transport_ops *ops, struct lane *lane, enum io_op op, uint32_t slab,
	    uint32_t page, uint32_t npages, void *buf);
/* Page aligned, zeroed. */
void *pages_new(unsigned npages);
void pages_free(void *p, unsigned npages);
/* Fills or checks a page by a pattern of its own. */
void page_fill(void *page, uint64_t seed);
bool page_is(const void *page, uint64_t seed);
bool page_is_zero(const void *page);
void sleep_ms(int ms);
/* How many times slower this machine is than most ($LEAP_TEST_SLOW, 1): tests take more time and do less. */
unsigned slow(void);
/* That, times how much less than that is enough ($LEAP_TEST_LESS, 1): tests do so many times less. */
unsigned less(void);
uint64_t now_ns(void);

#endif
