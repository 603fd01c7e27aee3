/* SPDX-License-Identifier: Apache-2.0 */
/* verbs_lib.h - in the place of libibverbs: memory that a device writes to. */
#ifndef TEST_PRELOAD_VERBS_LIB_H
#define TEST_PRELOAD_VERBS_LIB_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)
struct ibv_pd;
struct ibv_mr;
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access);
struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
			       int access);
struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
				unsigned access);
int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t len,
		 int access);
int ibv_dereg_mr(struct ibv_mr *mr);
/* Reads the file into the frames that the memory had when it was registered. */
int device_writes(struct ibv_mr *mr, int fd);
#pragma GCC visibility pop

#endif
