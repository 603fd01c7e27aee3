/* SPDX-License-Identifier: Apache-2.0 */
/* must.h - in a test's child process: say what is wrong, and end. */
#ifndef TEST_FAULT_MUST_H
#define TEST_FAULT_MUST_H

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "leap.h"

#define FAIL(...)                                                 \
	do {                                                      \
		fprintf(stderr, "%s: ", program_invocation_name); \
		fprintf(stderr, __VA_ARGS__);                     \
		fprintf(stderr, "\n");                            \
		_exit(1);                                         \
	} while (0)
#define MUST(call)                                                        \
	do {                                                              \
		int r_ = (call);                                          \
		if (r_)                                                   \
			FAIL("%s: %d: %s", #call, r_, leap_last_error()); \
	} while (0)

#endif
