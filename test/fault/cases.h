/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cases.h - cases of one session and one region each, whose pages hold words that say which page and version they are.
 *
 * Every case runs in a process of its own with an alarm: a hang is a failure, and so is a signal.
 */
#ifndef TEST_FAULT_CASES_H
#define TEST_FAULT_CASES_H

#include "libleap/session.h"
#include "test/fault/must.h"

#define PAGE   4096ul
#define HANG_S 60

extern struct leap *leap;
extern struct leap_region *region;
extern char *base;

struct fault_case {
	const char *name;
	void (*run)(void);
};

/* options: "NAME=VALUE ..." */
void start(const char *options);
void make(size_t pages);
uint64_t word_of(size_t page, uint64_t version, unsigned i);
void fill(size_t first, size_t n, uint64_t version);
void check(size_t first, size_t n, uint64_t version);
/* Those named in argv, or all; the list ends with NULL. The exit code. */
int run_cases(const struct fault_case *cases, int argc, char **argv);

#endif
