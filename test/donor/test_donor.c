/* SPDX-License-Identifier: Apache-2.0 */
/* leap-donor as its operator sees it: limits, configuration, signals, start-up errors, service
 * manager. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/proto.h"
#include "test/donor/harness.h"

#define DEADLINE 5000000000ull

static char dir[64];

static int group_setup(void **state)
{
	strcpy(dir, "/tmp/leap-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return 0;
}

static int group_teardown(void **state)
{
	rmdir(dir);
	return 0;
}

static const char *in_dir(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void file_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct client open_client(struct test_donor *d, enum carrier k)
{
	struct client c;

	if (client_open(&c, d, k, DEADLINE))
		fail_msg("%s", error_last());
	return c;
}

static void test_memory_and_quota(void **state)
{
	struct test_donor *d =
		donor_start("--memory", "300M", "--quota", "130M", NULL); /* 4 and 2 slabs */
	struct client a = open_client(d, CARRIER_PLAIN), b = open_client(d, CARRIER_SHM),
		      c = open_client(d, CARRIER_URING);
	struct port_info info;

	assert_int_equal(client_grant_all(&a), 2);
	assert_non_null(strstr(error_last(), "quota"));
	assert_int_equal(a.ops->info(a.port, true, &info), 0);
	assert_int_equal(info.free_bytes, 0);
	assert_int_equal(info.total_bytes, 130 << 20);
	assert_int_equal(client_grant_all(&b), 2);
	assert_int_equal(client_grant_all(&c), 0);
	assert_non_null(strstr(error_last(), "--memory"));
	assert_int_equal(c.ops->tick(c.port), 0); /* a refusal is no death */
	assert_int_equal(a.ops->slab_release(a.port, 0), 0);
	assert_int_equal(c.ops->info(c.port, true, &info), 0);
	assert_int_equal(info.free_bytes, LEAP_SLAB_BYTES);
	assert_int_equal(client_grant_all(&c), 1);
	client_close(&b);
	for (int i = 0; i < 100 && (c.ops->info(c.port, true, &info), !info.free_bytes); i++)
		sleep_ms(10);
	assert_int_equal(client_grant_all(&c), 1);
	client_close(&a);
	client_close(&c);
	donor_stop(d);
}

/* A clone's slabs count to both holders, and once to the donor. */
static void test_clone_accounting(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", "--quota", "128M", NULL);
	struct client a = open_client(d, CARRIER_PLAIN), b = open_client(d, CARRIER_PLAIN), c;
	struct port_ticket ticket;
	uint32_t slab;

	assert_int_equal(a.ops->slab_grant(a.port, &slab), 0);
	assert_int_equal(a.ops->clone_prepare(a.port, &ticket), 0);
	assert_int_equal(b.ops->clone_adopt(b.port, &ticket), 0);
	assert_int_equal(client_grant_all(&a), 1);
	assert_int_equal(client_grant_all(&b), 1);
	c = open_client(d, CARRIER_PLAIN);
	assert_int_equal(client_grant_all(&c), 1);
	assert_int_equal(a.ops->slab_release(a.port, slab), 0); /* b still holds it */
	assert_int_equal(client_grant_all(&c), 0);
	assert_int_equal(b.ops->slab_release(b.port, slab), 0);
	assert_int_equal(client_grant_all(&c), 1);
	client_close(&a);
	client_close(&b);
	client_close(&c);
	donor_stop(d);
}

