/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/error.c libleap/util/fmt.c libleap/util/mem.c libleap/util/fd.c libleap/lock.c libleap/log.c */
/* The recorder of traces without its thread: order, what is lost, what is in the file. */
#include "libleap/recorder.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define BASE 0x7f0000000ull

static struct leap leap;
static struct shard shards[2];
static struct leap_region region = {
	.id = 5, .addr = (char *)(BASE << LEAP_PAGE_SHIFT), .npages = 4096};
static char path[64];
static int64_t budget;

int64_t budget_pages(const struct leap *l)
{
	return budget;
}

int thread_start(struct thread *thread, void *(*fn)(void *), void *arg, const char *name)
{
	return 0;
}

void thread_join(struct thread *thread)
{
}

static int set_up(void **state)
{
	int fd;

	strcpy(path, "/tmp/leap-test-recorder-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	memset(&leap, 0, sizeof(leap));
	memset(shards, 0, sizeof(shards));
	budget = 1000;
	leap.shards = shards;
	leap.nshards = 2;
	leap.all_sync = true;
	leap.start_ns = clock_ns();
	for (unsigned s = 0; s < 2; s++) {
		shards[s].leap = &leap;
		lock_init(&shards[s].lock, LOCK_RANK_SHARD, s);
	}
	strcpy(leap.config.trace, path);
	assert_int_equal(recorder_open(&leap), 0);
	recorder_region(&leap, &region);
	return 0;
}

static int tear_down(void **state)
{
	recorder_close(&leap);
	assert_null(leap.recorder);
	assert_null(shards[0].ring);
	unlink(path);
	return 0;
}

static void emit_one(unsigned s, size_t index)
{
	lock_acquire(&shards[s].lock);
	record_pages(&shards[s], TRACE_NEW, &region, index, 1);
	lock_release(&shards[s].lock);
}

/* The file; records are behind *ret_header's records_at. */
static char *read_file(struct trace_header *ret_header, const struct trace_record **ret_records)
{
	FILE *in = fopen(path, "r");
	char *bytes;
	long size;

	assert_non_null(in);
	assert_int_equal(fseek(in, 0, SEEK_END), 0);
	size = ftell(in);
	rewind(in);
	bytes = malloc((size_t)size);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, (size_t)size, in), size);
	fclose(in);
	memcpy(ret_header, bytes, sizeof(*ret_header));
	assert_memory_equal(ret_header->magic, TRACE_MAGIC, 4);
	assert_int_equal(
		ret_header->records_at + ret_header->n_records * sizeof(struct trace_record), size);
	*ret_records = (const struct trace_record *)(bytes + ret_header->records_at);
	return bytes;
}

/* Records of both shards come in order of time, whatever ring they were in. */
static void test_order(void **state)
{
	const struct trace_record *r;
	struct trace_region entry;
	struct trace_header h;
	char *bytes;

	for (size_t i = 0; i < 3000; i++) {
		emit_one(i / 7 % 2, i);
		if (i % 1000 == 999)
			take_round(leap.recorder);
	}
	recorder_flush(&leap);
	bytes = read_file(&h, &r);
	assert_int_equal(h.n_records, 3000 + TRACE_COUNT_EVICTED);
	assert_int_equal(h.dropped, 0);
	assert_int_equal(h.local_pages, 1000);
	assert_int_equal(h.flags & (TRACE_OPEN | TRACE_STAGED), 0);
	assert_int_equal(h.n_regions, 1);
	memcpy(&entry, bytes + sizeof(h), sizeof(entry));
	assert_int_equal(entry.id, 5);
	assert_int_equal(entry.first_vpn, BASE);
	assert_int_equal(entry.pages, 4096);
	for (size_t i = 0; i < 3000; i++) {
		assert_int_equal(r[i].vpn, BASE + i);
		assert_int_equal(r[i].op, TRACE_NEW);
		assert_int_equal(r[i].region, 5);
		assert_true(!i || r[i].t_ns >= r[i - 1].t_ns);
	}
	free(bytes);
}

