/* SPDX-License-Identifier: Apache-2.0 */
/* Run-time control: limit, policies, remote path, donors. */
#include "api.h"

#include <errno.h>
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES 8192

static char *filled(struct leap *leap)
{
	struct leap_region *r;

	assert_ok(leap_region_create(leap, PAGES * PAGE, &r));
	range_write(leap_region_addr(r), PAGES, 1);
	return leap_region_addr(r);
}

static uint64_t local_bytes(struct leap *leap)
{
	struct leap_stats st = stats(leap);

	return (st.local_pages + st.limbo_pages + st.staged_pages) * PAGE + st.overhead_bytes;
}

/* The limit follows while the program runs, in bytes and in percent. */
static void test_limit(void **state)
{
	static const char *const limits[] = {"24M", "12M", "50%", "25%", "64M", "10M"};
	struct leap *leap = session("local=16M", NULL);
	char *base = filled(leap), text[32];

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		assert_ok(leap_set(leap, "local", limits[i]));
		assert_ok(leap_get(leap, "local", text, sizeof(text)));
		assert_string_equal(text, limits[i]);
		range_check(base, PAGES, 1);
		for (int k = 0; k < 200 && local_bytes(leap) > stats(leap).limit_bytes; k++)
			usleep(10000);
		assert_true(local_bytes(leap) <= stats(leap).limit_bytes);
	}
	assert_int_equal(leap_set(leap, "local", "1M"), -ERANGE);
	assert_int_equal(leap_set(leap, "local", "lots"), -EINVAL);
	range_check(base, PAGES, 1);
	assert_ok(leap_close(leap));
}

static void test_options(void **state)
{
	struct leap *leap = session("local=16M", NULL);
	char *base = filled(leap), text[4];

	assert_int_equal(leap_set(leap, "mover", "wp"), -EROFS);
	assert_int_equal(leap_set(leap, "nonsense", "1"), -ENOENT);
	assert_int_equal(leap_get(leap, "nonsense", text, sizeof(text)), -ENOENT);
	assert_int_equal(leap_get(leap, "prefetch", text, sizeof(text)), -ENOSPC);
	assert_int_equal(leap_set(leap, "prefetch", "crystal-ball"), -EINVAL);
	assert_non_null(strstr(leap_last_error(), "majority"));
	for (const char *const *p = (const char *const[]){"none", "readahead", "majority", NULL};
	     *p; p++) {
		assert_ok(leap_set(leap, "prefetch", *p));
		range_check(base, PAGES, 1);
	}
	for (const char *const *p = (const char *const[]){"2", "64", "32", NULL}; *p; p++) {
		assert_ok(leap_set(leap, "history_split", "2"));
		assert_ok(leap_set(leap, "history_size", *p));
		assert_ok(leap_set(leap, "hits", **p == '6' ? "cache" : "marker"));
		range_check(base, PAGES, 1);
	}
	assert_ok(leap_set(leap, "prefetching", "off"));
	range_check(base, PAGES, 1);
	assert_ok(leap_close(leap));
}

/* Off: all comes home and stays. On: it may leave again. */
static void test_remote(void **state)
{
	struct leap *leap = session("local=16M", NULL);
	char *base = filled(leap);
	uint64_t faults;

	assert_true(stats(leap).remote_pages > 0);
	assert_ok(leap_set(leap, "remote", "off"));
	assert_int_equal(stats(leap).remote_pages, 0);
	faults = stats(leap).faults;
	range_check(base, PAGES, 1);
	assert_true(stats(leap).faults - faults < 2000); /* of limbo at most */
	assert_ok(leap_set(leap, "remote", "on"));
	for (int k = 0; k < 200 && !stats(leap).remote_pages; k++)
		usleep(10000);
	assert_true(stats(leap).remote_pages > 0);
	range_check(base, PAGES, 1);
	assert_ok(leap_close(leap));
}

static void test_donors(void **state)
{
	struct leap *leap = session("local=16M", NULL);
	char *base = filled(leap);

	assert_int_equal(leap_donor_add(leap, "tcp://127.0.0.1:1"), -ECONNREFUSED);
	assert_int_equal(leap_donor_add(leap, "carrier-pigeon://x"), -EPROTONOSUPPORT);
	assert_int_equal(leap_donor_remove(leap, "shm:none"), -ENOENT);
	assert_int_equal(stats(leap).donors, 1);
	/* the only one cannot go */
	assert_int_equal(leap_donor_remove(leap, "loop:"), -ENOSPC);
	range_check(base, PAGES, 1);
	assert_ok(leap_donor_add(leap, "loop:"));
	assert_int_equal(stats(leap).donors_alive, 2);
	assert_ok(leap_donor_remove(leap, "loop:"));
	assert_int_equal(stats(leap).donors_alive, 1);
	/* the one that is left is meant, not the one that went */
	assert_int_equal(leap_donor_remove(leap, "loop:"), -ENOSPC);
	assert_ok(leap_donor_add(leap, "faulty::loop:"));
	assert_ok(leap_donor_remove(leap, "faulty::loop:"));
	assert_int_equal(leap_donor_remove(leap, "faulty::loop:"), -ENOENT);
	assert_int_equal(stats(leap).donors_alive, 1);
	range_check(base, PAGES, 1);
	range_write(base, PAGES, 2);
	range_check(base, PAGES, 2);
	assert_int_equal(stats(leap).lost_pages, 0);
	assert_ok(leap_close(leap));
}