/* Released memory is the system's again at once, although the client still lives. */
static void test_memory_returns(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", "--lazy", NULL);
	uint8_t *buf = pages_new(64);

	memset(buf, 1, 64 * 4096);
	for (int k = 0; k < CARRIERS; k++) {
		struct client c;
		uint32_t slab;

		if (k == CARRIER_PLAIN6)
			continue;
		c = open_client(d, k);
		assert_int_equal(c.ops->lane_open(c.port, LANE_WRITE, &c.lane), 0);
		assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
		for (uint32_t page = 0; page < 8192; page += 64)
			assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, page, 64, buf), 0);
		kill(d->pid, SIGUSR1);
		assert_true(donor_says(d, "slabs 1 of 4, memory in use 32M", 3000));
		assert_int_equal(c.ops->slab_release(c.port, slab), 0);
		d->log[d->log_bytes = 0] = '\0';
		kill(d->pid, SIGUSR1);
		assert_true(donor_says(d, "slabs 0 of 4, memory in use 0M", 3000));
		client_close(&c);
		d->log[d->log_bytes = 0] = '\0';
	}
	pages_free(buf, 64);
	donor_stop(d);
}

/* What is lent is really there soon after, unless --lazy; slabs that come and go leave nothing behind. */
static void test_memory_is_taken(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", NULL);
	struct client c = open_client(d, CARRIER_PLAIN);
	bool taken = false;
	uint32_t slab;

	for (int i = 0; i < 50; i++) {
		assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
		sleep_ms(i % 5);
		assert_int_equal(c.ops->slab_release(c.port, slab), 0);
	}
	assert_int_equal(client_grant_all(&c), 4);
	for (int i = 0; i < 100 && !taken; i++) {
		kill(d->pid, SIGUSR1);
		taken = donor_says(d, "slabs 4 of 4, memory in use 256M", 50);
	}
	assert_true(taken);
	client_close(&c);
	d->log[d->log_bytes = 0] = '\0';
	for (int i = 0; i < 100 && taken; i++) {
		kill(d->pid, SIGUSR1);
		taken = !donor_says(d, "slabs 0 of 4, memory in use 0M", 50);
	}
	assert_false(taken);
	donor_stop(d);
}

static void test_clients_limit(void **state)
{
	struct test_donor *d = donor_start("--clients", "2", NULL);
	struct client a = open_client(d, CARRIER_PLAIN), b = open_client(d, CARRIER_SHM), c;

	assert_int_equal(client_open(&c, d, CARRIER_PLAIN, DEADLINE), -ECONNREFUSED);
	assert_non_null(strstr(error_last(), "--clients"));
	client_close(&a);
	sleep_ms(50);
	c = open_client(d, CARRIER_PLAIN);
	client_close(&b);
	client_close(&c);
	donor_stop(d);
}

static void test_drain(void **state)
{
	struct test_donor *d = donor_start("--memory", "256M", NULL);
	struct client a = open_client(d, CARRIER_PLAIN), b = open_client(d, CARRIER_SHM), c;
	uint8_t *buf = pages_new(1);
	uint32_t slab;

	assert_int_equal(a.ops->slab_grant(a.port, &slab), 0);
	assert_int_equal(a.ops->lane_open(a.port, LANE_DEMAND, &a.lane), 0);
	kill(d->pid, SIGTERM);
	assert_true(donor_says(d, "draining: 2 clients left", 2000));
	assert_int_equal(client_open(&c, d, CARRIER_PLAIN, DEADLINE), -ECONNREFUSED);
	assert_non_null(strstr(error_last(), "shutting down"));
	assert_int_equal(a.ops->slab_grant(a.port, &slab), -ENOSPC);
	assert_non_null(strstr(error_last(), "shutting down"));
	/* Those that are there are served as ever. */
	page_fill(buf, 1);
	assert_int_equal(lane_do(a.ops, a.lane, IO_WRITE, slab, 0, 1, buf), 0);
	assert_int_equal(lane_do(a.ops, a.lane, IO_READ, slab, 0, 1, buf), 0);
	assert_true(page_is(buf, 1));
	assert_int_equal(a.ops->tick(a.port), 0);
	assert_int_equal(b.ops->tick(b.port), 0);
	assert_int_equal(donor_wait(d, 300), -1);
	client_close(&b);
	assert_int_equal(donor_wait(d, 300), -1);
	client_close(&a);
	assert_int_equal(donor_wait(d, 3000), 0);
	pages_free(buf, 1);
	donor_free(d);
}

