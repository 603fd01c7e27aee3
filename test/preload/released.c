/* SPDX-License-Identifier: Apache-2.0 */
/*
 * released.c - memory that was given back is gone for every observer: a signal for the program, EFAULT for the kernel, zeroes
 * when it is handed out again; also when it was given up by calls that name no function of the C library.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "test.h"

static sigjmp_buf env;

static void on_fault(int sig)
{
	siglongjmp(env, sig);
}

/* The signal that touching *p brings, 0 when none. */
static int touch(volatile char *p, int write)
{
	int sig = sigsetjmp(env, 1);

	if (!sig && write)
		*p = *p + 1;
	else if (!sig)
		(void)*p;
	return sig;
}

/* What a pipe takes from p, and gives to it: bytes, or -errno. */
static void by_kernel(char *p)
{
	ssize_t r;
	int ends[2];

	CHECK(!pipe(ends));
	r = write(ends[1], p, 10);
	printf("write() from it: %d", r < 0 ? -errno : (int)r);
	CHECK(write(ends[1], "hello", 5) == 5);
	r = read(ends[0], p, 5);
	printf(", read() to it: %d\n", r < 0 ? -errno : (int)r);
	close(ends[0]);
	close(ends[1]);
}

static void unmapped(void)
{
	char *p = map_anon(600 * PAGE), *q;
	unsigned char there;

	fill(p, 600 * PAGE, 1);
	pressure();
	CHECK(!munmap(p + 100 * PAGE, 400 * PAGE));
	printf("unmapped: read %d write %d\n", touch(p + 200 * PAGE, 0), touch(p + 300 * PAGE, 1));
	by_kernel(p + 250 * PAGE);
	printf("mincore: %d\n", mincore(p + 250 * PAGE, PAGE, &there) ? errno : 0);
	CHECK_FILLED(p, 100 * PAGE, 1);
	/* again, with hands on it in between */
	for (int i = 0; i < 20; i++) {
		q = map_anon(200 * PAGE);
		CHECK_ZERO(q, 200 * PAGE);
		fill(q, 200 * PAGE, 2);
		CHECK(!munmap(q, 200 * PAGE));
		CHECK(touch(q + 5 * PAGE, 1) == SIGSEGV);
	}
	CHECK(!munmap(p, 600 * PAGE));
}

static void shrunk(void)
{
	char *p = map_anon(600 * PAGE), *q;

	fill(p, 600 * PAGE, 3);
	pressure();
	q = mremap(p, 600 * PAGE, 200 * PAGE, 0);
	CHECK(q == p);
	printf("shrunk: %d\n", touch(p + 300 * PAGE, 0));
	CHECK_FILLED(p, 200 * PAGE, 3);
	q = mremap(p, 200 * PAGE, 4000 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	CHECK_FILLED(q, 200 * PAGE, 3);
	CHECK_ZERO(q + 200 * PAGE, 3800 * PAGE);
	if (q != p)
		CHECK(touch(p + 10 * PAGE, 0) == SIGSEGV);
	CHECK(!munmap(q, 4000 * PAGE));
}

/* Memory that may not be written moves with its protection. */
static void protected(void)
{
	char *p = map_anon(256 * PAGE), *q;

	fill(p, 256 * PAGE, 4);
	CHECK(!mprotect(p, 256 * PAGE, PROT_READ));
	pressure();
	q = mremap(p, 256 * PAGE, 2000 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED);
	printf("grown, read only: read %d write %d, new part: read %d write %d\n", touch(q, 0),
	       touch(q, 1), touch(q + 1000 * PAGE, 0), touch(q + 1000 * PAGE, 1));
	CHECK_FILLED(q, 256 * PAGE, 4);
	CHECK(!mprotect(q, 2000 * PAGE, PROT_NONE));
	p = mremap(q, 2000 * PAGE, 9000 * PAGE, MREMAP_MAYMOVE);
	CHECK(p != MAP_FAILED);
	printf("grown, no access: %d %d\n", touch(p, 0), touch(p + 5000 * PAGE, 0));
	CHECK(!mprotect(p, 9000 * PAGE, PROT_READ | PROT_WRITE));
	CHECK_FILLED(p, 256 * PAGE, 4);
	CHECK_ZERO(p + 256 * PAGE, 8744 * PAGE);
	CHECK(!mprotect(p + 100 * PAGE, PAGE,
			PROT_READ)); /* two protections: the kernel's EFAULT */
	q = mremap(p, 9000 * PAGE, 9001 * PAGE, MREMAP_MAYMOVE);
	printf("two protections: %s\n", q == MAP_FAILED ? strerror(errno) : "moved");
	CHECK(!munmap(p, 9000 * PAGE));
}

/* By a raw system call, for parts of two ranges and the hole between them. */
static void advised(void)
{
	char *p = map_anon(300 * PAGE), *q = map_anon(300 * PAGE);
	struct iovec iov[2] = {{p + 10 * PAGE, 100 * PAGE}, {q, 50 * PAGE}};
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	long r;

	fill(p, 300 * PAGE, 5);
	fill(q, 300 * PAGE, 6);
	pressure();
	CHECK(!syscall(SYS_madvise, p + 200 * PAGE, 50 * PAGE, MADV_DONTNEED));
	CHECK_ZERO(p + 200 * PAGE, 50 * PAGE);
	r = syscall(SYS_process_madvise, self, iov, 2, MADV_DONTNEED, 0);
	if (r < 0 && errno == EINVAL) { /* before Linux 6.13: not this advice */
		memset(p + 10 * PAGE, 0, 100 * PAGE);
		memset(q, 0, 50 * PAGE);
		r = 150 * (long)PAGE;
	}
	printf("process_madvise: %ld pages\n", r / (long)PAGE);
	CHECK_FILLED(p, 10 * PAGE, 5);
	CHECK_ZERO(p + 10 * PAGE, 100 * PAGE);
	CHECK_ZERO(q, 50 * PAGE);
	pressure();
	CHECK_ZERO(p + 10 * PAGE, 100 * PAGE);
	CHECK_ZERO(q, 50 * PAGE);
	r = syscall(SYS_process_madvise, self, iov, 2, MADV_COLD, 1);
	printf("flags: %d\n", r < 0 ? errno : 0);
	r = syscall(SYS_process_madvise, -1, iov, 2, MADV_COLD, 0);
	printf("no process: %d\n", r < 0 ? errno : 0);
	iov[0].iov_base = (char *)iov[0].iov_base + 1;
	r = syscall(SYS_process_madvise, self, iov, 2, MADV_COLD, 0);
	printf("odd address: %ld %d\n", r, r < 0 ? errno : 0);
	close(self);
	CHECK(!munmap(p, 300 * PAGE));
	CHECK(!munmap(q, 300 * PAGE));
}

/* A reservation costs what is touched of it. */
static void sparse(void)
{
	size_t len = (size_t)64 << 30;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	for (size_t i = 0; i < 500; i++)
		p[len / 500 * i] = (char)(i | 1);
	pressure();
	for (size_t i = 0; i < 500; i++)
		CHECK(p[len / 500 * i] == (char)(i | 1));
	CHECK(!munmap(p, len));
	CHECK(touch(p + len / 2, 0) == SIGSEGV);
	puts("sparse");
}

int main(void)
{
	struct sigaction act = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	unmapped();
	shrunk();
	protected();
	advised();
	sparse();
	return 0;
}
