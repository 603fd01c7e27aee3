/* SPDX-License-Identifier: Apache-2.0 */
/* pinned.c - memory that the kernel or a device was told to use for long: what it writes later is not lost. */
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test.h"
#include "verbs_lib.h"

#define LEN (4 * PAGE)

static struct io_uring ring;
static int file;

/* A file with other bytes each time. */
static void write_file(uint64_t seed)
{
	char bytes[LEN];

	fill(bytes, LEN, seed);
	CHECK(pwrite(file, bytes, LEN, 0) == (ssize_t)LEN);
}

static char *fresh(bool guard)
{
	char *p = map_anon(512 * PAGE);

	fill(p, 512 * PAGE, 7);
	if (guard) /* the extent is two mappings */
		CHECK(!mprotect(p + 40 * PAGE, PAGE, PROT_NONE));
	return p + 8 * PAGE;
}

static void read_fixed(char *buf, int index)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;

	CHECK(sqe);
	io_uring_prep_read_fixed(sqe, file, buf, LEN, 0, index);
	CHECK(io_uring_submit(&ring) == 1);
	CHECK(!io_uring_wait_cqe(&ring, &cqe));
	CHECK(cqe->res == (int)LEN);
	io_uring_cqe_seen(&ring, cqe);
}

/* The buffer is registered: much else is used, then the kernel writes. */
static void used(const char *what, char *buf)
{
	static uint64_t seed = 100;

	for (int i = 0; i < 2; i++) {
		pressure();
		write_file(++seed);
		read_fixed(buf, 0);
		CHECK_FILLED(buf, LEN, seed);
	}
	CHECK(!io_uring_unregister_buffers(&ring));
	puts(what);
}

static void by_system_call(void)
{
	char *buf = fresh(false), *guarded = fresh(true);
	struct iovec iov = {buf, LEN}, other = {guarded, LEN};
	struct io_uring_rsrc_register reg = {.nr = 1, .data = (uintptr_t)&iov};
	struct io_uring_rsrc_update2 update = {.nr = 1, .data = (uintptr_t)&other};

	CHECK(!syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_BUFFERS, &iov, 1));
	used("buffers", buf);
	iov.iov_base = buf = fresh(true);
	CHECK(!syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_BUFFERS2, &reg,
		       sizeof(reg)));
	used("buffers2", buf);
	CHECK(!syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_BUFFERS2, &reg,
		       sizeof(reg)));
	CHECK(syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_BUFFERS_UPDATE, &update,
		      sizeof(update)) == 1);
	used("update", guarded);
	show("no array",
	     syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_BUFFERS, NULL, 1));
	show("a bad array",
	     syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_BUFFERS, (void *)64, 1));
}

static void by_liburing(void)
{
	char *buf = fresh(true);
	struct iovec iov = {buf, LEN};
	const __u64 tag = 0;

	CHECK(!io_uring_register_buffers(&ring, &iov, 1));
	used("liburing", buf);
	iov.iov_base = buf = fresh(false);
	CHECK(!io_uring_register_buffers_tags(&ring, &iov, &tag, 1));
	used("with tags", buf);
	CHECK(!io_uring_register_buffers_sparse(&ring, 4));
	iov.iov_base = buf = fresh(true);
	CHECK(io_uring_register_buffers_update_tag(&ring, 0, &iov, &tag, 1) == 1);
	used("update with tags", buf);
}

/* Read-only memory does not leave by the mover that sees pins. */
static void read_only(void)
{
	char *buf = fresh(false);
	struct iovec iov = {buf, LEN};

	CHECK(!io_uring_register_buffers(&ring, &iov, 1));
	CHECK(!mprotect(buf, LEN, PROT_READ));
	used("read-only", buf);
}

/* To another address the frames go along, or it is refused. */
static void remapped(void)
{
	char *start = map_anon(512 * PAGE), *p;
	struct iovec iov = {start, LEN};

	fill(start, 512 * PAGE, 7);
	CHECK(!io_uring_register_buffers(&ring, &iov, 1));
	p = mremap(start, 512 * PAGE, 4 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED, map_anon(4 * MIB));
	CHECK(p != MAP_FAILED || errno == ENOMEM);
	pressure();
	write_file(55);
	read_fixed(start, 0);
	CHECK_FILLED(p == MAP_FAILED ? start : p, LEN, 55);
	CHECK(!io_uring_unregister_buffers(&ring));
	puts("remapped");
}

