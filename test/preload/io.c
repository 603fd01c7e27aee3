/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - system calls that read and write memory which is not local, and those that keep references to it. */
#include <fcntl.h>
#include <pthread.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "test.h"

#define LEN (8 * MIB)

static char *buf;

static int temp_file(int flags)
{
	char path[] = "./leap-test-XXXXXX";
	int fd = mkstemp(path), direct;

	CHECK(fd >= 0);
	direct = open(path, O_RDWR | flags);
	unlink(path);
	if (direct < 0)
		return fd;
	close(fd);
	return direct;
}

static void files(int flags, const char *what)
{
	int fd = temp_file(flags);

	fill(buf, LEN, 1);
	pressure();
	CHECK(pwrite(fd, buf, LEN, 0) == (ssize_t)LEN);
	memset(buf, 0, LEN);
	pressure();
	CHECK(pread(fd, buf, LEN, 0) == (ssize_t)LEN);
	CHECK_FILLED(buf, LEN, 1);
	close(fd);
	puts(what);
}

static void *write_side(void *arg)
{
	char *from = malloc(LEN);

	fill(from, LEN, 2);
	for (size_t at = 0; at < LEN;) {
		ssize_t n = write(*(int *)arg, from + at, LEN - at);

		CHECK(n > 0);
		at += (size_t)n;
	}
	free(from);
	return NULL;
}

static void sockets(void)
{
	struct iovec iov[64];
	pthread_t thread;
	size_t got = 0;
	int fd[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	pressure();
	CHECK(!pthread_create(&thread, NULL, write_side, &fd[1]));
	while (got < LEN) {
		size_t left = LEN - got, step = 8192;
		int n = 0;
		ssize_t r;

		for (; n < 64 && left; n++) {
			size_t len = left < step ? left : step;

			iov[n] = (struct iovec){buf + LEN - left, len};
			left -= len;
		}
		r = readv(fd[0], iov, n);
		CHECK(r > 0);
		got += (size_t)r;
	}
	pthread_join(thread, NULL);
	CHECK_FILLED(buf, LEN, 2);
	close(fd[0]);
	close(fd[1]);
	puts("sockets");
}

/* What is in the pipe stays as it was given, whatever becomes of the page. */
static void spliced(void)
{
	char *got = malloc(PAGE * 8);

	for (int round = 0; round < 50; round++) {
		char *p = map_anon(16 * PAGE);
		struct iovec iov = {p, 8 * PAGE};
		int fd[2];

		CHECK(!pipe(fd));
		fill(p, 16 * PAGE, (uint64_t)round);
		CHECK(vmsplice(fd[1], &iov, 1, 0) == (ssize_t)(8 * PAGE));
		if (round % 5 == 0)
			pressure();
		if (round & 1)
			CHECK(!munmap(p, 16 * PAGE));
		pressure();
		CHECK(read(fd[0], got, 8 * PAGE) == (ssize_t)(8 * PAGE));
		CHECK_FILLED(got, 8 * PAGE, (uint64_t)round);
		close(fd[0]);
		close(fd[1]);
		if (!(round & 1))
			CHECK(!munmap(p, 16 * PAGE));
	}
	free(got);
	puts("spliced");
}

static void streams(void)
{
	char path[] = "./leap-test-XXXXXX", line[200];
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w+");
	unsigned long sum = 0;

	unlink(path);
	for (int i = 0; i < 200000; i++) {
		fprintf(f, "line %d\n", i);
		if (i % 50000 == 0)
			pressure();
	}
	rewind(f);
	while (fgets(line, sizeof(line), f))
		sum += strtoul(line + 5, NULL, 10);
	fclose(f);
	printf("streams %lu\n", sum);
}

static void *write_nothing(void *arg)
{
	return NULL;
}

static void bad_addresses(void)
{
	int fd = open("/dev/zero", O_RDONLY);
	char *p = map_anon(64 * PAGE);
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, write_nothing, NULL));
	pthread_join(thread, NULL);
	CHECK(!mprotect(p + 32 * PAGE, 32 * PAGE, PROT_READ));
	show("into read-only", read(fd, p + 40 * PAGE, PAGE));
	CHECK(!munmap(p, 64 * PAGE));
	close(fd);
}

int main(void)
{
	buf = aligned_alloc(PAGE, LEN);
	files(0, "files");
	files(O_DIRECT, "direct");
	sockets();
	spliced();
	streams();
	bad_addresses();
	return 0;
}
