/* SPDX-License-Identifier: Apache-2.0 */
/* A donor that is alive answers, whatever its data, its housekeeping or its log wait for. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libleap/error.h"
#include "test/donor/harness.h"

#define THREADS_MAX 32
#define ASKED       200
#define TICKS       30 /* one deadline and a half */

static uint64_t deadline_ns(void)
{
	return TEST_DEADLINE_NS * slow();
}

static struct client joined(struct test_donor *d, enum carrier carrier)
{
	struct client c;

	if (client_open(&c, d, carrier, deadline_ns()))
		fail_msg("%s", error_last());
	return c;
}

struct thread {
	pid_t tid;
	unsigned long slept; /* how often, so far */
};

static unsigned long times_slept(pid_t pid, pid_t tid)
{
	char path[64], line[128];
	unsigned long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "voluntary_ctxt_switches: %lu", &n);
	if (f)
		fclose(f);
	return n;
}

static unsigned threads_list(pid_t pid, struct thread *ret)
{
	struct dirent *entry;
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)) && n < THREADS_MAX) {
		if (entry->d_name[0] == '.')
			continue;
		ret[n].tid = atoi(entry->d_name);
		ret[n].slept = times_slept(pid, ret[n].tid);
		n++;
	}
	closedir(dir);
	return n;
}

/* The thread that serves what is asked: it sleeps between two, more often than all others. */
static pid_t thread_of(struct test_donor *d, struct client *c, bool data, uint32_t slab)
{
	struct thread threads[THREADS_MAX];
	unsigned n = threads_list(d->pid, threads);
	void *page = pages_new(1);
	struct port_info info;
	unsigned long most = 0;
	pid_t found = 0;

	for (int i = 0; i < ASKED; i++) {
		if (data)
			assert_int_equal(lane_do(c->ops, c->lane, IO_READ, slab, 0, 1, page), 0);
		else
			assert_int_equal(c->ops->info(c->port, true, &info), 0);
		sleep_ms(2);
	}
	for (unsigned i = 0; i < n; i++) {
		if (times_slept(d->pid, threads[i].tid) - threads[i].slept > most) {
			most = times_slept(d->pid, threads[i].tid) - threads[i].slept;
			found = threads[i].tid;
		}
	}
	assert_true(found);
	pages_free(page, 1);
	return found;
}

/* One thread stands still, as in a long operation of the kernel. False: this process may not. */
static bool hold(pid_t tid)
{
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL)) {
		assert_int_equal(errno, EPERM);
		return false;
	}
	assert_int_equal(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL), 0);
	assert_int_equal(waitpid(tid, NULL, __WALL), tid);
	return true;
}

/* Nobody loses this donor. */
static void stays(struct client *c)
{
	for (int i = 0; i < TICKS; i++) {
		if (c->ops->tick(c->port))
			fail_msg("tick %d: %s", i, error_last());
		sleep_ms((int)(deadline_ns() / 1000000 / 20));
	}
}

/* The thread that moves pages stands still, and those that keep house: one leaves, one comes, one stays. */
static void test_data_waits(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", "--threads", "1", NULL);
	struct client bulk = joined(d, CARRIER_PLAIN), other = joined(d, CARRIER_PLAIN);
	struct client leaves = joined(d, CARRIER_PLAIN), comes;
	struct thread threads[THREADS_MAX];
	void *page = pages_new(1);
	pid_t data, answers;
	uint32_t slab, left;
	unsigned n;

	assert_int_equal(bulk.ops->slab_grant(bulk.port, &slab), 0);
	assert_int_equal(bulk.ops->lane_open(bulk.port, LANE_DEMAND, &bulk.lane), 0);
	assert_int_equal(leaves.ops->slab_grant(leaves.port, &left), 0);
	data = thread_of(d, &bulk, true, slab);
	answers = thread_of(d, &other, false, 0);
	n = threads_list(d->pid, threads);
	for (unsigned i = 0; i < n; i++) {
		if (threads[i].tid == d->pid || (threads[i].tid == answers && answers != data))
			threads[i].tid = 0; /* the main thread lets clients in */
		else if (!hold(threads[i].tid))
			skip();
	}
	client_close(&leaves);
	comes = joined(d, CARRIER_PLAIN);
	stays(&other);
	assert_int_equal(other.ops->slab_grant(other.port, &left), 0);
	assert_int_equal(comes.ops->tick(comes.port), 0);
	for (unsigned i = 0; i < n; i++)
		if (threads[i].tid)
			assert_int_equal(ptrace(PTRACE_DETACH, threads[i].tid, NULL, NULL), 0);
	assert_int_equal(lane_do(bulk.ops, bulk.lane, IO_READ, slab, 0, 1, page), 0);
	client_close(&comes);
	client_close(&other);
	client_close(&bulk);
	pages_free(page, 1);
	donor_stop(d);
}

/* Nobody reads what the donor says: it serves, and says later how much was lost. */
static void test_log_is_full(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", "--threads", "1", NULL);
	struct client stay = joined(d, CARRIER_PLAIN), c;

	assert_true(fcntl(d->log_fd, F_SETPIPE_SZ, 4096) > 0);
	for (int i = 0; i < 1000; i++) {
		c = joined(d, CARRIER_PLAIN);
		client_close(&c);
	}
	assert_int_equal(stay.ops->tick(stay.port), 0);
	assert_true(donor_says(d, "lines are missing", 10000 * (int)slow()));
	client_close(&stay);
	donor_stop(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data_waits),
		cmocka_unit_test(test_log_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
