/* SPDX-License-Identifier: Apache-2.0 */
/*
 * freestanding.c - the majority core without any library: linked with -nostdlib, so that an undefined symbol ends
 * the build. Exits 0 when a scan is followed as it should be.
 */
#include "libleap/prefetch/majority_core.h"

#define HISTORY 32

static union {
	struct majority m;
	char bytes[sizeof(struct majority) + HISTORY * sizeof(int64_t)];
} state;

/* 0 if all is well, else the number of the check that failed. */
static int run(void)
{
	struct majority *m = &state.m;
	struct majority_window window;

	majority_init(m, HISTORY, 8, 512, false);
	for (uint64_t page = 100; page < 103; page++) {
		majority_miss(m, page, &window);
		if (window.count)
			return 1;
	}
	majority_miss(m, 103, &window);
	if (window.start != 104 || window.delta != 1 || window.count != 1)
		return 2;
	majority_marker(m, 104, 1, 1, 104, &window);
	if (window.start != 105 || window.count != 2)
		return 3;
	majority_unused(m, 768);
	majority_marker(m, 106, 200, 1, 400, &window);
	if (window.count != 128)
		return 4;
	majority_hit(m, 107);
	return m->hits == 4 && majority_trend(m) == 1 ? 0 : 5;
}

/* exit_group(2) */
static void leave(int status)
{
#if defined(__x86_64__)
	__asm__ volatile("syscall" ::"a"(231), "D"(status) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long number __asm__("x8") = 94;
	register long first __asm__("x0") = status;

	__asm__ volatile("svc 0" ::"r"(number), "r"(first) : "memory");
#endif
}

void start(void) __attribute__((used, force_align_arg_pointer));
void start(void)
{
	leave(run());
	for (;;)
		;
}
