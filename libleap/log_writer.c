/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_writer.c - see log_writer.h. The ring has many writers and one reader; no lock is taken.
 *
 * The sentence of an error may be the last that the process says, so who says it waits until it is written, for WAIT_NS at
 * most; and not again before the thread has come through what holds it up.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "libleap/log.h"
#include "libleap/log_writer.h"
#include "libleap/thread.h"
#include "libleap/util/fd.h"
#include "libleap/util/fmt.h"
#include "libleap/util/sys.h"

#define LINES    64 /* a power of two */
#define WAIT_NS  100000000ull
#define FLUSH_NS 1000000000ull

struct line {
	uint32_t ready; /* its number + 1 once it is complete */
	uint32_t bytes;
	char text[LOG_LINE_BYTES];
};

static struct {
	struct line lines[LINES];
	uint32_t head; /* number of the next line */
	uint32_t tail; /* of the next one to be written; futex */
	uint32_t work; /* futex: counts what there is to do */
	uint32_t dropped;
	bool stuck; /* a writer waited in vain */
	bool runs, stop;
	struct thread thread;
	uint32_t ended; /* futex */
	uint32_t users;
	int duplicate;
} ring = {.duplicate = -1};

static uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Until the lines before `number` are written; false at the end of the time. */
static bool wait_for(uint32_t number, uint64_t ns)
{
	uint64_t end = clock_ns() + ns, now;
	uint32_t tail;

	while ((int32_t)((tail = load(&ring.tail)) - number) < 0) {
		now = clock_ns();
		if (now >= end || !__atomic_load_n(&ring.runs, __ATOMIC_ACQUIRE))
			return false;
		sys_futex_wait(&ring.tail, tail, (int64_t)(end - now));
	}
	return true;
}

static void kick(void)
{
	__atomic_fetch_add(&ring.work, 1, __ATOMIC_RELEASE);
	sys_futex_wake(&ring.work, 1);
}

/* A place in the ring; false when it is full. */
static bool claim(uint32_t *ret_number)
{
	uint32_t number = load(&ring.head);

	do {
		if (number - load(&ring.tail) >= LINES) {
			__atomic_fetch_add(&ring.dropped, 1, __ATOMIC_RELAXED);
			return false;
		}
	} while (!__atomic_compare_exchange_n(&ring.head, &number, number + 1, true,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	*ret_number = number;
	return true;
}

static bool put(enum log_level level, const char *text, size_t bytes)
{
	struct line *line;
	uint32_t number;

	if (!__atomic_load_n(&ring.runs, __ATOMIC_ACQUIRE))
		return false;
	if (!claim(&number))
		return true;
	line = &ring.lines[number % LINES];
	memcpy(line->text, text, bytes);
	line->bytes = (uint32_t)bytes;
	__atomic_store_n(&line->ready, number + 1, __ATOMIC_RELEASE);
	kick();
	if (level == LOG_LEVEL_ERROR && !__atomic_load_n(&ring.stuck, __ATOMIC_RELAXED) &&
	    !wait_for(number + 1, WAIT_NS))
		__atomic_store_n(&ring.stuck, true, __ATOMIC_RELAXED);
	return true;
}

static void say_dropped(void)
{
	uint32_t n = __atomic_exchange_n(&ring.dropped, 0, __ATOMIC_RELAXED);
	char text[120];
	size_t bytes;

	if (!n)
		return;
	bytes = fmt_print(text, sizeof(text),
			  "leap[%d]: %u lines are missing here: they came faster than they could "
			  "be written\n",
			  (int)getpid(), n);
	log_put(text, bytes);
}

static void *writer_main(void *arg)
{
	for (;;) {
		uint32_t seen = load(&ring.work), tail = ring.tail;
		struct line *line = &ring.lines[tail % LINES];

		if (load(&line->ready) == tail + 1) {
			log_put(line->text, line->bytes);
			__atomic_store_n(&ring.tail, tail + 1, __ATOMIC_RELEASE);
			__atomic_store_n(&ring.stuck, false, __ATOMIC_RELAXED);
			sys_futex_wake(&ring.tail, INT32_MAX);
			continue;
		}
		say_dropped();
		if (__atomic_load_n(&ring.stop, __ATOMIC_ACQUIRE))
			break;
		sys_futex_wait(&ring.work, seen, -1);
	}
	__atomic_store_n(&ring.ended, 1, __ATOMIC_RELEASE);
	sys_futex_wake(&ring.ended, 1);
	return NULL;
}

void log_writer_open(void)
{
	if (__atomic_fetch_add(&ring.users, 1, __ATOMIC_ACQ_REL) || log_get_fd() != 2)
		return;
	ring.duplicate = fd_duplicate(2);
	log_set_fd(ring.duplicate); /* negative where there is no stderr: to nowhere */
}

int log_writer_start(void)
{
	int err;

	if (__atomic_load_n(&ring.runs, __ATOMIC_ACQUIRE))
		return 0;
	ring.stop = false;
	ring.ended = 0;
	err = thread_start(&ring.thread, writer_main, NULL, "leap-log");
	if (err)
		return err;
	log_set_sink(put);
	__atomic_store_n(&ring.runs, true, __ATOMIC_RELEASE);
	return 0;
}

/* A thread that cannot get rid of its line is left behind. */
static void stop(void)
{
	uint64_t end = clock_ns() + FLUSH_NS, now;

	if (!ring.runs)
		return;
	log_writer_flush();
	__atomic_store_n(&ring.runs, false, __ATOMIC_RELEASE);
	__atomic_store_n(&ring.stop, true, __ATOMIC_RELEASE);
	kick();
	while (!load(&ring.ended) && (now = clock_ns()) < end)
		sys_futex_wait(&ring.ended, 0, (int64_t)(end - now));
	if (load(&ring.ended))
		thread_join(&ring.thread);
	else
		ring.thread = (struct thread){0};
}

void log_writer_close(void)
{
	if (__atomic_sub_fetch(&ring.users, 1, __ATOMIC_ACQ_REL))
		return;
	stop();
	if (log_get_fd() == ring.duplicate)
		log_set_fd(2);
	fd_close(ring.duplicate);
	ring.duplicate = -1;
}

void log_writer_flush(void)
{
	wait_for(load(&ring.head), FLUSH_NS);
}

void log_writer_forked(void)
{
	for (unsigned i = 0; i < LINES; i++)
		ring.lines[i].ready = 0;
	ring.head = ring.tail = ring.dropped = 0;
	ring.stuck = ring.runs = false;
}

bool log_writer_runs(void)
{
	return __atomic_load_n(&ring.runs, __ATOMIC_RELAXED);
}

void log_writer_stderr_gone(void)
{
	int fd = ring.duplicate;
	struct stat st;

	if (fd < 0 || log_get_fd() != fd || fstat(fd, &st) ||
	    (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)))
		return;
	ring.duplicate = -1;
	log_set_fd(-1);
	fd_close(fd);
}
