/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - runs the contract tests for all subjects, or for those whose names begin with an argument. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test/contract/contract.h"

static int group_teardown(void **state)
{
	if (donor)
		donor_stop(donor);
	donor = NULL;
	return 0;
}

/* A test that hangs is a failure of that test's subject: the name is the last line. */
static int each_setup(void **state)
{
	alarm(60 * slow());
	return 0;
}

#define T(name) cmocka_unit_test_setup(name, each_setup)

static int run_subject(void)
{
	const struct CMUnitTest tests[] = {
		T(test_operations),     T(test_fresh_is_zero), T(test_sizes),
		T(test_bad_requests),   T(test_lanes_agree),   T(test_order),
		T(test_stress),         T(test_done),          T(test_chain),
		T(test_depth),          T(test_cancel),        T(test_cancel_resubmit),
		T(test_descriptor),     T(test_hand_over),     T(test_slabs),
		T(test_zeroed_again),   T(test_full),          T(test_info),
		T(test_peek),           T(test_tick),          T(test_clone),
		T(test_clone_of_clone), T(test_ticket),        T(test_kill),
		T(test_stop),           T(test_idle),          T(test_sleeper_is_woken),
	};

	donor = subject_donor();
	if (!subject_possible()) { /* skip() in a set-up counts as an error */
		fprintf(stderr, "not on this machine\n");
		group_teardown(NULL);
		return 0;
	}
	return cmocka_run_group_tests_name(subject->name, tests, NULL, group_teardown);
}

int main(int argc, char **argv)
{
	int failed = 0, ran = 0;

	for (unsigned i = 0; (subject = subject_get(i)); i++) {
		if (argc > 1 && strncmp(subject->name, argv[1], strlen(argv[1])))
			continue;
		fprintf(stderr, "\n--- %s\n", subject->name);
		failed += run_subject();
		ran++;
	}
	return failed || !ran;
}
