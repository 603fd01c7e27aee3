/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/prefetch/ libleap/error.c libleap/util/fmt.c */
/* One instance of a policy, or one for each stream of accesses: who hears of what. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/prefetch/history.h"

#define ONE   0x7f0000000ull
#define TWO   (ONE + 100000)
#define THREE (ONE + 200000)

/* A policy that notes what it hears, and brings the 8 pages behind. */
struct noted {
	uint64_t first, last; /* pages heard of */
	uint32_t accesses, unused, zeroed;
};

static struct noted *heard; /* the instance that heard last */
static int init_answer;
static const struct prefetch_params params = {32, 8, 8, false};

static size_t state_bytes(const struct prefetch_params *p)
{
	return sizeof(struct noted);
}

static int init(void *state, const struct prefetch_params *p)
{
	struct noted *n = state;

	n->zeroed = !n->accesses && !n->first && !n->unused;
	return init_answer;
}

static void access(void *state, const struct prefetch_access *a, struct prefetch_plan *plan)
{
	heard = state;
	if (!heard->accesses++)
		heard->first = a->page;
	heard->last = a->page;
	if (a->kind != PREFETCH_HIT)
		*plan = (struct prefetch_plan){.start = a->page + 1, .delta = 1, .count = 8};
}

static void unused(void *state, uint32_t count)
{
	((struct noted *)state)->unused += count;
}

static void peek(const void *state, int64_t *ret_trend, uint32_t *ret_window)
{
	*ret_trend = (int64_t)((const struct noted *)state)->first;
	*ret_window = ((const struct noted *)state)->accesses;
}

static struct prefetcher_ops policy = {
	.size = sizeof(policy),
	.name = "noting",
	.state_bytes = state_bytes,
	.init = init,
	.access = access,
	.unused = unused,
	.peek = peek,
};

static struct history *new_history(bool by_stream)
{
	struct prefetch_scope scope = {0};
	struct history *h = calloc(1, history_bytes(&policy, &params, by_stream));

	assert_non_null(h);
	assert_int_equal(history_init(h, &policy, &params, by_stream, &scope), 0);
	return h;
}

/* The instance that heard of it. */
static struct noted *tell(struct history *h, enum prefetch_kind kind, uint64_t page,
			  struct prefetch_plan *ret_plan)
{
	struct prefetch_access a = {.kind = kind, .page = page};

	*ret_plan = (struct prefetch_plan){0};
	heard = NULL;
	history_access(h, &a, ret_plan);
	assert_non_null(heard);
	return heard;
}

static struct noted *marker(struct history *h, const struct prefetch_plan *window,
			    struct prefetch_plan *ret_plan)
{
	struct prefetch_access a = {.page = prefetch_nth(window, window->count / 2)};

	prefetch_set_marker(&a, window);
	*ret_plan = (struct prefetch_plan){0};
	heard = NULL;
	history_access(h, &a, ret_plan);
	assert_non_null(heard);
	return heard;
}

static void test_one(void **state)
{
	struct history *h = new_history(false);
	struct prefetch_plan plan;
	struct noted *n = tell(h, PREFETCH_MISS, ONE, &plan);
	uint32_t window;
	int64_t trend;

	assert_ptr_equal(tell(h, PREFETCH_MISS, TWO, &plan), n);
	assert_int_equal(plan.start, TWO + 1);
	history_unused(h, THREE, 3);
	assert_int_equal(n->unused, 3);
	history_peek(h, &trend, &window);
	assert_int_equal(trend, ONE);
	assert_int_equal(window, 2);
	free(h);
}

/* Near accesses belong together, whoever came between. */
static void test_streams(void **state)
{
	struct history *h = new_history(true);
	struct prefetch_plan plan, one, two;
	struct noted *a = tell(h, PREFETCH_MISS, ONE, &one), *b;
	uint32_t window;
	int64_t trend;

	b = tell(h, PREFETCH_MISS, TWO, &two);
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(tell(h, PREFETCH_MISS, ONE + 64, &plan), a);
	assert_ptr_equal(tell(h, PREFETCH_HIT, TWO - 64, &plan), b);
	assert_int_equal(plan.count, 0);
	history_peek(h, &trend, &window);
	assert_int_equal(trend, TWO);
	assert_int_equal(window, 2);
	/* the nearest of two */
	assert_ptr_not_equal(tell(h, PREFETCH_MISS, ONE + 64 + 65, &plan), a);
	assert_ptr_equal(tell(h, PREFETCH_MISS, ONE + 64 + 30, &plan), a);
	free(h);
}

