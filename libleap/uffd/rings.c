/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rings.c - see rings.h.
 *
 * A ring's fdinfo has "UserBufs: N" and a line for each buffer, "INDEX: ADDRESS/BYTES" or "INDEX: <none>"; the lines are
 * missing when the ring was in use just then (since 6.18 or so the first line, too). Read through one descriptor it is
 * one picture, however many calls it takes.
 */
#include "libleap/uffd/rings.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "libleap/util/clerk.h"
#include "libleap/util/fd.h"
#include "libleap/util/fmt.h"
#include "libleap/util/proc.h"
#include "libleap/util/sys.h"

#define TRIES      16
#define HUGE_BYTES ((uintptr_t)2 << 20)
#define RESTS      10 /* looked at one by one */
#define RING_LINK  "anon_inode:[io_uring]"

struct look {
	struct rings *rings;
	struct ranges *buffers;
	int proc; /* lent */
	int tid;  /* a thread with the program's descriptors: the clerk has others */
	int err;
};

struct entry { /* struct linux_dirent64 */
	uint64_t inode;
	int64_t next;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

/* Lines of a file. */
struct lines {
	int fd;
	size_t at, end;
	char buf[4096];
};

/* The next line without its end, cut to the size; false at the end of the file. */
static bool next_line(struct lines *l, char *line, size_t size)
{
	size_t n = 0;
	bool any = false;

	for (;;) {
		char c;

		if (l->at == l->end) {
			long r = sys_ret(syscall(SYS_read, l->fd, l->buf, sizeof(l->buf)));

			if (r <= 0)
				break;
			l->at = 0;
			l->end = (size_t)r;
		}
		c = l->buf[l->at++];
		any = true;
		if (c == '\n')
			break;
		if (n < size - 1)
			line[n++] = c;
	}
	line[n] = 0;
	return any;
}

static const char *number(const char *at, unsigned base, uint64_t *ret)
{
	uint64_t n = 0;

	for (;; at++) {
		unsigned digit = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
				 : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a') + 10
							    : 16;

		if (digit >= base)
			break;
		n = n * base + digit;
	}
	*ret = n;
	return at;
}

/* Memory of the kernel has address 0, an empty slot no address or an impossible one. */
static int add_buffer(struct look *look, const char *text)
{
	uint64_t start, bytes;

	if (strncmp(text, "0x", 2))
		return strcmp(text, "<none>") ? -EPROTO : 0;
	text = number(text + 2, 16, &start);
	if (*text != '/')
		return -EPROTO;
	number(text + 1, 10, &bytes);
	if (!start || !bytes || start + bytes + LEAP_PAGE_MASK < start)
		return 0;
	return ranges_add(look->buffers, start & ~LEAP_PAGE_MASK,
			  (start + bytes + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK)
		       ? 0
		       : -ENOMEM;
}

static int read_buffers(struct look *look, struct lines *l)
{
	static const char head[] = "UserBufs:\t";
	char line[128];
	uint64_t n, index;
	int err = 0;

	do
		if (!next_line(l, line, sizeof(line)))
			return -EAGAIN;
	while (strncmp(line, head, sizeof(head) - 1));
	number(line + sizeof(head) - 1, 10, &n);
	for (uint64_t i = 0; i < n && !err; i++) {
		const char *at = line;

		if (!next_line(l, line, sizeof(line)))
			return -EAGAIN;
		while (*at == ' ')
			at++;
		at = number(at, 10, &index);
		if (strncmp(at, ": ", 2) || index != i)
			return -EAGAIN; /* in use */
		err = add_buffer(look, at + 2);
	}
	return err;
}

static int read_ring(struct look *look, const char *name)
{
	struct lines lines = {.at = 0};
	char path[64];
	int err = -EAGAIN;

	fmt_print(path, sizeof(path), "self/task/%d/fdinfo/%s", look->tid, name);
	for (int i = 0; i < TRIES && err == -EAGAIN; i++) {
		if (i)
			sched_yield();
		lines.fd =
			(int)sys_ret(syscall(SYS_openat, look->proc, path, O_RDONLY | O_CLOEXEC));
		if (lines.fd < 0)
			return lines.fd == -ENOENT ? 0 : lines.fd; /* closed meanwhile */
		lines.at = lines.end = 0;
		err = read_buffers(look, &lines);
		sys_close(lines.fd);
	}
	return err;
}

/* Devices that pin nothing. Others may: RDMA, IOMMU, accelerators. */
static bool is_harmless(const char *link)
{
	static const char *const known[] = {"null", "zero",      "full",   "random", "urandom",
					    "tty",  "console",   "ptmx",   "fuse",   "pts/",
					    "shm/", "hugepages", "mqueue", "log"};

	if (strncmp(link, "/dev/", 5))
		return true;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strncmp(link + 5, known[i], strlen(known[i])))
			return true;
	return false;
}

static int look_at(struct look *look, int dir, const char *name)
{
	char link[64];
	uint64_t fd;
	long n;

	if (*number(name, 10, &fd) || fd_is_owned((int)fd))
		return 0;
	n = sys_ret(syscall(SYS_readlinkat, dir, name, link, sizeof(link) - 1));
	if (n < 0)
		return n == -ENOENT ? 0 : (int)n;
	link[n] = 0;
	if (!strcmp(link, RING_LINK))
		return read_ring(look, name);
	look->rings->device |= !is_harmless(link);
	return 0;
}

/* All rings, into look->buffers. */
static int look_once(struct look *look)
{
	char path[48], buf[2048] __attribute__((aligned(8)));
	int dir, err = 0;
	long n;

	fmt_print(path, sizeof(path), "self/task/%d/fd", look->tid);
	dir = (int)sys_ret(
		syscall(SYS_openat, look->proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (dir < 0)
		return dir;
	while (!err && (n = sys_ret(syscall(SYS_getdents64, dir, buf, sizeof(buf)))) != 0) {
		if (n < 0)
			err = (int)n;
		for (long at = 0; at < n && !err;) {
			const struct entry *e = (const struct entry *)(const void *)(buf + at);

			if (e->name[0] != '.')
				err = look_at(look, dir, e->name);
			at += e->bytes;
		}
	}
	sys_close(dir);
	return err;
}

static bool equal(const struct ranges *a, const struct ranges *b)
{
	return a->count == b->count &&
	       (!a->count || !memcmp(a->list, b->list, a->count * sizeof(a->list[0])));
}

static void do_look(void *arg)
{
	struct look *look = arg;

	look->err = look_once(look);
}

/* What all rings hold now. */
static int look_now(struct rings *rings, struct ranges *ret_buffers)
{
	struct look look = {.rings = rings,
			    .buffers = ret_buffers,
			    .proc = proc_dir(),
			    .tid = (int)sys_gettid()};

	if (look.proc < 0)
		return look.proc;
	ranges_clear(ret_buffers);
	clerk_run(do_look, &look, &look.proc);
	return look.err;
}

/* The count belongs to the rings if they are the same before and after it. */
int rings_look(struct rings *rings, long (*count)(void))
{
	struct ranges again = {0};
	int err = -EAGAIN;

	memset(rings, 0, sizeof(*rings));
	for (int i = 0; i < TRIES && err == -EAGAIN; i++) {
		err = look_now(rings, &rings->buffers);
		if (err)
			break;
		rings->pinned = count();
		err = rings->pinned < 0 ? (int)rings->pinned : look_now(rings, &again);
		if (!err && !equal(&rings->buffers, &again))
			err = -EAGAIN;
	}
	ranges_clear(&again);
	return err;
}

static long count_pages(const struct ranges *set)
{
	uintptr_t bytes = 0;

	for (size_t i = 0; i < set->count; i++)
		bytes += set->list[i].end - set->list[i].start;
	return (long)(bytes >> LEAP_PAGE_SHIFT);
}

/* Huge pages' places that the buffers have a part of: of each, how many pages are not theirs. All of them in *ret_sum. */
static unsigned find_rests(const struct ranges *set, long *rest, long *ret_sum)
{
	uintptr_t block = 0, inside = 0;
	unsigned n = 0;

	*ret_sum = 0;
	for (size_t i = 0; i <= set->count; i++) {
		uintptr_t at = i < set->count ? set->list[i].start : UINTPTR_MAX;
		uintptr_t end = i < set->count ? set->list[i].end : UINTPTR_MAX;

		do {
			uintptr_t here = at & ~(HUGE_BYTES - 1), to = here + HUGE_BYTES;

			if (here != block && inside && inside < HUGE_BYTES) {
				long pages = (long)((HUGE_BYTES - inside) >> LEAP_PAGE_SHIFT);

				*ret_sum += pages;
				if (n < RESTS)
					rest[n] = pages;
				n++;
			}
			inside = here == block ? inside : 0;
			block = here;
			if (i == set->count)
				break;
			inside += (to < end ? to : end) - at;
			at = to;
		} while (at < end);
	}
	return n;
}

/* Is the number of pages what some of those huge pages, or all of them, count more? */
static bool is_huge(const struct ranges *set, long pages)
{
	long rest[RESTS], all;
	unsigned n = find_rests(set, rest, &all);

	for (unsigned some = 1; n <= RESTS && some < 1u << n; some++) {
		long sum = 0;

		for (unsigned i = 0; i < n; i++)
			sum += some >> i & 1 ? rest[i] : 0;
		if (sum == pages)
			return true;
	}
	return n && pages == all;
}

/* The kernel counts a huge page that a buffer has a part of as a whole, and does not tell which are huge. So what is more
 * than the buffers must be exactly what huge pages make, and nothing else be open that may pin. */
long rings_left(const struct rings *rings)
{
	long left = rings->pinned - count_pages(&rings->buffers);

	return left <= 0 || (!rings->device && is_huge(&rings->buffers, left)) ? 0 : left;
}

uint64_t rings_hold(const struct rings *rings, const char *base, uint64_t mask)
{
	uint64_t held = 0;

	for (; mask; mask &= mask - 1) {
		uintptr_t at =
			(uintptr_t)base + ((uintptr_t)__builtin_ctzll(mask) << LEAP_PAGE_SHIFT);

		if (ranges_touches(&rings->buffers, at, at + LEAP_PAGE_BYTES))
			held |= mask & -mask;
	}
	return held;
}

void rings_end(struct rings *rings)
{
	ranges_clear(&rings->buffers);
}
