/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rss_sample.c - watches a program's anonymous resident memory from outside.
 *
 *   rss-sample [--interval MS] [--csv FILE] PID
 *
 * Every MS milliseconds (default 20) it reads RssAnon of the process PID and of all its descendants, and the
 * page of figures that each of them publishes if it runs under Leap (libleap/stats.h; LEAP_RUN_DIR says
 * where). It ends when PID is gone, or at SIGTERM, and prints lines of NAME=VALUE: the largest RssAnon that one process had,
 * the largest sum over them, how many samples were taken and the longest time between two, and the last figures of the process that
 * had most faults. --csv writes one row a sample, for pictures.
 *
 * Descendants are looked for ten times a second by reading all of /proc: few kernels have
 * /proc/PID/task/TID/children.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "libleap/stats.h"

#define WATCH_MAX   256
#define SCAN_NS     100000000ull
#define MS_NS       1000000ull
#define SEC_NS      1000000000ull
#define PROCESS_MAX 32768

struct watched {
	long pid;
	int status_fd; /* /proc/PID/status, kept open: it answers ESRCH once the process is gone */
	uint64_t rss_kib;
	bool has_page;
	struct stats_page page; /* last good copy */
};

struct summary {
	uint64_t samples, longest_gap_ns, first_ns, last_ns;
	uint64_t max_one_kib, max_sum_kib;
	struct leap_stats last; /* of the process with most faults */
	char frontend[16], mover[16];
	bool has_last;
};

static struct watched watched[WATCH_MAX];
static unsigned nwatched;
static volatile sig_atomic_t stopping;

static void on_term(int sig)
{
	stopping = 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SEC_NS + (uint64_t)ts.tv_nsec;
}

/* Parent and state from /proc/PID/stat; the name in parentheses may hold anything. */
static int read_parent(long pid, long *ret_parent, char *ret_state)
{
	char path[64], buf[512], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	buf[n] = 0;
	end = strrchr(buf, ')');
	if (!end || sscanf(end + 1, " %c %ld", ret_state, ret_parent) != 2)
		return -EPROTO;
	return 0;
}

static bool is_watched(long pid)
{
	for (unsigned i = 0; i < nwatched; i++) {
		if (watched[i].pid == pid)
			return true;
	}
	return false;
}

