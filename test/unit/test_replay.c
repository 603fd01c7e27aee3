/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/ libleap/policy.c libleap/error.c libleap/util/fmt.c libleap/util/mem.c libleap/util/clerk.c libleap/util/fd.c libleap/lock.c libleap/log.c */
/* Policy replay, and the reading of the trace that it replays. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "libleap/error.h"
#include "libleap/policy.h"
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/replay.h"
#include "libleap/trace.h"

#define THEN 0x7000000ull /* first page of the region in the recorded run */
#define NOW  0x9900000ull /* and in this one */
#define ID   3

static char path[64];

static FILE *new_file(void)
{
	FILE *out;

	strcpy(path, "/tmp/leap-test-replay-XXXXXX");
	out = fdopen(mkstemp(path), "w");
	assert_non_null(out);
	return out;
}

static void write_trace(const struct trace_header *h, const struct trace_record *records)
{
	struct trace_region regions[2] = {{.id = 1, .first_vpn = 5, .pages = 10},
					  {.id = ID, .first_vpn = THEN, .pages = 100000}};
	FILE *out = new_file();

	assert_int_equal(fwrite(h, sizeof(*h), 1, out), 1);
	assert_int_equal(fwrite(regions, sizeof(regions), 1, out), 1);
	fwrite(records, sizeof(*records), h->n_records, out);
	assert_int_equal(fclose(out), 0);
}

static struct trace_header header(uint64_t n)
{
	return (struct trace_header){
		.magic = TRACE_MAGIC, .version = TRACE_VERSION, .n_regions = 2, .n_records = n};
}

/* The policy with these pages, numbered from 0, as its future. */
static void *with_future(const uint32_t *pages, uint32_t n)
{
	struct trace_record *records = calloc(n + 2, sizeof(*records));
	struct trace_header h = header(n + 2);
	struct prefetch_params params = {.history_size = 32, .history_split = 8, .window_max = 512};
	struct prefetch_scope scope = {.region = ID, .first_page = NOW};
	const struct prefetcher_ops *ops;
	char name[80];
	void *state;

	assert_non_null(records);
	for (uint32_t i = 0; i < n; i++)
		records[i] = (struct trace_record){.vpn = THEN + pages[i], .region = ID};
	/* neither first touches nor what is no touch is in the future */
	records[n] = (struct trace_record){
		.vpn = THEN + 77777, .region = ID, .flags = TRACE_RECORD_FIRST};
	records[n + 1] =
		(struct trace_record){.vpn = THEN + 77778, .region = ID, .op = TRACE_EVICT};
	write_trace(&h, records);
	free(records);
	snprintf(name, sizeof(name), "replay:%s", path);
	assert_int_equal(policy_open(name, &ops, &scope.future), 0);
	assert_int_equal(unlink(path), 0);
	assert_ptr_equal(ops, &prefetcher_replay);
	assert_non_null(scope.future);
	state = calloc(1, ops->state_bytes(&params));
	assert_non_null(state);
	assert_int_equal(ops->init(state, &params), 0);
	ops->scope(state, &scope);
	return state;
}

static struct prefetch_plan miss(void *state, uint32_t page)
{
	struct prefetch_access a = {.kind = PREFETCH_MISS, .page = NOW + page};
	struct prefetch_plan plan = {0};

	prefetcher_replay.access(state, &a, &plan);
	return plan;
}

static struct prefetch_plan marker(void *state, const struct prefetch_plan *window, uint32_t k)
{
	struct prefetch_access a = {
		.kind = PREFETCH_MARKER,
		.page = prefetch_nth(window, k),
		.credit = window->count,
		.delta = window->delta,
		.frontier = prefetch_nth(window, window->count - 1),
		.window = window,
	};
	struct prefetch_plan plan = {0};

	prefetcher_replay.access(state, &a, &plan);
	return plan;
}

static void check_pages(const struct prefetch_plan *plan, const uint32_t *pages, uint32_t n)
{
	assert_int_equal(plan->count, n);
	for (uint32_t k = 0; k < n; k++)
		assert_int_equal(prefetch_nth(plan, k) - NOW, pages[k]);
}

/* No two steps alike, each page once. */
static void fill_random(uint32_t *pages, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		pages[i] = i * 7919u % 65536;
	for (uint32_t i = n; i-- > 1;) {
		uint32_t k = i * 2654435761u % (i + 1), page = pages[i];

		pages[i] = pages[k];
		pages[k] = page;
	}
}

static void test_what_came_next(void **ignored)
{
	uint32_t pages[200];
	struct prefetch_plan plan, next;
	void *state;

	fill_random(pages, 200);
	state = with_future(pages, 200);
	plan = miss(state, pages[0]);
	check_pages(&plan, &pages[1], PREFETCH_STEPS_MAX);
	next = marker(state, &plan, 8);
	check_pages(&next, &pages[17], PREFETCH_STEPS_MAX);
	/* a jump: found again by the page alone */
	plan = miss(state, pages[150]);
	check_pages(&plan, &pages[151], PREFETCH_STEPS_MAX);
	/* near the end */
	plan = miss(state, pages[197]);
	check_pages(&plan, &pages[198], 2);
	plan = miss(state, pages[199]);
	assert_int_equal(plan.count, 0);
	free(state);
}