/* A full ring: what does not fit is counted, and said where it is missing and in the header. */
static void test_lost(void **state)
{
	const uint64_t room = RECORDER_RING - 1, lost = 1234;
	const struct trace_record *r;
	struct trace_header h;
	char *bytes;

	for (uint64_t i = 0; i < room + lost; i++)
		emit_one(0, i % 4096);
	take_round(leap.recorder);
	emit_one(0, 77);
	take_round(leap.recorder);
	write_header(leap.recorder, true);
	bytes = read_file(&h, &r);
	assert_int_equal(h.dropped, lost);
	assert_true(h.flags & TRACE_OPEN);
	assert_int_equal(h.n_records, room + 2);
	assert_int_equal(r[room - 1].op, TRACE_NEW);
	assert_int_equal(r[room].op, TRACE_LOST);
	assert_int_equal(r[room].vpn, lost);
	assert_int_equal(r[room + 1].vpn, BASE + 77);
	free(bytes);
}

/* Lost at the very end, with nothing behind it. */
static void test_lost_at_the_end(void **state)
{
	const struct trace_record *r;
	struct trace_header h;
	char *bytes;

	for (uint64_t i = 0; i < RECORDER_RING + 9; i++)
		emit_one(1, 1);
	recorder_flush(&leap);
	bytes = read_file(&h, &r);
	assert_int_equal(h.dropped, 10);
	assert_int_equal(h.n_records, RECORDER_RING + TRACE_COUNT_EVICTED);
	assert_int_equal(r[RECORDER_RING - 1].op, TRACE_LOST);
	assert_int_equal(r[RECORDER_RING - 1].vpn, 10);
	free(bytes);
}

static void test_limit(void **state)
{
	const struct trace_record *r;
	struct trace_header h;
	char *bytes;

	for (budget = 1000; budget < 1100; budget++) {
		lock_acquire(&shards[0].lock);
		record_limit(&shards[0]);
		lock_release(&shards[0].lock);
	}
	recorder_flush(&leap);
	bytes = read_file(&h, &r);
	assert_int_equal(h.n_records, 7 + TRACE_COUNT_EVICTED);
	assert_int_equal(r[0].op, TRACE_LIMIT);
	assert_int_equal(r[0].vpn, 1000);
	assert_int_equal(r[1].vpn, 1000 + LIMIT_STEP);
	free(bytes);
}

/* A file that takes no more: the rest counts as lost, and the header still says so. */
static void test_full_disk(void **state)
{
	const struct trace_record *r;
	struct trace_header h;
	char *bytes;

	log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	emit_one(0, 1);
	take_round(leap.recorder);
	leap.recorder->failed = true;
	emit_one(0, 2);
	emit_one(0, 3);
	take_round(leap.recorder);
	write_header(leap.recorder, false);
	bytes = read_file(&h, &r);
	assert_int_equal(h.n_records, 1);
	assert_int_equal(h.dropped, 2);
	free(bytes);
}

/* Forked: the child lets go of everything and leaves the file as it is. */
static void test_forked(void **state)
{
	const struct trace_record *r;
	struct trace_header h;
	char *bytes;

	emit_one(0, 1);
	take_round(leap.recorder);
	write_header(leap.recorder, true);
	emit_one(0, 2);
	recorder_forked(&leap);
	assert_null(leap.recorder);
	emit_one(0, 3);
	recorder_flush(&leap);
	bytes = read_file(&h, &r);
	assert_int_equal(h.n_records, 1);
	free(bytes);
}

static void test_files(void **state)
{
	int fd, other;

	assert_int_equal(recorder_create("/no/such/directory/f", &fd), -ENOENT);
	assert_int_equal(recorder_create("/tmp", &fd), -EISDIR);
	assert_int_equal(recorder_create("/dev/null", &fd), -EINVAL);
	assert_int_equal(recorder_create(path, &fd), -EBUSY); /* this test's own recorder has it */
	assert_non_null(strstr(error_last(), "%p"));
	unlink(path);
	assert_int_equal(recorder_create(path, &other), 0);
	close(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order), TEST(test_lost),      TEST(test_lost_at_the_end),
		TEST(test_limit), TEST(test_full_disk), TEST(test_forked),
		TEST(test_files),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
