/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leap-donor - lends this machine's memory to Leap clients.
 *
 * The main thread accepts connections, handles signals and watches memory; the workers (serve.c) serve them, and the
 * keeper (keeper.c) gives back what they had. Life: start -> ready -> (SIGTERM) draining -> stopped. A second SIGTERM stops at
 * once.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "donor/metrics.h"
#include "donor/notify.h"
#include "donor/options.h"
#include "donor/populate.h"
#include "donor/pressure.h"
#include "donor/report.h"
#include "donor/serve.h"
#include "donor/serve_rdma.h"
#include "libleap/util/cgroup.h"
#include "libleap/util/sys.h"

#define ERROR_BYTES   768
#define TICK_MS       250
#define DRAIN_TICK_MS 20

enum state { STATE_RUNNING, STATE_DRAINING, STATE_STOPPED };

struct loop {
	struct donor *donor;
	struct pressure pressure;
	enum state state;
	int epoll_fd, signal_fd;
	uint64_t tick_ns;
	uint64_t drain_end_ns;
	bool paused; /* out of descriptors: listeners wait for the next tick */
};

static void limits_raise(struct donor *donor)
{
	struct rlimit limit;

	static const int which[] = {RLIMIT_NOFILE, RLIMIT_MEMLOCK};

	for (unsigned i = 0; i < sizeof(which) / sizeof(which[0]); i++) {
		if (getrlimit(which[i], &limit) || limit.rlim_cur == limit.rlim_max)
			continue;
		limit.rlim_cur = limit.rlim_max;
		setrlimit(which[i], &limit);
	}
	donor->conns_max = UINT32_MAX;
	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur / 2 < UINT32_MAX)
		donor->conns_max = (unsigned)(limit.rlim_cur / 2);
}

static int signals_open(void)
{
	static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
	sigset_t set;

	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&set, wanted[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN); /* store.c: somebody opens a file that it asks about */
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int memory_choose(struct options *options, char *error, size_t size)
{
	uint64_t available = pressure_available();
	struct cgroup_memory group;

	cgroup_memory("", &group);
	if (options->memory_bytes > group.limit) {
		snprintf(
			error, size,
			"--memory %lluM cannot be lent: the memory cgroup %s allows this donor %lluM "
			"in all; lend less, or raise the cgroup's limit",
			(unsigned long long)(options->memory_bytes >> 20), group.group,
			(unsigned long long)(group.limit >> 20));
		return -ERANGE;
	}
	if (!options->memory_bytes)
		options->memory_bytes = available / 2 / PROTO_SLAB_BYTES * PROTO_SLAB_BYTES;
	if (!options->memory_bytes) {
		snprintf(error, size,
			 "not enough memory is available to lend one slab of %lluM (%lluM "
			 "available); free some or give --memory",
			 (unsigned long long)(PROTO_SLAB_BYTES >> 20),
			 (unsigned long long)(available >> 20));
		return -ENOMEM;
	}
	if (options->memory_bytes > available)
		report_warn("--memory %lluM is more than the %lluM available now: the kernel may "
			    "kill this donor "
			    "when clients use it all",
			    (unsigned long long)(options->memory_bytes >> 20),
			    (unsigned long long)(available >> 20));
	return 0;
}

static int listener_open(struct donor *donor, struct listen_address *a, struct listener *l,
			 char *error, size_t size)
{
	if (a->shm)
		return serve_shm_listen(a, l, error, size);
	if (a->either) {
		a->rdma = serve_rdma_owns(a);
		report_info("%s %s: %s", a->host, a->port,
			    a->rdma ? "an RDMA device has this address: listening with rdma://"
				    : "no RDMA device has this address: listening with tcp://");
	}
	return a->rdma ? serve_rdma_listen(donor, a, l, error, size)
		       : serve_tcp_listen(a, l, error, size);
}

static int listeners_open(struct donor *donor, char *error, size_t size)
{
	struct options *o = &donor->options;

	for (unsigned i = 0; i < o->nlisten; i++) {
		int r = listener_open(donor, &o->listen[i], &donor->listeners[i], error, size);

		if (r)
			return r;
		donor->nlisteners++;
	}
	return 0;
}

static void listeners_watch(struct loop *loop, bool on)
{
	for (unsigned i = 0; i < loop->donor->nlisteners; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i};
		int fd = loop->donor->listeners[i].fd;

		epoll_ctl(loop->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &ev);
	}
	loop->paused = !on;
}