/* A ring of buffers that the program and the kernel share. */
static void buffer_ring(void)
{
	struct io_uring_buf_ring *shared = (struct io_uring_buf_ring *)fresh(true);
	struct io_uring_buf_reg reg = {
		.ring_addr = (uintptr_t)shared, .ring_entries = 8, .bgid = 1};
	char *buf = fresh(false);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;

	memset(shared, 0, PAGE);
	CHECK(!io_uring_register_buf_ring(&ring, &reg, 0));
	for (int i = 0; i < 8; i++) {
		pressure();
		write_file((uint64_t)i);
		io_uring_buf_ring_add(shared, buf, LEN, (unsigned short)i, 7, 0);
		io_uring_buf_ring_advance(shared, 1);
		pressure();
		sqe = io_uring_get_sqe(&ring);
		CHECK(sqe);
		io_uring_prep_read(sqe, file, NULL, LEN, 0);
		io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
		sqe->buf_group = 1;
		CHECK(io_uring_submit(&ring) == 1);
		CHECK(!io_uring_wait_cqe(&ring, &cqe));
		CHECK(cqe->res == (int)LEN);
		CHECK(cqe->flags >> IORING_CQE_BUFFER_SHIFT == (unsigned)i);
		io_uring_cqe_seen(&ring, cqe);
		CHECK_FILLED(buf, LEN, (uint64_t)i);
	}
	CHECK(!io_uring_unregister_buf_ring(&ring, 1));
	puts("ring of buffers");
}

static void check_device(const char *what, struct ibv_mr *mr, const char *buf)
{
	static uint64_t seed = 1000;

	CHECK(mr);
	pressure();
	write_file(++seed);
	CHECK(device_writes(mr, file) == (int)LEN);
	CHECK_FILLED(buf, LEN, seed);
	puts(what);
}

static void by_verbs(void)
{
	char *buf[4] = {fresh(false), fresh(true), fresh(false), fresh(true)};
	struct ibv_mr *mr = ibv_reg_mr(NULL, buf[0], LEN, 1);

	check_device("reg_mr", mr, buf[0]);
	CHECK(!ibv_rereg_mr(mr, 1, NULL, buf[1], LEN, 1));
	check_device("rereg_mr", mr, buf[1]);
	ibv_dereg_mr(mr);
	mr = ibv_reg_mr_iova(NULL, buf[2], LEN, 0, 1);
	check_device("reg_mr_iova", mr, buf[2]);
	ibv_dereg_mr(mr);
	mr = ibv_reg_mr_iova2(NULL, buf[3], LEN, 0, 1);
	check_device("reg_mr_iova2", mr, buf[3]);
	ibv_dereg_mr(mr);
}

/* More than half of the local limit each. */
static void accounts(void)
{
	const size_t len = 7 * MIB;
	char *a = map_anon(len), *b = map_anon(len);
	struct iovec bad[2] = {{a, len}, {(void *)64, PAGE}}, good = {b, len}, own = {a, len};
	int status;
	pid_t pid;

	/* a call that fails keeps nothing */
	show("a bad buffer",
	     syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_BUFFERS, bad, 2));
	for (int i = 0; i < 3; i++) { /* nor does a second one keep more */
		CHECK(!io_uring_register_buffers(&ring, &good, 1));
		CHECK(!io_uring_unregister_buffers(&ring));
	}
	pid = fork();
	if (!pid) { /* not inherited */
		struct io_uring mine;

		CHECK(!io_uring_queue_init(4, &mine, 0));
		CHECK(!io_uring_register_buffers(&mine, &own, 1));
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(!munmap(b, len)); /* pins end with the memory */
	for (int i = 0; i < 20; i++) {
		good.iov_base = b = map_anon(len);
		CHECK(!io_uring_register_buffers(&ring, &good, 1));
		CHECK(!io_uring_unregister_buffers(&ring));
		CHECK(!munmap(b, len));
	}
	CHECK(!munmap(a, len));
	puts("accounts");
}

int main(void)
{
	char path[] = "./leap-test-XXXXXX";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (io_uring_queue_init(8, &ring, 0)) {
		puts("no io_uring here");
		return 0;
	}
	file = mkstemp(path);
	CHECK(file >= 0);
	unlink(path);
	by_system_call();
	by_liburing();
	read_only();
	remapped();
	buffer_ring();
	by_verbs();
	accounts();
	return 0;
}