static void watch(long pid)
{
	char path[64];
	int fd;

	if (nwatched == WATCH_MAX || is_watched(pid))
		return;
	snprintf(path, sizeof(path), "/proc/%ld/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	memset(&watched[nwatched], 0, sizeof(watched[nwatched]));
	watched[nwatched].pid = pid;
	watched[nwatched++].status_fd = fd;
}

/* A process that was there at the last scan, and its parent then. Most stay, so that most scans only list. */
struct known {
	long pid, parent;
};

/* Finds in the last scan's list, which is in /proc's order: by pid. */
static int by_pid(const void *a, const void *b)
{
	long x = ((const struct known *)a)->pid, y = ((const struct known *)b)->pid;

	return (x > y) - (x < y);
}

/* Adds children of watched processes until a pass finds none. */
static void scan(void)
{
	static struct known lists[2][PROCESS_MAX];
	static unsigned nold, turn;
	struct known *old = lists[turn], *new = lists[!turn], *found;
	unsigned n = 0, before;
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	char state;

	while (dir && n < PROCESS_MAX && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		new[n].pid = atol(entry->d_name);
		found = bsearch(&new[n], old, nold, sizeof(*old), by_pid);
		if (found)
			new[n++].parent = found->parent;
		else if (!read_parent(new[n].pid, &new[n].parent, &state))
			n++;
	}
	if (dir)
		closedir(dir);
	do {
		before = nwatched;
		for (unsigned i = 0; i < n; i++) {
			if (is_watched(new[i].parent))
				watch(new[i].pid);
		}
	} while (nwatched != before);
	nold = n;
	turn = !turn;
}

/* RssAnon in KiB; -ESRCH once the process is gone. A zombie has no such line: 0. */
static int read_rss(int fd, uint64_t *ret_kib)
{
	char buf[4096], *at;
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

	if (n <= 0)
		return -ESRCH;
	buf[n] = 0;
	at = strstr(buf, "\nRssAnon:");
	*ret_kib = at ? strtoull(at + 9, NULL, 10) : 0;
	return 0;
}

static void keep_last(struct summary *sum, const struct stats_page *page)
{
	if (sum->has_last && page->stats.faults < sum->last.faults)
		return;
	sum->last = page->stats;
	memcpy(sum->frontend, page->frontend, sizeof(sum->frontend));
	memcpy(sum->mover, page->mover, sizeof(sum->mover));
	sum->has_last = true;
}

static void add_stats(struct leap_stats *to, const struct leap_stats *from)
{
	to->faults += from->faults;
	to->faults_remote += from->faults_remote;
	to->read += from->read;
	to->written += from->written;
	to->prefetched += from->prefetched;
	to->prefetch_hits += from->prefetch_hits;
	to->local_pages += from->local_pages;
	to->remote_pages += from->remote_pages;
	to->limit_bytes += from->limit_bytes;
}

static void write_row(FILE *csv, double seconds, uint64_t sum_kib, const struct leap_stats *s)
{
	fprintf(csv, "%.3f,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu\n", seconds,
		(unsigned long long)sum_kib, (unsigned long long)s->limit_bytes,
		(unsigned long long)s->local_pages, (unsigned long long)s->remote_pages,
		(unsigned long long)s->faults, (unsigned long long)s->faults_remote,
		(unsigned long long)s->read, (unsigned long long)s->written,
		(unsigned long long)s->prefetched, (unsigned long long)s->prefetch_hits);
}

/* One sample of everything that is watched. */
static void sample(struct summary *sum, FILE *csv)
{
	struct leap_stats total = {0};
	uint64_t sum_kib = 0, t = now_ns();

	for (unsigned i = 0; i < nwatched;) {
		struct watched *w = &watched[i];

		if (read_rss(w->status_fd, &w->rss_kib)) {
			close(w->status_fd);
			*w = watched[--nwatched];
			continue;
		}
		sum_kib += w->rss_kib;
		if (w->rss_kib > sum->max_one_kib)
			sum->max_one_kib = w->rss_kib;
		if (!stats_page_read(w->pid, &w->page)) {
			w->has_page = true;
			keep_last(sum, &w->page);
		}
		if (w->has_page)
			add_stats(&total, &w->page.stats);
		i++;
	}
	if (sum_kib > sum->max_sum_kib)
		sum->max_sum_kib = sum_kib;
	if (!sum->samples++)
		sum->first_ns = t;
	else if (t - sum->last_ns > sum->longest_gap_ns)
		sum->longest_gap_ns = t - sum->last_ns;
	sum->last_ns = t;
	if (csv)
		write_row(csv, (double)(t - sum->first_ns) / 1e9, sum_kib, &total);
}

static void print_summary(const struct summary *sum)
{
	double seconds = (double)(sum->last_ns - sum->first_ns) / 1e9;

	printf("max_rss_anon_kib=%llu\n", (unsigned long long)sum->max_one_kib);
	printf("max_rss_anon_sum_kib=%llu\n", (unsigned long long)sum->max_sum_kib);
	printf("samples=%llu\n", (unsigned long long)sum->samples);
	printf("samples_per_s=%.1f\n", seconds > 0 ? (double)(sum->samples - 1) / seconds : 0);
	printf("longest_gap_ms=%.1f\n", (double)sum->longest_gap_ns / 1e6);
	if (!sum->has_last)
		return;
#define SHOW(field) printf(#field "=%llu\n", (unsigned long long)sum->last.field)
	printf("frontend=%s\nmover=%s\n", sum->frontend, sum->mover);
	SHOW(limit_bytes);
	SHOW(held_pages);
	SHOW(overhead_bytes);
	SHOW(faults);
	SHOW(faults_zero);
	SHOW(faults_remote);
	SHOW(faults_limbo);
	SHOW(faults_staged);
	SHOW(faults_wp);
	SHOW(prefetched);
	SHOW(prefetch_hits);
	SHOW(evicted);
	SHOW(written);
	SHOW(read);
	SHOW(io_errors);
	SHOW(over_limit);
	SHOW(lost_pages);
#undef SHOW
}

static bool is_gone(long pid)
{
	char state = 'X';
	long parent = 0;

	return read_parent(pid, &parent, &state) || state == 'Z' || state == 'X';
}

static void run(long pid, uint64_t interval_ns, FILE *csv, struct summary *sum)
{
	uint64_t next = now_ns(), next_scan = 0;

	watch(pid);
	while (!stopping && !is_gone(pid)) {
		struct timespec at;

		if (next >= next_scan) {
			scan();
			next_scan = next + SCAN_NS;
		}
		sample(sum, csv);
		next += interval_ns;
		if (next < now_ns())
			next = now_ns();
		at = (struct timespec){(time_t)(next / SEC_NS), (long)(next % SEC_NS)};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: rss-sample [--interval MS] [--csv FILE] PID\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_term};
	struct summary sum = {0};
	uint64_t interval_ns = 20 * MS_NS;
	FILE *csv = NULL;
	int i = 1;

	for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		if (!strcmp(argv[i], "--interval")) {
			interval_ns = strtoull(argv[i + 1], NULL, 10) * MS_NS;
		} else if (!strcmp(argv[i], "--csv")) {
			csv = fopen(argv[i + 1], "w");
			if (!csv) {
				perror(argv[i + 1]);
				return 1;
			}
		} else {
			return usage();
		}
	}
	if (i + 1 != argc || atol(argv[i]) <= 0 || !interval_ns)
		return usage();
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	setpriority(PRIO_PROCESS, 0, -10); /* fails without the right to: samples are then fewer */
	if (csv)
		fprintf(csv, "seconds,rss_anon_kib,limit_bytes,local_pages,remote_pages,faults,"
			     "faults_remote,read,written,prefetched,prefetch_hits\n");
	run(atol(argv[i]), interval_ns, csv, &sum);
	print_summary(&sum);
	if (csv && fclose(csv)) {
		perror("rss-sample: csv");
		return 1;
	}
	return sum.samples ? 0 : 1;
}