static void test_drain_timeout(void **state)
{
	struct test_donor *d = donor_start("--drain-timeout", "400ms", NULL);
	struct client a = open_client(d, CARRIER_PLAIN);
	uint64_t start = now_ns();

	kill(d->pid, SIGTERM);
	assert_int_equal(donor_wait(d, 5000), 0);
	assert_true(now_ns() - start >= 400000000ull && now_ns() - start < 3000000000ull);
	assert_int_equal(a.ops->tick(a.port), -EPIPE);
	client_close(&a);
	donor_free(d);
}

static void test_second_sigterm(void **state)
{
	struct test_donor *d = donor_start(NULL, NULL);
	struct client a = open_client(d, CARRIER_PLAIN);

	kill(d->pid, SIGTERM);
	assert_true(donor_says(d, "draining", 2000));
	kill(d->pid, SIGTERM);
	assert_int_equal(donor_wait(d, 2000), 0);
	client_close(&a);
	donor_free(d);
}

static void test_config_and_sighup(void **state)
{
	const char *conf = in_dir("donor.conf");
	struct test_donor *d;
	struct client a;

	file_write(conf, "# figures\nmemory = 128M\n\nquota=1G # of one\nlog-level = "
			 "debug\nhugepages = off\n");
	d = donor_start("--config", conf, NULL);
	a = open_client(d, CARRIER_PLAIN);
	assert_int_equal(client_grant_all(&a), 2);
	file_write(conf, "memory = 256M\nquota = 192M\n");
	kill(d->pid, SIGHUP);
	assert_true(donor_says(d, "configuration read: memory 256M, quota 192M", 2000));
	assert_int_equal(client_grant_all(&a), 1);
	assert_non_null(strstr(error_last(), "quota"));
	/* A bad file changes nothing. */
	file_write(conf, "memory = 1G\nquota = much\n");
	kill(d->pid, SIGHUP);
	assert_true(donor_says(d, "donor.conf:2: quota: 'much' is not a size", 2000));
	assert_int_equal(client_grant_all(&a), 0);
	/* Less than is lent: nothing is taken away, nothing more is given. */
	file_write(conf, "memory = 64M\n");
	kill(d->pid, SIGHUP);
	assert_true(donor_says(d, "configuration read: memory 64M, quota 0M", 2000));
	assert_int_equal(client_grant_all(&a), 0);
	assert_int_equal(a.ops->slab_release(a.port, 0), 0);
	assert_int_equal(client_grant_all(&a), 0);
	client_close(&a);
	donor_stop(d);
	unlink(conf);
}

/* With a reserve that cannot be met nothing is granted, until the reserve is lifted. */
static void test_pressure(void **state)
{
	const char *conf = in_dir("donor.conf");
	struct test_donor *d;
	struct client a;

	file_write(conf, "memory = 128M\n");
	d = donor_start("--config", conf, NULL);
	a = open_client(d, CARRIER_PLAIN);
	file_write(conf, "memory = 128M\nreserve = 1000T\n");
	kill(d->pid, SIGHUP);
	assert_true(donor_says(d, "short of memory", 3000));
	assert_int_equal(client_grant_all(&a), 0);
	assert_non_null(strstr(error_last(), "short of memory"));
	file_write(conf, "memory = 128M\n");
	kill(d->pid, SIGHUP);
	assert_true(donor_says(d, "reserve 0M", 3000));
	sleep_ms(600);
	assert_int_equal(client_grant_all(&a), 2);
	client_close(&a);
	donor_stop(d);
	unlink(conf);
}