static int loop_open(struct loop *loop, struct donor *donor)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = UINT32_MAX};

	loop->donor = donor;
	loop->pressure.reserve_bytes = donor->options.reserve_bytes;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0 || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->signal_fd, &ev))
		return -errno;
	listeners_watch(loop, true);
	return 0;
}

static void loop_drain(struct loop *loop)
{
	struct donor *donor = loop->donor;

	if (loop->state != STATE_RUNNING) {
		report_info("stopping at once, with %u clients left",
			    sessions_left(&donor->sessions));
		loop->state = STATE_STOPPED;
		return;
	}
	loop->state = STATE_DRAINING;
	loop->drain_end_ns = clock_ns() + donor->options.drain_timeout_ns;
	notify("STOPPING=1");
	sessions_drain(&donor->sessions);
	workers_notify(donor);
	report_info("draining: %u clients left", sessions_left(&donor->sessions));
}

static void loop_reload(struct loop *loop)
{
	struct donor *donor = loop->donor;
	char error[ERROR_BYTES];
	struct options o;

	if (options_reload(&o, error, sizeof(error))) {
		report_error("configuration not changed: %s", error);
		return;
	}
	if (o.memory_bytes)
		atomic_store(&donor->store.memory_bytes, o.memory_bytes);
	atomic_store(&donor->sessions.quota_bytes, o.quota_bytes);
	atomic_store(&donor->sessions.clients_max, o.clients_max);
	loop->pressure.reserve_bytes = o.reserve_bytes;
	report_set_level(o.log_level);
	report_info("configuration read: memory %lluM, quota %lluM, reserve %lluM, clients %u",
		    (unsigned long long)(atomic_load(&donor->store.memory_bytes) >> 20),
		    (unsigned long long)(o.quota_bytes >> 20),
		    (unsigned long long)(o.reserve_bytes >> 20), o.clients_max);
}

static void loop_report(struct loop *loop)
{
	metrics_log(&loop->donor->store);
	for (unsigned i = 0; i < loop->donor->nlisteners; i++)
		if (loop->donor->listeners[i].rdma)
			serve_rdma_report(&loop->donor->listeners[i]);
}

static void loop_signals(struct loop *loop)
{
	struct signalfd_siginfo info;

	while (read(loop->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			loop_reload(loop);
		else if (info.ssi_signo == SIGUSR1)
			loop_report(loop);
		else
			loop_drain(loop);
	}
}

static void loop_tick(struct loop *loop, uint64_t now)
{
	loop->tick_ns = now;
	pressure_check(&loop->pressure, loop->donor);
	for (unsigned i = 0; i < loop->donor->nlisteners; i++)
		if (loop->donor->listeners[i].rdma)
			serve_rdma_tick(&loop->donor->listeners[i], now);
	if (loop->paused)
		listeners_watch(loop, true);
}

static void loop_accept(struct loop *loop, unsigned index)
{
	struct listener *l = &loop->donor->listeners[index];

	if (l->rdma) {
		serve_rdma_run(l);
		return;
	}
	if (l->local ? serve_shm_accept(loop->donor, l) : serve_tcp_accept(loop->donor, l))
		return;
	report_warn("cannot accept connections: %s; raise the limit on descriptors (ulimit -n)",
		    strerror(errno));
	listeners_watch(loop, false);
}

static bool loop_drained(struct loop *loop, uint64_t now)
{
	unsigned left = sessions_left(&loop->donor->sessions);

	if (!left) {
		report_info("drained: all clients have left");
		return true;
	}
	if (now < loop->drain_end_ns)
		return false;
	report_warn(
		"the drain timeout has passed with %u clients left: they lose what they keep here",
		left);
	return true;
}

static void loop_run(struct loop *loop)
{
	struct epoll_event ev[32];
	uint64_t now;
	int n;

	while (loop->state != STATE_STOPPED) {
		n = epoll_wait(loop->epoll_fd, ev, 32,
			       loop->state == STATE_DRAINING ? DRAIN_TICK_MS : TICK_MS);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.u32 == UINT32_MAX)
				loop_signals(loop);
			else if (!loop->paused)
				loop_accept(loop, ev[i].data.u32);
		}
		now = clock_ns();
		if (now - loop->tick_ns >= TICK_MS * 1000000ull)
			loop_tick(loop, now);
		if (loop->state == STATE_DRAINING && loop_drained(loop, now))
			loop->state = STATE_STOPPED;
	}
}

