/* SPDX-License-Identifier: Apache-2.0 */
/* protect.c - mprotect() to nothing, to read-only and back, with the faults that it is for. */
#include <setjmp.h>
#include <signal.h>

#include "test.h"

static sigjmp_buf env;
static volatile char *fault_at;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	fault_at = info->si_addr;
	siglongjmp(env, sig);
}

/* The signal that touching *p brings, 0 when none. */
static int touch(volatile char *p, int write)
{
	int sig;

	fault_at = NULL;
	sig = sigsetjmp(env, 1);
	if (sig)
		return fault_at == p ? sig : -sig;
	if (write)
		*p = *p + 1;
	else
		(void)*p;
	return 0;
}

static void states(void)
{
	char *p = map_anon(600 * PAGE);

	fill(p, 600 * PAGE, 1);
	pressure();
	CHECK(!mprotect(p + 100 * PAGE, 100 * PAGE, PROT_NONE));
	CHECK(!mprotect(p + 300 * PAGE, 100 * PAGE, PROT_READ));
	pressure();
	printf("none: read %d write %d\n", touch(p + 150 * PAGE, 0), touch(p + 150 * PAGE, 1));
	printf("read only: read %d write %d\n", touch(p + 350 * PAGE, 0), touch(p + 350 * PAGE, 1));
	printf("beside: %d %d\n", touch(p + 99 * PAGE, 0), touch(p + 200 * PAGE, 0));
	CHECK_FILLED(p, 100 * PAGE, 1);
	CHECK(!mprotect(p, 600 * PAGE, PROT_READ));
	pressure();
	CHECK_FILLED(p, 600 * PAGE, 1);
	CHECK(!mprotect(p, 600 * PAGE, PROT_READ | PROT_WRITE));
	CHECK_FILLED(p, 600 * PAGE, 1);
	fill(p, 600 * PAGE, 2);
	pressure();
	CHECK_FILLED(p, 600 * PAGE, 2);
	CHECK(!mprotect(p + 50 * PAGE, PAGE, PROT_NONE));
	CHECK(!munmap(p, 600 * PAGE));
	p = map_anon(600 * PAGE); /* the same addresses, mostly */
	CHECK_ZERO(p, 600 * PAGE);
	memset(p, 1, 600 * PAGE);
	CHECK(!munmap(p, 600 * PAGE));
}

/* Guard pages all over: many small mappings. */
static void guards(void)
{
	char *p = map_anon(2000 * PAGE);

	for (size_t i = 0; i < 2000; i += 10)
		CHECK(!mprotect(p + i * PAGE, PAGE, PROT_NONE));
	for (size_t i = 0; i < 2000; i += 10)
		fill(p + (i + 1) * PAGE, 9 * PAGE, i);
	pressure();
	for (size_t i = 0; i < 2000; i += 10) {
		CHECK_FILLED(p + (i + 1) * PAGE, 9 * PAGE, i);
		CHECK(touch(p + i * PAGE, 1) == SIGSEGV);
	}
	CHECK(!munmap(p, 2000 * PAGE));
	puts("guards");
}

static void code(void)
{
	static const unsigned char add[] = {0x8d, 0x04, 0x37, 0xc3}; /* lea (%rdi,%rsi),%eax; ret */
	unsigned char *p = map_anon(64 * PAGE);
	int (*fn)(int, int) = (int (*)(int, int))(p + 1000);

	memcpy(p + 1000, add, sizeof(add));
	CHECK(!mprotect(p, 64 * PAGE, PROT_READ | PROT_EXEC));
	pressure();
	printf("code: %d\n", fn(20, 22));
	CHECK(!munmap(p, 64 * PAGE));
}

static void on_write(int sig, siginfo_t *info, void *context)
{
	char *page = (char *)((uintptr_t)info->si_addr & ~(PAGE - 1));

	if (mprotect(page, PAGE, PROT_READ | PROT_WRITE))
		_exit(3);
}

/* Write barriers as a garbage collector has them. */
static void barriers(void)
{
	struct sigaction sa = {.sa_sigaction = on_write, .sa_flags = SA_SIGINFO};
	char *p = map_anon(1000 * PAGE);

	sigaction(SIGSEGV, &sa, NULL);
	for (int round = 0; round < 3; round++) {
		CHECK(!mprotect(p, 1000 * PAGE, PROT_READ));
		for (size_t i = 0; i < 1000; i += 3)
			p[i * PAGE + 100] = (char)(i + (size_t)round);
		pressure();
		for (size_t i = 0; i < 1000; i += 3)
			CHECK(p[i * PAGE + 100] == (char)(i + (size_t)round));
	}
	CHECK(!mprotect(p, 1000 * PAGE, PROT_READ | PROT_WRITE));
	CHECK(!munmap(p, 1000 * PAGE));
	puts("barriers");
}

static void errors(void)
{
	char *p = map_anon(100 * PAGE);

	show("odd", mprotect(p + 1, PAGE, PROT_READ));
	show("flags", mprotect(p, PAGE, 0x1000));
	CHECK(!munmap(p + 50 * PAGE, 10 * PAGE));
	show("hole", mprotect(p, 100 * PAGE, PROT_READ));
	printf("before it %d behind %d\n", touch(p + 49 * PAGE, 1), touch(p + 60 * PAGE, 1));
	CHECK(!munmap(p, 100 * PAGE));
}

int main(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	states();
	guards();
	errors();
	code();
	barriers();
	return 0;
}