/* A window comes back to its stream, which is then where the window ends. */
static void test_markers(void **state)
{
	struct history *h = new_history(true);
	struct prefetch_plan plan, far = {0};
	struct noted *a = tell(h, PREFETCH_MISS, ONE, &plan), *b;

	far = plan;
	far.start = THREE;
	far.count = 512;
	tell(h, PREFETCH_MISS, TWO, &plan);
	assert_ptr_equal(marker(h, &far, &plan), a); /* by its tag, however far it has come */
	assert_int_equal(plan.tag, far.tag);
	assert_ptr_equal(tell(h, PREFETCH_MISS, THREE + 512, &plan), a);
	marker(h, &far, &plan);
	/* a page between the marker and the end, which must have been dropped */
	assert_ptr_equal(tell(h, PREFETCH_MISS, THREE + 300, &plan), a);
	/* a tag that means nothing: by its place */
	far.tag = 12345678;
	far.start = TWO - 511;
	b = marker(h, &far, &plan);
	assert_ptr_not_equal(a, b);
	assert_int_equal(b->first, TWO);
	/* and near to nothing: a stream of its own */
	far.start = ONE - 1000000;
	assert_int_equal(marker(h, &far, &plan)->accesses, 1);
	free(h);
}

/* Pages that nobody touched are told to the stream that planned them, wherever it is now. */
static void test_unused(void **state)
{
	struct history *h = new_history(true);
	struct prefetch_plan plan;
	struct noted *a = tell(h, PREFETCH_MISS, ONE, &plan), *b;

	b = tell(h, PREFETCH_MISS, TWO, &plan);
	tell(h, PREFETCH_MISS, TWO + 64, &plan);
	for (uint64_t page = ONE; page < ONE + 640; page += 64)
		assert_ptr_equal(tell(h, PREFETCH_MISS, page, &plan), a);
	history_unused(h, ONE + 8, 5);
	assert_int_equal(a->unused, 5);
	history_unused(h, TWO + 3, 2);
	assert_int_equal(b->unused, 2);
	history_unused(h, THREE, 7); /* nobody's */
	assert_int_equal(a->unused + b->unused, 7);
	/* a hit that is near to no stream any more is its planner's, too */
	assert_ptr_equal(tell(h, PREFETCH_HIT, ONE + 8, &plan), a);
	free(h);
}

/* The 65th stream has the place of the one that was silent for longest, which is forgotten: so are its windows. */
static void test_replaced(void **state)
{
	struct history *h = new_history(true);
	struct prefetch_plan plan, first, second;
	struct noted *a = tell(h, PREFETCH_MISS, ONE, &first), *b;

	b = tell(h, PREFETCH_MISS, ONE + 1000, &second);
	for (uint64_t i = 2; i < 64; i++)
		assert_ptr_not_equal(tell(h, PREFETCH_MISS, ONE + 1000 * i, &plan), a);
	assert_int_equal(tell(h, PREFETCH_MISS, ONE, &plan)->accesses, 2);
	assert_ptr_equal(tell(h, PREFETCH_MISS, TWO, &plan), b); /* in the second's place */
	assert_int_equal(b->accesses, 1);
	assert_true(b->zeroed);
	history_unused(h, ONE + 1001, 4);
	assert_int_equal(b->unused, 0);
	second.start = THREE;
	assert_ptr_not_equal(marker(h, &second, &plan), b);
	assert_ptr_equal(marker(h, &first, &plan), a);
	free(h);
}

static void test_whole(void **state)
{
	struct history *h;
	struct prefetch_plan plan;
	struct noted *a;

	policy.whole = true;
	assert_int_equal(history_bytes(&policy, &params, true),
			 history_bytes(&policy, &params, false));
	h = new_history(true);
	a = tell(h, PREFETCH_MISS, ONE, &plan);
	assert_ptr_equal(tell(h, PREFETCH_MISS, TWO, &plan), a);
	assert_int_equal(plan.tag, 0);
	free(h);
	policy.whole = false;
}

static void test_init_fails(void **state)
{
	struct prefetch_scope scope = {0};
	struct history *h = calloc(1, history_bytes(&policy, &params, true));

	assert_non_null(h);
	init_answer = -EINVAL;
	assert_int_equal(history_init(h, &policy, &params, true, &scope), -EINVAL);
	init_answer = 0;
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one),        cmocka_unit_test(test_streams),
		cmocka_unit_test(test_markers),    cmocka_unit_test(test_unused),
		cmocka_unit_test(test_replaced),   cmocka_unit_test(test_whole),
		cmocka_unit_test(test_init_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
