/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.c - the housekeeping thread: donors' heartbeats, the stats page, the control socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libleap/changes.h"
#include "libleap/control.h"
#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/log.h"
#include "libleap/session.h"
#include "libleap/util/clerk.h"
#include "libleap/util/fmt.h"
#include "libleap/util/proc.h"

#define TICK_MS          100
#define SOON_MS          5
#define SOON_TICKS       10
#define ALONE_NS         250000000ull
#define REQUEST_TRIES    100
#define REQUEST_PAUSE_NS 5000000

void control_open(struct leap *leap)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[80];
	int fd;

	leap->page = stats_page_create();
	if (!leap->page || rundir_path(dir, sizeof(dir), 1)) {
		log_warn("leap stat and leap ctl will not see this process: %s", error_last());
		return;
	}
	fmt_print(leap->ctl_path, sizeof(leap->ctl_path), "%s/%d.ctl", dir, (int)getpid());
	memcpy(addr.sun_path, leap->ctl_path, sizeof(addr.sun_path));
	syscall(SYS_unlinkat, AT_FDCWD, leap->ctl_path, 0);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* nobody can connect before listen() */
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    syscall(SYS_fchmodat, AT_FDCWD, leap->ctl_path, 0600) || listen(fd, 8)) {
		log_warn("leap ctl will not reach this process: cannot make %s", leap->ctl_path);
		if (fd >= 0)
			sys_close(fd);
		return;
	}
	leap->ctl_fd = fd_own(fd);
	keeper_kick(leap);
}