/* A client that understands it is asked for slabs under pressure, and told of the drain. */
static void test_donor_initiated(void **state)
{
	const char *conf = in_dir("donor.conf");
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = 5};
	struct {
		struct proto_head head;
		struct proto_hello hello;
	} m = {.head = proto_head_make(PROTO_HELLO, 0, sizeof(m.hello))};
	uint8_t body[PROTO_BODY_MAX];
	struct proto_head head;
	struct test_donor *d;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	file_write(conf, "memory = 128M\n");
	d = donor_start("--config", conf, NULL);
	sa.sin_port = htons(d->port);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	m.hello.version = PROTO_VERSION;
	m.hello.features = PROTO_FEATURE_RECLAIM | 0xff00;
	strcpy(m.hello.name, "raw");
	send(fd, &m, sizeof(m), 0);
	recv(fd, &head, sizeof(head), MSG_WAITALL);
	recv(fd, body, head.length, MSG_WAITALL);
	assert_int_equal(((struct proto_hello_ack *)body)->features, PROTO_FEATURE_RECLAIM);
	head = proto_head_make(PROTO_GRANT, 7, 0);
	send(fd, &head, sizeof(head), 0);
	recv(fd, &head, sizeof(head), MSG_WAITALL);
	recv(fd, body, head.length, MSG_WAITALL);
	assert_int_equal(head.status, 0);
	file_write(conf, "memory = 128M\nreserve = 1000T\n");
	kill(d->pid, SIGHUP);
	assert_int_equal(recv(fd, &head, sizeof(head), MSG_WAITALL), sizeof(head));
	assert_int_equal(head.type, PROTO_RECLAIM);
	assert_int_equal(head.npages, 1);
	assert_int_equal(head.length, 0);
	kill(d->pid, SIGTERM);
	assert_int_equal(recv(fd, &head, sizeof(head), MSG_WAITALL), sizeof(head));
	assert_int_equal(head.type, PROTO_NOTICE);
	assert_true(head.length > 10 && head.length <= PROTO_SENTENCE_MAX);
	close(fd);
	assert_int_equal(donor_wait(d, 3000), 0);
	donor_free(d);
	unlink(conf);
}

/* HELLOs of other versions and with authentication get a sentence. */
static void test_hello_refusals(void **state)
{
	struct test_donor *d = donor_start(NULL, NULL);

	for (int i = 0; i < 3; i++) {
		struct sockaddr_in sa = {.sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
					 .sin_port = htons(d->port)};
		struct {
			struct proto_head head;
			struct proto_hello hello;
		} m = {.head = proto_head_make(PROTO_HELLO, 0, sizeof(m.hello))};
		struct {
			struct proto_head head;
			struct proto_hello_ack ack;
		} a;
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		m.hello.version = i == 0 ? PROTO_VERSION + 1 : PROTO_VERSION;
		m.hello.auth_length = i == 1 ? 16 : 0;
		m.hello.kind = i == 2 ? PROTO_KIND_DEMAND : PROTO_KIND_CONTROL;
		assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		send(fd, &m, sizeof(m), 0);
		assert_int_equal(recv(fd, &a, sizeof(a), MSG_WAITALL), sizeof(a));
		assert_int_equal(a.head.status, i == 0   ? PROTO_VERSION_MISMATCH
						: i == 1 ? PROTO_AUTH
							 : PROTO_BAD_TOKEN);
		assert_true(strlen(a.ack.sentence) > 10);
		assert_int_equal(recv(fd, &a, 1, 0), 0); /* and it hangs up */
		close(fd);
	}
	donor_stop(d);
}

