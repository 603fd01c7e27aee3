/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "test/donor/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libleap/error.h"

#define ARGS_MAX 40

const char *const carrier_name[CARRIERS] = {"tcp io_uring", "tcp sockets", "tcp sockets IPv6",
					    "shm"};

static unsigned number_in(const char *name)
{
	const char *text = getenv(name);
	int n = text ? atoi(text) : 1;

	return n > 0 ? (unsigned)n : 1;
}

unsigned slow(void)
{
	return number_in("LEAP_TEST_SLOW");
}

unsigned less(void)
{
	return slow() * number_in("LEAP_TEST_LESS");
}

void sleep_ms(int ms)
{
	poll(NULL, 0, ms);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const char *donor_path(void)
{
	static char path[4096];
	char self[2048];
	ssize_t n;

	if (getenv("LEAP_DONOR"))
		return getenv("LEAP_DONOR");
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(path, sizeof(path), "%s/leap-donor", self);
	if (access(path, X_OK))
		snprintf(path, sizeof(path), "%s/../../bin/leap-donor", self);
	return path;
}

static pid_t donor_spawn(const char **argv, int *ret_fd)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 2);
		dup2(fds[1], 1);
		execv(argv[0], (char **)(uintptr_t)argv);
		_exit(127);
	}
	close(fds[1]);
	*ret_fd = fds[0];
	return pid;
}

bool donor_says(struct test_donor *donor, const char *text, int ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * 1000000;
	struct pollfd p = {.fd = donor->log_fd, .events = POLLIN};
	ssize_t n;

	for (;;) {
		if (strstr(donor->log, text))
			return true;
		if (now_ns() >= end)
			return false;
		if (poll(&p, 1, 20) <= 0)
			continue;
		if (donor->log_bytes > sizeof(donor->log) - 4096) { /* keep the end */
			memmove(donor->log, donor->log + sizeof(donor->log) / 2,
				sizeof(donor->log) / 2);
			donor->log_bytes -= sizeof(donor->log) / 2;
		}
		n = read(donor->log_fd, donor->log + donor->log_bytes,
			 sizeof(donor->log) - 1 - donor->log_bytes);
		if (n <= 0)
			return strstr(donor->log, text);
		donor->log_bytes += (size_t)n;
		donor->log[donor->log_bytes] = '\0';
	}
}

static bool have_ipv6(void)
{
	FILE *f = fopen("/proc/net/if_inet6", "re");
	char line[128];
	bool yes = false;

	while (f && fgets(line, sizeof(line), f))
		yes |= !strncmp(line, "00000000000000000000000000000001", 32);
	if (f)
		fclose(f);
	return yes;
}

struct test_donor *donor_start(const char *option, ...)
{
	static unsigned serial;
	struct test_donor *d = calloc(1, sizeof(*d));
	const char *argv[ARGS_MAX] = {donor_path(), "--listen", "tcp://127.0.0.1:0", "--listen"};
	char shm[80], rdma[80], *at;
	unsigned n = 4, port;
	va_list ap;

	assert_non_null(d);
	snprintf(d->shm, sizeof(d->shm), "@test-%d-%u", getpid(), serial++);
	snprintf(shm, sizeof(shm), "shm:%s", d->shm);
	argv[n++] = shm;
	if (have_ipv6()) {
		argv[n++] = "--listen";
		argv[n++] = "tcp://[::1]:0";
	}
	if (TEST_RDMA) {
		snprintf(rdma, sizeof(rdma), "rdma://%s:0", TEST_RDMA);
		argv[n++] = "--listen";
		argv[n++] = rdma;
	}
	va_start(ap, option);
	for (; option && n < ARGS_MAX - 1; option = va_arg(ap, const char *))
		argv[n++] = option;
	va_end(ap);
	d->pid = donor_spawn(argv, &d->log_fd);
	if (!donor_says(d, "ready on", 10000)) /* written with one call */
		fail_msg("the donor did not become ready: %s", d->log);
	at = strstr(d->log, "tcp://127.0.0.1:");
	assert_int_equal(sscanf(at, "tcp://127.0.0.1:%u", &port), 1);
	d->port = (uint16_t)port;
	at = strstr(d->log, "tcp://[::1]:");
	if (at && sscanf(at, "tcp://[::1]:%u", &port) == 1)
		d->port6 = (uint16_t)port;
	at = strstr(strstr(d->log, "ready on"), "rdma://");
	if (at && sscanf(at, "rdma://%*[^:]:%u", &port) == 1)
		d->port_rdma = (uint16_t)port;
	return d;
}

