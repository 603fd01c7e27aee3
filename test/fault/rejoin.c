/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rejoin.c - a donor dies and starts again at the same address: the session finds it, and goes on with it as with a new
 * one. What the dead one had stays lost, and never reads as zeroes. Where the donor is no more than a door that
 * shuts, the session knocks ever more seldom.
 *
 * usage: rejoin [HOST]   over TCP on loopback, or over RDMA at an address of this machine's RDMA device. The latter is for Linux
 *                        before 6.6, where a lost page ends the program: lost pages are touched last, and it ends by SIGABRT.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "test/donor/harness.h"
#include "test/fault/must.h"

#define PAGE       4096ul
#define PAGES      8192ul /* 32 MiB */
#define SOON_MS    30000
#define KNOCK_MS   7000
#define KNOCKS_MAX 3 /* in that time: after at least half of 1, 2, 4 (or 2, 4, 8) seconds */

static sigjmp_buf on_bus;
static volatile sig_atomic_t guarded;

static void bus(int sig)
{
	if (guarded)
		siglongjmp(on_bus, 1);
	_exit(99);
}

static uint64_t word_of(size_t page)
{
	return (page + 1) * 0x9e3779b97f4a7c15ull;
}

/* True: it is what was written. False: SIGBUS. Anything else is the end. */
static bool readable(const char *base, size_t page)
{
	volatile const uint64_t *w = (volatile const uint64_t *)(base + page * PAGE);
	uint64_t got;

	guarded = 1;
	if (sigsetjmp(on_bus, 1)) {
		guarded = 0;
		return false;
	}
	got = w[7];
	guarded = 0;
	if (got != word_of(page))
		FAIL("page %zu reads %#lx instead of %#lx", page, (unsigned long)got,
		     (unsigned long)word_of(page));
	return true;
}

static char *filled(struct leap *leap)
{
	struct leap_region *region;
	char *base;

	MUST(leap_region_create(leap, PAGES * PAGE, &region));
	base = leap_region_addr(region);
	for (size_t p = 0; p < PAGES; p++)
		for (size_t i = 0; i < PAGE / 8; i++)
			((volatile uint64_t *)(base + p * PAGE))[i] = word_of(p);
	return base;
}

static struct leap_stats stats(struct leap *leap)
{
	struct leap_stats st = {.size = sizeof(st)};

	MUST(leap_stats(leap, &st));
	return st;
}

static void wait_alive(struct leap *leap, uint64_t alive)
{
	for (int ms = 0; stats(leap).donors_alive != alive; ms += 50) {
		if (ms > SOON_MS * (int)slow())
			FAIL("there are not %lu living donors, but %lu", (unsigned long)alive,
			     (unsigned long)stats(leap).donors_alive);
		sleep_ms(50);
	}
}

/* A port that nobody uses now. */
static uint16_t free_port(int *ret_fd)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t bytes = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	    getsockname(fd, (struct sockaddr *)&sa, &bytes))
		FAIL("no free port");
	*ret_fd = fd;
	return ntohs(sa.sin_port);
}

static void loses(struct leap *leap, const char *base, bool *lost)
{
	size_t n = 0;

	for (size_t p = 0; p < PAGES; p++)
		n += lost[p] = !readable(base, p);
	if (!n || stats(leap).lost_pages != n)
		FAIL("%zu pages are lost, %lu by the statistics", n,
		     (unsigned long)stats(leap).lost_pages);
	printf("rejoin: %zu of %lu pages were lost\n", n, PAGES);
}

static void comes_back(struct leap *leap, const char *base, const bool *lost)
{
	uint64_t written = stats(leap).written;
	char *fresh;

	wait_alive(leap, 1);
	for (size_t p = 0; lost && p < PAGES; p++)
		if (readable(base, p) == lost[p])
			FAIL("page %zu %s", p, lost[p] ? "was lost and is back" : "is lost later");
	fresh = filled(leap);
	for (size_t p = 0; p < PAGES; p++)
		if (!readable(fresh, p))
			FAIL("page %zu is lost with no donor dead", p);
	if (stats(leap).written == written || stats(leap).donors != 1)
		FAIL("the donor that came back is not used");
}

/* Somebody listens there and hangs up on all who come. */
static void knocks(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, n = 0, guest;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t end = now_ns() + KNOCK_MS * 1000000ull;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 8))
		FAIL("cannot listen on port %u: %m", port);
	while (now_ns() < end || (!n && now_ns() < end + SOON_MS * 1000000ull)) {
		if (poll(&p, 1, 50) != 1 || (guest = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) < 0)
			continue;
		close(guest);
		n++;
	}
	close(fd);
	printf("rejoin: %d attempts in %d s\n", n, KNOCK_MS / 1000);
	if (!n || n > KNOCKS_MAX)
		FAIL("%d attempts in %d s", n, KNOCK_MS / 1000);
}

int main(int argc, char **argv)
{
	static bool lost[PAGES];
	struct sigaction action = {.sa_handler = bus, .sa_flags = SA_NODEFER};
	const char *scheme = argc > 1 ? "rdma" : "tcp", *host = argc > 1 ? argv[1] : "127.0.0.1";
	struct leap_options *options = leap_options_new();
	struct test_donor *donor;
	char uri[300];
	struct leap *leap;
	uint16_t port;
	char *base;
	int fd;

	alarm(120 * slow());
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGBUS, &action, NULL);
	port = free_port(&fd);
	close(fd);
	snprintf(uri, sizeof(uri), "%s://%s:%u", scheme, host, port);
	donor = donor_start("--listen", uri, NULL);
	MUST(leap_options_set(options, "local", "8M"));
	MUST(leap_options_set(options, "publish", "off"));
	MUST(leap_options_set(options, "ceiling", "1000"));
	MUST(leap_options_set(options, "deadline", slow() > 1 ? "60s" : "5s"));
	MUST(leap_options_set(options, "donors", uri));
	MUST(leap_open(options, &leap));
	leap_options_free(options);
	base = filled(leap);
	donor_free(donor);
	wait_alive(leap, 0);
	if (argc < 2)
		loses(leap, base, lost);
	donor = donor_start("--listen", uri, NULL);
	comes_back(leap, base, argc < 2 ? lost : NULL);
	if (argc > 1) {
		printf("rejoin: it is back and used; now the old pages\n");
		for (size_t p = 0; p < PAGES; p++)
			readable(base, p);
		FAIL("no page was lost");
	}
	donor_free(donor);
	wait_alive(leap, 0);
	knocks(port);
	MUST(leap_close(leap));
	return 0;
}