void control_forget(struct leap *leap)
{
	if (leap->ctl_fd >= 0)
		fd_close(leap->ctl_fd);
	leap->ctl_fd = -1;
	if (leap->page) /* the mapping is the parent's file */
		sys_munmap(leap->page, (sizeof(*leap->page) + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK);
	leap->page = NULL;
}

void control_close(struct leap *leap)
{
	if (leap->ctl_fd >= 0) {
		fd_close(leap->ctl_fd);
		syscall(SYS_unlinkat, AT_FDCWD, leap->ctl_path, 0);
	}
	leap->ctl_fd = -1;
	if (leap->page)
		stats_page_remove(leap->page);
	leap->page = NULL;
}

void control_withdraw(struct leap *leap)
{
	if (leap->ctl_fd >= 0)
		syscall(SYS_unlinkat, AT_FDCWD, leap->ctl_path, 0);
	if (leap->page)
		stats_page_withdraw();
}

void control_answer(struct leap *leap, char *request, char *reply, size_t size)
{
	char *arg = strchr(request, ' '), *value, *out = reply + 3;
	int err = -EINVAL;

	fmt_print(reply, size, "ok ");
	if (arg)
		*arg++ = 0;
	else
		arg = request + strlen(request);
	error_set(EINVAL, "unknown request '%s': set, get, donor-add or donor-remove", request);
	if (!strcmp(request, "set")) {
		value = strchr(arg, '=');
		if (value) {
			*value++ = 0;
			err = leap_set(leap, arg, value);
		} else {
			error_set(EINVAL, "set needs KEY=VALUE, not '%s'", arg);
		}
	} else if (!strcmp(request, "get")) {
		err = leap_get(leap, arg, out, size - 3);
	} else if (!strcmp(request, "donor-add")) {
		err = leap_donor_add(leap, arg);
	} else if (!strcmp(request, "donor-remove")) {
		err = leap_donor_remove(leap, arg);
	}
	if (err)
		fmt_print(reply, size, "error %s", error_last());
}

/* A connection, whose number is the clerk's (clerk.h): what is asked, and by whom. */
struct asking {
	int listener, fd;
	bool allowed;
	char *text;
	size_t size;
	ssize_t n;
};

static void do_accept(void *arg)
{
	struct asking *a = arg;
	struct ucred cred;
	socklen_t len = sizeof(cred);

	a->fd = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	a->allowed = a->fd >= 0 && !getsockopt(a->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
		     (cred.uid == 0 || cred.uid == geteuid());
}

static void do_receive(void *arg)
{
	struct asking *a = arg;

	a->n = recv(a->fd, a->text, a->size - 1, MSG_DONTWAIT);
}

static void do_reply(void *arg)
{
	struct asking *a = arg;

	send(a->fd, a->text, strlen(a->text), MSG_NOSIGNAL | MSG_DONTWAIT);
	sys_close(a->fd);
}

void control_reply(int fd, char *text)
{
	struct asking a = {.fd = fd, .text = text};

	clerk_run(do_reply, &a, NULL);
}

/* Who connects asks at once. */
static bool read_request(int fd, char *request, size_t size)
{
	struct asking a = {.fd = fd, .text = request, .size = size, .n = -1};

	for (int tries = 0; tries < REQUEST_TRIES && a.n < 0; tries++) {
		if (tries)
			sys_sleep_ns(REQUEST_PAUSE_NS);
		clerk_run(do_receive, &a, NULL);
	}
	if (a.n <= 0)
		return false;
	request[a.n] = 0;
	return true;
}

static void serve_one(struct leap *leap, int fd)
{
	static char request[REQUEST_MAX], reply[REQUEST_MAX]; /* the keeper's alone */

	if (!read_request(fd, request, sizeof(request))) {
		clerk_close(fd);
		return;
	}
	if (!changes_is_one(request))
		control_answer(leap, request, reply, sizeof(reply));
	else if (changes_take(leap, fd, request))
		return;
	else
		fmt_print(reply, sizeof(reply),
			  "error another change is under way: ask again when it has ended");
	control_reply(fd, reply);
}

void control_serve(struct leap *leap)
{
	struct pollfd p = {.fd = leap->ctl_fd, .events = POLLIN};
	struct asking a = {.listener = leap->ctl_fd};

	while (leap->ctl_fd >= 0 && syscall(SYS_poll, &p, 1, 0) == 1) {
		clerk_run(do_accept, &a, &a.listener);
		if (a.fd < 0)
			return;
		if (a.allowed)
			serve_one(leap, a.fd);
		else
			clerk_close(a.fd);
	}
}

/* Under the DONORS lock: ports are not asked by two threads at once. */
static void publish_donors(struct leap *leap, struct stats_page *page)
{
	struct donors *donors = &leap->donors;

	lock_acquire(&donors->lock);
	page->ndonors = 0;
	for (uint32_t d = 0; d < donors->count && page->ndonors < STATS_DONORS_MAX; d++) {
		const struct donor *donor = &donors->donor[d];
		struct stats_donor *out = &page->donor[page->ndonors];
		struct port_info info = {0};

		if (!donor->used || donor->removed)
			continue;
		page->ndonors++;
		if (donor->port)
			donor->ops->info(donor->port, false, &info);
		else
			uri_format(&donor->uri, info.text, sizeof(info.text));
		memcpy(out->text, info.text, sizeof(out->text));
		out->alive = donor_alive(donor);
		out->slabs = slabs_of_donor(&leap->slabs, donor);
		out->bytes_read = info.bytes_read;
		out->bytes_written = info.bytes_written;
		out->free_bytes = info.free_bytes;
		out->stored_bytes = info.stored_bytes;
	}
	lock_release(&donors->lock);
}

void control_publish(struct leap *leap)
{
	static const char *const frontends[] = {"auto", "busy", "block", "inline"};
	struct stats_page *page = leap->page;
	struct leap_stats st;

	if (!page)
		return;
	stats_snapshot(leap, &st);
	if (page->update_ns && !memcmp(&st, &page->stats, sizeof(st)))
		return;
	__atomic_fetch_add(&page->seq, 1, __ATOMIC_ACQ_REL);
	page->stats = st;
	page->start_ns = leap->start_ns;
	page->update_ns = clock_ns();
	proc_program(page->program, sizeof(page->program));
	fmt_print(page->frontend, sizeof(page->frontend), "%s", frontends[leap->frontend]);
	fmt_print(page->mover, sizeof(page->mover), "%s", leap->can_move ? "move" : "wp");
	fmt_print(page->prefetch, sizeof(page->prefetch), "%.*s",
		  (int)strcspn(leap->config.prefetch, ":"),
		  leap->config.prefetching ? leap->config.prefetch : "off");
	fmt_print(page->hits, sizeof(page->hits), "%s",
		  leap->config.hits == HITS_CACHE ? "cache" : "marker");
	publish_donors(leap, page);
	__atomic_fetch_add(&page->seq, 1, __ATOMIC_ACQ_REL);
}

void keeper_kick(struct leap *leap)
{
	uint64_t one = 1;

	syscall(SYS_write, leap->keeper_fd, &one, sizeof(one));
}

/* Now and then: has the program ended without a word? */
static bool program_ended(uint64_t *next_ns, int *ret_status)
{
	uint64_t now = clock_ns();

	if (now < *next_ns)
		return false;
	*next_ns = now + ALONE_NS;
	return threads_alone(ret_status);
}

void *keeper_main(void *arg)
{
	struct leap *leap = arg;
	uint64_t alone_ns = 0;
	int status,
		soon = 0; /* ticks at a shorter interval: a new slab is being made ready (shm.c) */

	while (!__atomic_load_n(&leap->stop, __ATOMIC_ACQUIRE)) {
		struct pollfd fds[2] = {{.fd = leap->keeper_fd, .events = POLLIN},
					{.fd = leap->ctl_fd, .events = POLLIN}};
		uint64_t drained;

		syscall(SYS_poll, fds, 2, soon ? SOON_MS : TICK_MS);
		if (fds[0].revents & POLLIN)
			syscall(SYS_read, leap->keeper_fd, &drained, sizeof(drained));
		soon = donors_ahead(leap) ? SOON_TICKS : soon ? soon - 1 : 0;
		control_serve(leap);
		donors_tick(leap);
		donors_bury(leap, false);
		donors_rejoin(leap);
		control_publish(leap);
		if (local_pages_all(leap) > budget_pages(leap))
			evictor_kick(leap);
		if (program_ended(&alone_ns, &status)) {
			runtime_exit(leap);
			threads_end_process(status);
		}
	}
	return NULL;
}
