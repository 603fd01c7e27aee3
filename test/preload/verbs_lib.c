/* SPDX-License-Identifier: Apache-2.0 */
/* verbs_lib.c - the kernel is the device: buffers are registered with a ring of their own, by system calls that only
 * the kernel sees. */
#include <liburing.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "hidden.h"
#include "verbs_lib.h"

struct ibv_mr {
	struct io_uring ring;
	struct iovec iov;
};

static int attach(struct ibv_mr *mr, void *addr, size_t len)
{
	mr->iov = (struct iovec){addr, len};
	return (int)hidden(SYS_io_uring_register, mr->ring.ring_fd, IORING_REGISTER_BUFFERS,
			   (long)&mr->iov, 1);
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access)
{
	struct ibv_mr *mr = malloc(sizeof(*mr));

	if (!mr || io_uring_queue_init(4, &mr->ring, 0) || attach(mr, addr, len))
		return NULL;
	return mr;
}

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova, int access)
{
	return ibv_reg_mr(pd, addr, len, access);
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
				unsigned access)
{
	return ibv_reg_mr(pd, addr, len, (int)access);
}

int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t len,
		 int access)
{
	hidden(SYS_io_uring_register, mr->ring.ring_fd, IORING_UNREGISTER_BUFFERS, 0, 0);
	return attach(mr, addr, len) ? 1 : 0;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	hidden(SYS_io_uring_register, mr->ring.ring_fd, IORING_UNREGISTER_BUFFERS, 0, 0);
	io_uring_queue_exit(&mr->ring);
	free(mr);
	return 0;
}

int device_writes(struct ibv_mr *mr, int fd)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&mr->ring);
	struct io_uring_cqe *cqe;
	int n;

	io_uring_prep_read_fixed(sqe, fd, mr->iov.iov_base, (unsigned)mr->iov.iov_len, 0, 0);
	io_uring_submit(&mr->ring);
	io_uring_wait_cqe(&mr->ring, &cqe);
	n = cqe->res;
	io_uring_cqe_seen(&mr->ring, cqe);
	return n;
}
