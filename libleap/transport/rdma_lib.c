/* SPDX-License-Identifier: Apache-2.0 */
#include "libleap/transport/rdma_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "libleap/error.h"
#include "libleap/lock.h"

struct symbol {
	const char *name;
	size_t offset;
};

#define RDMA_SYMBOL(name) {#name, offsetof(struct rdma_lib, name)},

static const struct symbol verbs_symbols[] = {RDMA_VERBS_SYMBOLS(RDMA_SYMBOL){NULL, 0}};
static const struct symbol cm_symbols[] = {RDMA_CM_SYMBOLS(RDMA_SYMBOL){NULL, 0}};

struct rdma_lib rdma_lib;
static struct lock load_lock = LOCK_INIT(LOCK_RANK_TRANSPORT);
static bool loaded;

static int load_symbols(void *handle, const char *library, const struct symbol *symbols,
			const char *text)
{
	for (; symbols->name; symbols++) {
		void *p = dlsym(handle, symbols->name);

		if (!p)
			return error_set(
				ENOSYS,
				"donor %s: %s of this machine has no %s(); install a newer "
				"rdma-core",
				text, library, symbols->name);
		*(void **)((char *)&rdma_lib + symbols->offset) = p;
	}
	return 0;
}

static int load_library(const char *library, const struct symbol *symbols, const char *text)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);

	if (!handle)
		return error_set(ENOSYS,
				 "donor %s: RDMA needs %s, which this machine does not have; "
				 "install rdma-core (librdmacm1, ibverbs-providers), or use tcp://",
				 text, library);
	return load_symbols(handle, library, symbols, text);
}

int rdma_lib_load(const char *text)
{
	int r = 0;

	if (__atomic_load_n(&loaded, __ATOMIC_ACQUIRE))
		return 0;
	lock_acquire(&load_lock);
	if (!loaded) {
		r = load_library("libibverbs.so.1", verbs_symbols, text);
		if (!r)
			r = load_library("librdmacm.so.1", cm_symbols, text);
		/* Buffers of the providers must not be torn from the device by a fork(). Does nothing on
		 * kernels that copy pinned pages (5.12). */
		if (!r)
			rdma_lib.ibv_fork_init();
		__atomic_store_n(&loaded, !r, __ATOMIC_RELEASE);
	}
	lock_release(&load_lock);
	return r;
}