int donor_run(char *buf, size_t size, const char *option, ...)
{
	struct test_donor d = {0};
	const char *argv[ARGS_MAX] = {donor_path()};
	unsigned n = 1;
	va_list ap;
	int r;

	va_start(ap, option);
	for (; option && n < ARGS_MAX - 1; option = va_arg(ap, const char *))
		argv[n++] = option;
	va_end(ap);
	d.pid = donor_spawn(argv, &d.log_fd);
	donor_says(&d, "ready on", 10000); /* or the end of its output */
	r = donor_wait(&d, 5000);
	if (r < 0)
		kill(d.pid, SIGKILL);
	if (r < 0)
		waitpid(d.pid, NULL, 0);
	close(d.log_fd);
	snprintf(buf, size, "%s", d.log);
	return r;
}

int donor_wait(struct test_donor *donor, int ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * 1000000;
	int status;

	do {
		if (waitpid(donor->pid, &status, WNOHANG) == donor->pid) {
			donor->pid = 0;
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		}
		sleep_ms(5);
	} while (now_ns() < end);
	return -1;
}

/* Does every thread of it stand still? */
static bool stands_still(pid_t pid)
{
	char path[64], line[512], *at;
	bool still = true;
	struct dirent *entry;
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)) && still) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/stat", pid, entry->d_name);
		f = fopen(path, "re");
		if (!f) /* the thread has ended */
			continue;
		at = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
		still = at && at[2] == 'T';
		fclose(f);
	}
	closedir(dir);
	return still;
}

/* It need not be our child. */
void donor_pause(struct test_donor *donor)
{
	kill(donor->pid, SIGSTOP);
	for (int ms = 0; !stands_still(donor->pid); ms++) {
		assert_true(ms < 5000);
		sleep_ms(1);
	}
}

void donor_free(struct test_donor *donor)
{
	if (donor->pid > 0) {
		kill(donor->pid, SIGKILL);
		waitpid(donor->pid, NULL, 0);
	}
	close(donor->log_fd);
	free(donor);
}

void donor_stop(struct test_donor *donor)
{
	kill(donor->pid, SIGTERM);
	if (donor_wait(donor, 300) < 0)
		kill(donor->pid, SIGTERM);
	else
		goto out;
	assert_int_equal(donor_wait(donor, 5000), 0);
out:
	donor_free(donor);
}

int client_open(struct client *client, struct test_donor *donor, enum carrier carrier,
		uint64_t deadline_ns)
{
	struct transport_params params = {.deadline_ns = deadline_ns,
					  .client_id = {1, 2},
					  .client_name = "test",
					  .io_uring = carrier == CARRIER_URING};
	struct donor_uri uri = {.scheme = "tcp", .host = "127.0.0.1", .port = donor->port};

	memset(client, 0, sizeof(*client));
	client->ops = &transport_tcp;
	if (carrier == CARRIER_PLAIN6) {
		strcpy(uri.host, "::1");
		uri.port = donor->port6;
	} else if (carrier == CARRIER_SHM) {
		client->ops = &transport_shm;
		strcpy(uri.scheme, "shm");
		strcpy(uri.host, donor->shm);
	}
	return client->ops->open(&uri, &params, &client->port);
}

void client_close(struct client *client)
{
	if (client->lane)
		client->ops->lane_close(client->lane);
	client->ops->close(client->port);
}

static void count_done(struct io *io)
{
	io->aux[0]++;
}

unsigned client_grant_all(struct client *c)
{
	unsigned n = 0;
	uint32_t slab;
	int r;

	while (!(r = c->ops->slab_grant(c->port, &slab)))
		n++;
	assert_int_equal(r, -ENOSPC);
	return n;
}

int lane_do(const struct transport_ops *ops, struct lane *lane, enum io_op op, uint32_t slab,
	    uint32_t page, uint32_t npages, void *buf)
{
	struct io io = {.op = op,
			.slab = slab,
			.page = page,
			.npages = npages,
			.buf = buf,
			.done = count_done};
	uint64_t end = now_ns() + 10000000000ull * slow();

	ops->submit(lane, &io);
	ops->flush(lane);
	while (!io.aux[0] && now_ns() < end) {
		struct pollfd p = {.fd = ops->lane_fd(lane), .events = POLLIN};

		if (!ops->poll(lane))
			poll(&p, 1, 20);
	}
	assert_int_equal(io.aux[0], 1);
	return io.status;
}

void *pages_new(unsigned npages)
{
	void *p = mmap(NULL, (size_t)npages * 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

void pages_free(void *p, unsigned npages)
{
	munmap(p, (size_t)npages * 4096);
}

void page_fill(void *page, uint64_t seed)
{
	uint64_t *word = page;

	for (int i = 0; i < 512; i++)
		word[i] = (seed + 1) * 0x9e3779b97f4a7c15ull + (uint64_t)i;
}

bool page_is(const void *page, uint64_t seed)
{
	const uint64_t *word = page;

	for (int i = 0; i < 512; i++)
		if (word[i] != (seed + 1) * 0x9e3779b97f4a7c15ull + (uint64_t)i)
			return false;
	return true;
}

bool page_is_zero(const void *page)
{
	const uint64_t *word = page;

	for (int i = 0; i < 512; i++)
		if (word[i])
			return false;
	return true;
}
