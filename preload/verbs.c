/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.c - memory that the program registers with an RDMA device is pinned (pins.h). With on-demand paging the
 * device asks for the pages as a thread does: such ranges are left alone.
 */
#include <dlfcn.h>
#include <errno.h>

#include "preload/pins.h"
#include "preload/preload.h"

#define ACCESS_ON_DEMAND      (1 << 6)
#define REREG_CHANGES_ADDRESS 1

struct ibv_pd;
struct ibv_mr;
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access);
struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
			       int access);
struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
				unsigned access);
int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t len,
		 int access);

static int begin(struct pins *p, const void *addr, size_t len, unsigned access)
{
	if (!preload_ready() || in_runtime() || access & ACCESS_ON_DEMAND)
		return 0;
	pins_add(p, (uintptr_t)addr, len);
	return pins_begin(p);
}

#define REGISTER(addr, len, access, name, ...)                                          \
	({                                                                              \
		__typeof__(name) *real = (__typeof__(real))dlsym(RTLD_NEXT, #name);     \
		struct pins pins = {.n = 0};                                            \
		struct ibv_mr *mr = NULL;                                               \
		int err = real ? begin(&pins, addr, len, (unsigned)(access)) : -ENOSYS; \
                                                                                        \
		if (err) {                                                              \
			errno = -err;                                                   \
		} else {                                                                \
			mr = real(__VA_ARGS__);                                         \
			pins_end(&pins, mr);                                            \
		}                                                                       \
		mr;                                                                     \
	})

EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access)
{
	return REGISTER(addr, len, access, ibv_reg_mr, pd, addr, len, access);
}

EXPORT struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
				      int access)
{
	return REGISTER(addr, len, access, ibv_reg_mr_iova, pd, addr, len, iova, access);
}

EXPORT struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr, size_t len, uint64_t iova,
				       unsigned access)
{
	return REGISTER(addr, len, access, ibv_reg_mr_iova2, pd, addr, len, iova, access);
}

/* Answers with a positive number when nothing was changed. */
EXPORT int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t len,
			int access)
{
	__typeof__(ibv_rereg_mr) *real = (__typeof__(real))dlsym(RTLD_NEXT, "ibv_rereg_mr");
	struct pins pins = {.n = 0};
	int r = real ? 0 : ENOSYS;

	if (!r && flags & REREG_CHANGES_ADDRESS)
		r = -begin(&pins, addr, len, (unsigned)access);
	if (r)
		return r;
	r = real(mr, flags, pd, addr, len, access);
	pins_end(&pins, !r);
	return r;
}