/* Donors that went leave nothing behind: neither in the list, nor of the most that a session can have. */
static void test_donors_go(void **state)
{
	enum { MOST = 64 };
	struct leap *leap = session("local=16M", NULL);
	char *base = filled(leap);

	for (int i = 0; i < 2 * MOST; i++) {
		assert_ok(leap_donor_add(leap, "faulty::loop:"));
		assert_ok(leap_donor_remove(leap, "faulty::loop:"));
		assert_int_equal(stats(leap).donors, 1);
	}
	for (int i = 1; i < MOST; i++)
		assert_ok(leap_donor_add(leap, "faulty::loop:"));
	assert_int_equal(leap_donor_add(leap, "faulty::loop:"), -E2BIG);
	range_write(base, PAGES, 3);
	assert_ok(leap_donor_remove(leap, "faulty::loop:"));
	range_check(base, PAGES, 3);
	assert_ok(leap_donor_add(leap, "faulty::loop:"));
	assert_int_equal(leap_donor_add(leap, "faulty::loop:"), -E2BIG);
	assert_int_equal(stats(leap).donors_alive, MOST);
	range_check(base, PAGES, 3);
	assert_ok(leap_close(leap));
}

#define SILENT_PAGES 49152 /* three slabs, so that donors are asked for another */

static char *silent_base;
static volatile sig_atomic_t silent_wrong;

static void touch_much(int sig)
{
	for (size_t p = 0; p < SILENT_PAGES; p++)
		page_write(silent_base, p, 3);
	for (size_t p = 0; p < SILENT_PAGES; p++)
		silent_wrong += !page_right(silent_base, p, 3);
}

struct adder {
	struct leap *leap;
	char uri[64];
	int result;
};

static void *add_main(void *arg)
{
	struct adder *a = arg;

	a->result = leap_donor_add(a->leap, a->uri);
	return NULL;
}

/* A donor that accepts and says nothing: while it is waited for, others get their memory, and the waiting thread's
 * signal handlers do not wait for themselves. */
static void test_silent_donor(void **state)
{
	struct leap *leap = session("local=16M", "deadline=60s", NULL);
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sigaction action = {.sa_handler = touch_much};
	struct adder adder = {.leap = leap, .result = 1};
	socklen_t len = sizeof(in);
	struct leap_region *r;
	pthread_t thread;
	char *base = filled(leap);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), conn;

	alarm(50);
	assert_ok(leap_region_create(leap, SILENT_PAGES * PAGE, &r));
	silent_base = leap_region_addr(r);
	sigaction(SIGUSR1, &action, NULL);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, len) | listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	snprintf(adder.uri, sizeof(adder.uri), "tcp://127.0.0.1:%d", ntohs(in.sin_port));
	assert_int_equal(pthread_create(&thread, NULL, add_main, &adder), 0);
	conn = accept(fd, NULL, NULL);
	assert_true(conn >= 0);
	/* its first message is here: from now on it waits for our answer */
	assert_int_equal(poll(&(struct pollfd){.fd = conn, .events = POLLIN}, 1, 30000), 1);
	pthread_kill(thread, SIGUSR1);
	usleep(20000);
	range_write(base, PAGES, 2);
	assert_ok(leap_set(leap, "local", "12M"));
	touch_much(0);
	range_check(base, PAGES, 2);
	assert_int_equal(adder.result, 1); /* still waiting */
	close(conn);
	close(fd);
	pthread_join(thread, NULL);
	assert_true(adder.result < 0);
	assert_int_equal(silent_wrong, 0);
	assert_int_equal(stats(leap).donors, 1);
	alarm(0);
	assert_ok(leap_close(leap));
}

/* A store that fills up: the ceiling, then an honest refusal for the one that asks, nothing lost before. */
static void test_full(void **state)
{
	struct leap *leap = session("local=16M", "loop_bytes=4M", "loop_compress=off",
				    "ceiling=1000", "log_level=error", NULL);
	char *base = filled(leap);

	range_check(base, PAGES, 1);
	assert_true(stats(leap).over_limit > 0);
	assert_int_equal(stats(leap).lost_pages, 0);
	assert_int_equal(leap_evict(leap, base, PAGES * PAGE), -ENOSPC);
	range_check(base, PAGES, 1);
	assert_ok(leap_donor_add(leap, "loop:"));
	assert_ok(leap_close(leap));
}

static void test_stats(void **state)
{
	struct leap *leap = session("local=16M", NULL);
	struct leap_stats st = {.size = 0};
	struct {
		size_t size;
		uint64_t limit_bytes, canary;
	} small = {.size = 16, .canary = 77};
	char *base;

	assert_int_equal(leap_stats(leap, &st), -EINVAL);
	assert_ok(leap_stats(leap, (struct leap_stats *)&small)); /* an older program's struct */
	assert_int_equal(small.canary, 77);
	assert_int_equal(small.limit_bytes, 16 * MIB);
	base = filled(leap);
	range_check(base, PAGES, 1);
	st = stats(leap);
	assert_int_equal(st.held_pages, PAGES);
	assert_true(st.fault_latency.count > 0 && st.remote_latency.count > 0);
	assert_true(st.remote_latency.count <= st.fault_latency.count);
	assert_true(st.fault_latency.p50_ns <= st.fault_latency.p99_ns);
	assert_true(st.prefetch_hits <= st.prefetched);
	assert_string_equal(leap_version(), LEAP_VERSION_STRING);
	assert_ok(leap_close(leap));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),     cmocka_unit_test(test_options),
		cmocka_unit_test(test_remote),    cmocka_unit_test(test_donors),
		cmocka_unit_test(test_donors_go), cmocka_unit_test(test_silent_donor),
		cmocka_unit_test(test_full),      cmocka_unit_test(test_stats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
