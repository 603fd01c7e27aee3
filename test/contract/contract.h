/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contract.h - what transport.h promises, checked for every transport by the same tests.
 *
 * A *subject* is a transport with a way to reach a donor; all of them stand in one table (subjects.c), and a
 * new one is a line there. The tests know a subject by its flags only.
 */
#ifndef TEST_CONTRACT_H
#define TEST_CONTRACT_H

#include "test/donor/harness.h"

struct subject {
	const char *name;
	const char *uri; /* $TCP, $TCP6, $RDMA and $SHM are addresses of a donor started for it */
	bool io_uring, compress;
};

extern const struct subject *subject; /* whose turn it is */
extern struct test_donor *donor;      /* NULL when the subject needs none */

/* The n-th subject of the table, or NULL. */
const struct subject *subject_get(unsigned n);
/* Starts a donor for it if it wants one (not global). Needs donor_free(). */
struct test_donor *subject_donor(void);
/* Does the donor's program take no part in reads and writes? */
bool subject_one_sided(void);
/* Is there what it wants (IPv6, an RDMA device)? */
bool subject_possible(void);
/* Opens a port to the donor; returns what open() said. */
int subject_open(struct test_donor *to, uint64_t deadline_ns, struct client *ret_client);
/* The same with the common donor and a demand lane; fails the test when that does not work. */
struct client contract_open(void);
struct client contract_open_to(struct test_donor *to, uint64_t deadline_ns);
uint32_t contract_grant(struct client *c);
struct lane *contract_lane(struct client *c, enum lane_kind kind);

/*
 * Calls that note which lane this thread is inside of. watched_done() is for io.done: it counts in aux[0], and
 * in watch_bad if the io's lane (found by watch()) is not the one.
 */
extern _Atomic unsigned watch_bad;
void watch_submit(struct client *c, struct lane *lane, struct io *io);
void watch_flush(struct client *c, struct lane *lane);
int watch_poll(struct client *c, struct lane *lane);
void watch_close(struct client *c, struct lane *lane);
/* The lane this thread is inside of, or NULL. */
struct lane *watch_inside(void);

/* Polls the lane, sleeping on its descriptor, until *count is upto; false after ms. */
bool contract_drive(struct client *c, struct lane *lane, const unsigned *count, unsigned upto,
		    int ms);

/* The tests, by file. */
void test_operations(void **state);
void test_fresh_is_zero(void **state);
void test_sizes(void **state);
void test_bad_requests(void **state);
void test_lanes_agree(void **state);
void test_order(void **state);
void test_stress(void **state);

void test_done(void **state);
void test_chain(void **state);
void test_depth(void **state);
void test_cancel(void **state);
void test_cancel_resubmit(void **state);
void test_descriptor(void **state);
void test_hand_over(void **state);

void test_slabs(void **state);
void test_zeroed_again(void **state);
void test_full(void **state);
void test_info(void **state);
void test_peek(void **state);
void test_tick(void **state);

void test_clone(void **state);
void test_clone_of_clone(void **state);
void test_ticket(void **state);

void test_kill(void **state);
void test_stop(void **state);
void test_idle(void **state);
void test_sleeper_is_woken(void **state);

#endif