/* A page that comes twice: the occurrence behind the page that was touched last is meant. */
static void test_finds_its_place(void **ignored)
{
	uint32_t pages[1200];
	struct prefetch_plan plan;
	void *state;

	fill_random(pages, 1200);
	pages[900] = pages[600] = pages[300];
	state = with_future(pages, 1200);
	miss(state, pages[0]);
	miss(state, pages[899]);
	plan = miss(state, pages[900]);
	check_pages(&plan, &pages[901], PREFETCH_STEPS_MAX);
	miss(state, pages[5]);
	miss(state, pages[599]);
	plan = miss(state, pages[600]);
	check_pages(&plan, &pages[601], PREFETCH_STEPS_MAX);
	free(state);
}

static void test_strides_are_long(void **ignored)
{
	uint32_t pages[500];
	struct prefetch_plan plan;
	void *state;

	for (uint32_t i = 0; i < 500; i++)
		pages[i] = 90000 - 3 * i;
	state = with_future(pages, 500);
	plan = miss(state, pages[10]);
	check_pages(&plan, &pages[11], 128);
	plan = marker(state, &plan, 64);
	check_pages(&plan, &pages[139], 128);
	free(state);
}

/* Another program: after a few touches that are not in the future it does what the majority does. */
static void test_falls_back(void **ignored)
{
	struct prefetch_params params = {.history_size = 32, .history_split = 8, .window_max = 512};
	void *majority = calloc(1, prefetcher_majority.state_bytes(&params));
	struct prefetch_plan plan;
	uint32_t pages[200];
	void *state;

	fill_random(pages, 200);
	state = with_future(pages, 200);
	assert_non_null(majority);
	assert_int_equal(prefetcher_majority.init(majority, &params), 0);
	for (uint32_t i = 0; i < 50; i++) {
		struct prefetch_access a = {.kind = PREFETCH_MISS, .page = NOW + 70000 + 5 * i};
		struct prefetch_plan wish = {0};

		plan = miss(state, 70000 + 5 * i);
		prefetcher_majority.access(majority, &a, &wish);
		assert_memory_equal(&plan, &wish, sizeof(plan));
		assert_true(i < 10 || plan.count > 0);
	}
	/* and back, once touches come where they are expected */
	for (uint32_t i = 100; i < 120; i++)
		miss(state, pages[i]);
	free(majority);
	plan = miss(state, pages[120]);
	check_pages(&plan, &pages[121], PREFETCH_STEPS_MAX);
	free(state);
}

/* A tag of another policy's window is no place in the future. */
static void test_foreign_markers(void **ignored)
{
	struct prefetch_plan window = {.start = NOW + 50000, .delta = 1, .count = 8, .tag = 60};
	uint32_t pages[200];
	void *state;

	fill_random(pages, 200);
	state = with_future(pages, 200);
	marker(state, &window, 4);
	window.tag = UINT32_MAX;
	marker(state, &window, 5);
	free(state);
}

static void test_bad_files(void **ignored)
{
	const struct prefetcher_ops *ops;
	const struct replay_future *future;
	struct trace_header h = header(1);
	char name[80];

	assert_int_equal(policy_open("replay", &ops, &future), -EINVAL);
	assert_non_null(strstr(error_last(), "replay:FILE"));
	assert_int_equal(policy_open("replay:", &ops, &future), -EINVAL);
	assert_int_equal(policy_open("majority:x", &ops, &future), -EINVAL);
	assert_non_null(strstr(error_last(), "no policy 'majority:x'"));
	assert_int_equal(policy_open("replay:/no/such/file", &ops, &future), -ENOENT);
	assert_non_null(strstr(error_last(), "no such file"));
	assert_int_equal(policy_open("replay:/tmp", &ops, &future), -EINVAL);
	/* a header that promises more than there is, and others */
	h.n_records = 1ull << 60;
	for (int i = 0; i < 4; i++) {
		FILE *out = new_file();

		if (i)
			h = header(0);
		if (i == 1)
			h.version = 2;
		if (i == 2)
			h.records_at = 8;
		if (i == 3)
			h.n_regions = 1u << 20;
		assert_int_equal(fwrite(&h, sizeof(h), 1, out), 1);
		fclose(out);
		snprintf(name, sizeof(name), "replay:%s", path);
		assert_int_equal(policy_open(name, &ops, &future), -EINVAL);
		assert_non_null(strstr(error_last(), "not a trace"));
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(policy_open("majority", &ops, &future), 0);
	assert_ptr_equal(ops, &prefetcher_majority);
	assert_null(future);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_came_next),   cmocka_unit_test(test_finds_its_place),
		cmocka_unit_test(test_strides_are_long), cmocka_unit_test(test_falls_back),
		cmocka_unit_test(test_foreign_markers),  cmocka_unit_test(test_bad_files),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
