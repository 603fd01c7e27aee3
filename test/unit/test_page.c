/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/log.c libleap/util/fmt.c */
/*
 * The states of a page: every arrow that exists and every one that does not, and the facts that debug builds
 * assert (page.c is included with the checks on).
 */
#ifndef LEAP_DEBUG_CHECKS
#define LEAP_DEBUG_CHECKS
#endif
#include "libleap/page.c"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* The diagram of page.h: what stands in the row may become what stands in the column marked. */
static const char *const diagram[PAGE_NSTATES] = {
	/*               A L F S E I R X: absent local filling staged evicting lImbo remote lost */
	[PAGE_ABSENT] = ". L . . . . . X",   [PAGE_LOCAL] = "A . . . E . . X",
	[PAGE_FILLING] = ". L . S . . R X",  [PAGE_STAGED] = "A L . . . . R .",
	[PAGE_EVICTING] = "A L . . . I . X", [PAGE_LIMBO] = "A L . . . . R X",
	[PAGE_REMOTE] = "A L F . . . . X",   [PAGE_LOST] = "A . . . . . . .",
};

static bool allowed(enum page_state from, enum page_state to)
{
	return diagram[from][2 * to] != '.';
}

/* A page with which every fact of every state holds. */
static struct page sound(enum page_state state)
{
	return (struct page){.word = (uint32_t)state | PAGE_STORED, .slot = 7, .hash = 99};
}

/* Runs fn in a child: true when it died by SIGABRT. What it wrote to stderr is in said. */
static char said[512];
static bool dies(void (*fn)(void *), void *arg)
{
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		signal(SIGABRT, SIG_DFL);
		alarm(10);
		log_set_fd(fds[1]);
		fn(arg);
		_exit(0);
	}
	close(fds[1]);
	n = read(fds[0], said, sizeof(said) - 1);
	said[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 0);
		return false;
	}
	assert_int_equal(WTERMSIG(status), SIGABRT);
	return true;
}

struct arrow {
	struct page page;
	enum page_state to;
};

static void take(void *arg)
{
	struct arrow *arrow = arg;

	page_move(&arrow->page, arrow->to);
}

static void test_arrows(void **state)
{
	for (int from = 0; from < PAGE_NSTATES; from++)
		for (int to = 0; to < PAGE_NSTATES; to++) {
			struct arrow arrow = {sound((enum page_state)from), (enum page_state)to};
			struct page before = arrow.page;

			if (allowed((enum page_state)from, (enum page_state)to)) {
				page_move(&arrow.page, (enum page_state)to);
				assert_int_equal(page_state(&arrow.page), to);
				assert_int_equal(arrow.page.word & ~PAGE_STATE_MASK,
						 before.word & ~PAGE_STATE_MASK);
				assert_int_equal(arrow.page.slot, 7);
				assert_int_equal(arrow.page.hash, 99);
				continue;
			}
			if (!dies(take, &arrow))
				fail_msg("%s -> %s is let pass",
					 page_state_name((enum page_state)from),
					 page_state_name((enum page_state)to));
			assert_non_null(strstr(said, page_state_name((enum page_state)from)));
			assert_non_null(strstr(said, page_state_name((enum page_state)to)));
		}
}

/* No state is a trap, and every state is reached from ABSENT. */
static void test_all_states_are_reached_and_left(void **state)
{
	unsigned reached = 1u << PAGE_ABSENT;

	for (int round = 0; round < PAGE_NSTATES; round++)
		for (int s = 0; s < PAGE_NSTATES; s++)
			if (reached & (1u << s))
				reached |= page_arrows[s];
	assert_int_equal(reached, (1u << PAGE_NSTATES) - 1);
	for (int s = 0; s < PAGE_NSTATES; s++)
		assert_true(page_arrows[s] & ~(1u << s));
}

static void test_flags_survive_moves(void **state)
{
	struct page page = sound(PAGE_REMOTE);

	page_set_flags(&page, PAGE_MARKER | PAGE_WAITED, 0);
	page_move(&page, PAGE_FILLING);
	page_move(&page, PAGE_LOCAL);
	assert_true(page_has(&page, PAGE_MARKER));
	assert_true(page_has(&page, PAGE_WAITED));
	page_set_flags(&page, PAGE_PREFETCHED, PAGE_MARKER | PAGE_WAITED);
	assert_int_equal(page_word(&page), PAGE_LOCAL | PAGE_STORED | PAGE_PREFETCHED);
}

static void check(void *arg)
{
	page_check(arg);
}

static void test_facts(void **state)
{
	static const struct {
		enum page_state state;
		uint32_t set, clear, slot;
		const char *says; /* NULL: nothing is wrong */
	} cases[] = {
		{PAGE_REMOTE, 0, 0, 7, NULL},
		{PAGE_REMOTE, 0, 0, 0, "without a slot"},
		{PAGE_REMOTE, 0, PAGE_STORED, 7, "not stored"},
		{PAGE_REMOTE, PAGE_WRITING, 0, 7, "being written"},
		{PAGE_FILLING, 0, 0, 7, NULL},
		{PAGE_FILLING, 0, PAGE_STORED, 7, "from nothing"},
		{PAGE_EVICTING, 0, 0, 0, NULL},
		{PAGE_EVICTING, PAGE_PIN_ONE, 0, 7, "pinned"},
		{PAGE_LOCAL, PAGE_PIN_ONE | PAGE_WRITING, PAGE_STORED, 0, NULL},
		{PAGE_LIMBO, PAGE_WRITING, PAGE_STORED, 7, NULL},
		{PAGE_ABSENT, 0, PAGE_STORED, 0, NULL},
		{PAGE_LOST, 0, PAGE_STORED, 0, NULL},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct page page = sound(cases[i].state);

		page_set_flags(&page, cases[i].set, cases[i].clear);
		page.slot = cases[i].slot;
		if (dies(check, &page) != !!cases[i].says)
			fail_msg("case %u", i);
		if (cases[i].says)
			assert_non_null(strstr(said, cases[i].says));
	}
}

/* A move into a state whose facts do not hold is caught, too. */
static void test_moves_are_checked(void **state)
{
	struct arrow arrow = {sound(PAGE_LIMBO), PAGE_REMOTE};

	page_set_flags(&arrow.page, PAGE_WRITING, PAGE_STORED);
	assert_true(dies(take, &arrow));
	arrow.page = sound(PAGE_LOCAL);
	page_set_flags(&arrow.page, 3 * PAGE_PIN_ONE, 0);
	arrow.to = PAGE_EVICTING;
	assert_true(page_pinned(&arrow.page));
	assert_true(dies(take, &arrow));
}

static void test_layout(void **state)
{
	struct page zero = {0};

	assert_int_equal(sizeof(struct page), 16);
	assert_int_equal(page_state(&zero), PAGE_ABSENT);
	assert_true(PAGE_NSTATES <= PAGE_STATE_MASK + 1);
	assert_int_equal(PAGE_DEMAND & PAGE_PIN_MASK, 0);
	assert_string_equal(page_state_name(PAGE_LOST), "lost");
	assert_string_equal(page_state_name(PAGE_NSTATES), "?");
	assert_string_equal(page_state_name((enum page_state) - 1), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arrows),
		cmocka_unit_test(test_all_states_are_reached_and_left),
		cmocka_unit_test(test_flags_survive_moves),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_moves_are_checked),
		cmocka_unit_test(test_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