static void test_start_errors(void **state)
{
	struct test_donor *d = donor_start(NULL, NULL);
	char text[65536], address[64], shm[80];

	snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", d->port);
	assert_int_equal(donor_run(text, sizeof(text), "--listen", address, NULL), 1);
	assert_non_null(strstr(text, "another program"));
	snprintf(shm, sizeof(shm), "shm:%s", d->shm);
	assert_int_equal(donor_run(text, sizeof(text), "--listen", shm, NULL), 1);
	assert_non_null(strstr(text, "another leap-donor"));
	donor_stop(d);

	assert_int_equal(donor_run(text, sizeof(text), NULL, NULL), 2);
	assert_non_null(strstr(text, "--listen"));
	assert_int_equal(donor_run(text, sizeof(text), "--nonsense", NULL), 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", NULL), 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "9400", "x", NULL), 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "70000", NULL), 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "0", "--memory", "1", NULL), 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "0", "--memory", "99999999999T",
				   NULL),
			 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "0", "--quota", "1M", NULL), 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "0", "--deadline", "5", NULL),
			 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "0", "--log", "paper", NULL),
			 2);
	assert_int_equal(donor_run(text, sizeof(text), "--listen", "tcp://::1:9", NULL), 2);
	assert_int_equal(donor_run(text, sizeof(text), "--listen", "quic://x", NULL), 2);
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "0", "--config", in_dir("none"),
				   NULL),
			 2);
	assert_non_null(strstr(text, "cannot read"));
	assert_int_equal(donor_run(text, sizeof(text), "203.0.113.7", "9400", NULL), 1);
	assert_non_null(strstr(text, "no such address"));
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "0", "--numa", "77", NULL), 1);
	assert_non_null(strstr(text, "memory node"));
	assert_int_equal(donor_run(text, sizeof(text), "127.0.0.1", "0", "--pidfile", "/nowhere/x",
				   NULL),
			 1);
	assert_int_equal(donor_run(text, sizeof(text), "--version", NULL), 0);
	assert_int_equal(donor_run(text, sizeof(text), "--help", NULL), 0);
	assert_non_null(strstr(text, "--drain-timeout"));
}

/* NUMA placement, huge pages (or the warning) and early allocation serve as ordinary memory does.
 */
static void test_placement(void **state)
{
	static const char *const how[] = {"--hugepages", "--lazy", "--numa=0"};
	uint8_t *buf = pages_new(64);

	for (int i = 0; i < 3; i++) {
		struct test_donor *d = donor_start("--memory", "128M", how[i], NULL);

		for (int k = 0; k < CARRIERS; k += CARRIER_SHM) {
			struct client c = open_client(d, k);
			uint32_t slab;

			assert_int_equal(c.ops->lane_open(c.port, LANE_WRITE, &c.lane), 0);
			assert_int_equal(c.ops->slab_grant(c.port, &slab), 0);
			for (uint32_t p = 0; p < LEAP_SLAB_PAGES; p += 64) {
				page_fill(buf, p);
				assert_int_equal(lane_do(c.ops, c.lane, IO_WRITE, slab, p, 64, buf),
						 0);
			}
			for (uint32_t p = 0; p < LEAP_SLAB_PAGES; p += 64) {
				assert_int_equal(lane_do(c.ops, c.lane, IO_READ, slab, p, 1, buf),
						 0);
				assert_true(page_is(buf, p));
			}
			client_close(&c);
			sleep_ms(50);
		}
		if (i == 0 && strstr(d->log, "huge"))
			print_message("no huge pages here: ordinary ones served\n");
		donor_stop(d);
	}
	pages_free(buf, 64);
}