static void ready_report(struct donor *donor)
{
	char text[OPTIONS_LISTEN_MAX * 340];
	size_t n = 0;

	for (unsigned i = 0; i < donor->nlisteners; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " %s", donor->listeners[i].text);
	/* Scripts wait for this line, so it goes to stderr whatever the log is. */
	dprintf(STDERR_FILENO, "leap-donor: ready on%s\n", text);
	report_info("lending %lluM%s", (unsigned long long)(donor->options.memory_bytes >> 20),
		    donor->options.hugepages ? " in huge pages" : "");
	notify("READY=1");
}

/* From here on nobody waits for whoever reads the log. */
static void log_start(void)
{
	int r = report_start();

	if (r)
		report_warn("no thread for the log (%s): this donor stands still while its stderr "
			    "takes nothing; raise 'ulimit -u'",
			    strerror(-r));
}

static int donor_start(struct donor *donor, struct loop *loop, char *error, size_t size)
{
	struct options *o = &donor->options;
	int r;

	limits_raise(donor);
	loop->signal_fd = signals_open();
	if ((r = memory_choose(o, error, size)) || (r = store_init(&donor->store, o, error, size)))
		return r;
	if (!o->lazy && !o->hugepages && (r = populate_start(&donor->store))) {
		snprintf(error, size, "cannot start a thread: %s; raise 'ulimit -u'", strerror(-r));
		return r;
	}
	sessions_init(&donor->sessions, &donor->store, o->deadline_ns);
	atomic_store(&donor->sessions.quota_bytes, o->quota_bytes);
	atomic_store(&donor->sessions.clients_max, o->clients_max);
	if ((r = listeners_open(donor, error, size)) || (r = workers_start(donor, error, size)))
		return r;
	r = loop_open(loop, donor);
	if (r) {
		snprintf(error, size, "cannot watch descriptors: %s", strerror(-r));
		return r;
	}
	r = o->pidfile[0] ? pidfile_write(o->pidfile) : 0;
	if (r)
		snprintf(error, size, "cannot write the pid file %s: %s", o->pidfile, strerror(-r));
	return r;
}

/* RDMA clients have connections of workers, so their listeners are closed after these. */
static void listeners_close(struct donor *donor, bool rdma)
{
	for (unsigned i = 0; i < donor->nlisteners; i++) {
		struct listener *l = &donor->listeners[i];

		if (l->fd < 0 || !l->rdma == rdma)
			continue;
		if (rdma)
			serve_rdma_close(l);
		else
			listener_close(l);
	}
}

int main(int argc, char **argv)
{
	static struct donor donor;
	struct loop loop = {.state = STATE_RUNNING};
	char error[ERROR_BYTES] = "";

	if (options_parse(argc, argv, &donor.options, error, sizeof(error))) {
		report_error("%s", error);
		return 2;
	}
	report_set_level(donor.options.log_level);
	if (donor.options.log_journal && !report_use_journal())
		report_warn("no journal on this machine: logging to stderr");
	if (donor_start(&donor, &loop, error, sizeof(error))) {
		report_error("%s", error);
		listeners_close(&donor, false);
		return 1;
	}
	ready_report(&donor);
	log_start();
	loop_run(&loop);
	listeners_close(&donor, false);
	metrics_log(&donor.store);
	workers_stop(&donor);
	listeners_close(&donor, true);
	if (donor.options.pidfile[0])
		unlink(donor.options.pidfile);
	report_stop();
	return 0;
}
