/* SPDX-License-Identifier: Apache-2.0 */
/* cases.c - see cases.h. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "test/fault/cases.h"

struct leap *leap;
struct leap_region *region;
char *base;

void start(const char *options)
{
	struct leap_options *o = leap_options_new();
	char text[256], *save = NULL;

	snprintf(text, sizeof(text), "%s", options);
	MUST(leap_options_set(o, "publish", "off"));
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		char *value = strchr(w, '=');

		*value++ = 0;
		MUST(leap_options_set(o, w, value));
	}
	MUST(leap_open(o, &leap));
	leap_options_free(o);
}

void make(size_t pages)
{
	MUST(leap_region_create(leap, pages * PAGE, &region));
	base = leap_region_addr(region);
}

uint64_t word_of(size_t page, uint64_t version, unsigned i)
{
	return (page + 1) * 0x9e3779b97f4a7c15ull + version * 0xc2b2ae3d27d4eb4full + i * i;
}

void fill(size_t first, size_t n, uint64_t version)
{
	for (size_t p = first; p < first + n; p++)
		for (unsigned i = 0; i < PAGE / 8; i++)
			((volatile uint64_t *)(base + p * PAGE))[i] = word_of(p, version, i);
}

void check(size_t first, size_t n, uint64_t version)
{
	for (size_t p = first; p < first + n; p++)
		for (unsigned i = 0; i < PAGE / 8; i += 73) {
			uint64_t got = ((volatile uint64_t *)(base + p * PAGE))[i];

			if (got != word_of(p, version, i))
				FAIL("page %zu word %u is %lx (state %s)", p, i, got,
				     page_state_name(page_state(&region->pages[p])));
		}
}

static bool wanted(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc == 1;
}

int run_cases(const struct fault_case *cases, int argc, char **argv)
{
	int failed = 0;

	for (size_t i = 0; cases[i].name; i++) {
		int status = 0;
		pid_t pid;

		if (!wanted(argc, argv, cases[i].name))
			continue;
		pid = fork();
		if (!pid) {
			alarm(HANG_S);
			cases[i].run();
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 2;
		printf("%-16s %s\n", cases[i].name,
		       !status                       ? "ok"
		       : !WIFSIGNALED(status)        ? "FAILED"
		       : WTERMSIG(status) == SIGALRM ? "HANGS"
						     : strsignal(WTERMSIG(status)));
		fflush(stdout);
		failed |= status;
	}
	return failed ? 1 : 0;
}