/* Readiness, pid file, socket files: made, and cleaned up, also over what a killed donor left. */
static void test_service(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const char *pidfile = in_dir("pid"), *sock = in_dir("pool.sock");
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), pid = 0;
	struct timeval limit = {.tv_sec = 5};
	char text[128], shm[160];
	struct test_donor *d;
	FILE *f;

	strcpy(sa.sun_path, in_dir("notify"));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setenv("NOTIFY_SOCKET", sa.sun_path, 1);
	setenv("LEAP_RUN_DIR", dir, 1);
	snprintf(shm, sizeof(shm), "shm:%s", "pool");
	d = donor_start("--listen", shm, "--pidfile", pidfile, NULL);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 7);
	assert_memory_equal(text, "READY=1", 7);
	f = fopen(pidfile, "re");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	assert_int_equal(pid, d->pid);
	assert_int_equal(access(sock, F_OK), 0);
	kill(d->pid, SIGKILL);
	donor_wait(d, 2000);
	donor_free(d);
	assert_int_equal(access(sock, F_OK), 0); /* left behind */

	d = donor_start("--listen", shm, "--pidfile", pidfile, NULL);
	strcpy(d->shm, "pool");
	struct client c = open_client(d, CARRIER_SHM);
	client_close(&c);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 7);
	kill(d->pid, SIGTERM);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 10);
	assert_memory_equal(text, "STOPPING=1", 10);
	assert_int_equal(donor_wait(d, 3000), 0);
	donor_free(d);
	assert_int_equal(access(sock, F_OK), -1);
	assert_int_equal(access(pidfile, F_OK), -1);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("LEAP_RUN_DIR");
	close(fd);
	unlink(sa.sun_path);
}

/* A bulk client does not starve the single pages of another. */
static unsigned bulk_done;

static void bulk_count(struct io *io)
{
	bulk_done++;
}

static void test_fairness(void **state)
{
	struct test_donor *d = donor_start("--memory", "512M", "--threads", "1", NULL);
	struct client bulk = open_client(d, CARRIER_PLAIN), small = open_client(d, CARRIER_PLAIN);
	static struct io io[128];
	uint8_t *buf = pages_new(64), *one = pages_new(1);
	uint64_t worst = 0;
	uint32_t a, b;

	assert_int_equal(bulk.ops->lane_open(bulk.port, LANE_WRITE, &bulk.lane), 0);
	assert_int_equal(small.ops->lane_open(small.port, LANE_DEMAND, &small.lane), 0);
	assert_int_equal(bulk.ops->slab_grant(bulk.port, &a), 0);
	assert_int_equal(small.ops->slab_grant(small.port, &b), 0);
	for (int round = 0; round < 30; round++) {
		uint64_t start;

		bulk_done = 0;
		for (int i = 0; i < 128; i++) {
			io[i] = (struct io){.op = i % 2 ? IO_READ : IO_WRITE,
					    .slab = a,
					    .npages = 64,
					    .page = (uint32_t)i * 64,
					    .buf = buf,
					    .done = bulk_count};
			bulk.ops->submit(bulk.lane, &io[i]);
		}
		bulk.ops->flush(bulk.lane);
		for (int i = 0; i < 5; i++) {
			start = now_ns();
			assert_int_equal(lane_do(small.ops, small.lane, IO_READ, b, 5, 1, one), 0);
			start = now_ns() - start;
			worst = start > worst ? start : worst;
			bulk.ops->poll(bulk.lane);
		}
		while (bulk_done < 128) {
			bulk.ops->flush(bulk.lane);
			bulk.ops->poll(bulk.lane);
		}
	}
	print_message("worst single page beside bulk: %lu us\n", (unsigned long)(worst / 1000));
	assert_true(worst < 200000000ull);
	client_close(&bulk);
	client_close(&small);
	pages_free(buf, 64);
	pages_free(one, 1);
	donor_stop(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_and_quota),  cmocka_unit_test(test_clone_accounting),
		cmocka_unit_test(test_memory_returns),    cmocka_unit_test(test_memory_is_taken),
		cmocka_unit_test(test_clients_limit),     cmocka_unit_test(test_drain),
		cmocka_unit_test(test_drain_timeout),     cmocka_unit_test(test_second_sigterm),
		cmocka_unit_test(test_config_and_sighup), cmocka_unit_test(test_pressure),
		cmocka_unit_test(test_donor_initiated),   cmocka_unit_test(test_hello_refusals),
		cmocka_unit_test(test_start_errors),      cmocka_unit_test(test_placement),
		cmocka_unit_test(test_service),           cmocka_unit_test(test_fairness),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
