/* SPDX-License-Identifier: Apache-2.0 */
/* stack.c - see stack.h. */
#include <errno.h>
#include <sched.h>
#include <ucontext.h>

#include "libleap/log.h"
#include "libleap/region_int.h"
#include "libleap/session.h"
#include "libleap/stack.h"
#include "libleap/util/mem.h"

#define OWN_STACKS 8
#define OWN_BYTES  ((size_t)64 << 10)
#define BELOW      ((size_t)32 << 10) /* of the stack pointer: what the pager's functions may need */
#define ABOVE      ((size_t)12 << 10) /* their callers' variables */

/* A stack of the pager's own, and the call that is made on it. */
struct own_stack {
	bool used; /* atomic */
	ucontext_t caller, callee;
	struct lock_app *app;
	const char *pointer; /* the caller's stack pointer; NULL: let go */
};

static struct own_stack own[OWN_STACKS];
static char *area;                        /* their memory */
static uintptr_t low = UINTPTR_MAX, high; /* managed memory lies between; atomic */

static struct own_stack *take_own(unsigned *ret_index)
{
	for (unsigned i = 0;; i = (i + 1) % OWN_STACKS) {
		if (!__atomic_test_and_set(&own[i].used, __ATOMIC_ACQUIRE)) {
			*ret_index = i;
			return &own[i];
		}
		if (i == OWN_STACKS - 1)
			sched_yield();
	}
}

static void keep(struct lock_app *app, const char *pointer)
{
	struct leap_region *r = sessions_find_region(pointer);
	size_t at, first, end;

	if (!r)
		return;
	at = region_page_index(r, pointer);
	first = at < BELOW >> LEAP_PAGE_SHIFT ? 0 : at - (BELOW >> LEAP_PAGE_SHIFT);
	end = at + (ABOVE >> LEAP_PAGE_SHIFT) + 1;
	end = end < r->npages ? end : r->npages;
	app->kept = r;
	app->first = first;
	app->n = region_keep(r, first, end - first);
}

/* On the pager's own stack. */
static void callee_main(unsigned index)
{
	struct own_stack *mine = &own[index];

	runtime_enter();
	if (mine->pointer)
		keep(mine->app, mine->pointer);
	else
		region_unpin_pages(mine->app->kept, mine->app->first, mine->app->n);
	runtime_leave();
}

/* Not getcontext() and friends for their speed: they know about shadow stacks and sanitizers. */
static void call(struct lock_app *app, const char *pointer)
{
	int saved_errno = errno;
	unsigned index;
	struct own_stack *mine = take_own(&index);

	mine->app = app;
	mine->pointer = pointer;
	getcontext(&mine->callee);
	mine->callee.uc_stack.ss_sp = area + index * OWN_BYTES;
	mine->callee.uc_stack.ss_size = OWN_BYTES;
	mine->callee.uc_link = &mine->caller;
	makecontext(&mine->callee, (void (*)(void))callee_main, 1, index);
	swapcontext(&mine->caller, &mine->callee);
	__atomic_clear(&mine->used, __ATOMIC_RELEASE);
	errno = saved_errno;
}

static void enter(struct lock_app *app)
{
	const char *pointer = __builtin_frame_address(0);

	if ((uintptr_t)pointer < __atomic_load_n(&low, __ATOMIC_RELAXED) ||
	    (uintptr_t)pointer >= __atomic_load_n(&high, __ATOMIC_RELAXED))
		return;
	call(app, pointer);
}

static void leave(struct lock_app *app)
{
	if (app->kept)
		call(app, NULL);
}

static const struct lock_app_ops ops = {enter, leave};

int stack_init(void)
{
	char *fresh, *none = NULL;

	if (__atomic_load_n(&area, __ATOMIC_ACQUIRE))
		return 0;
	fresh = mem_map_sparse(OWN_STACKS * OWN_BYTES);
	if (!fresh)
		return -ENOMEM;
	if (!__atomic_compare_exchange_n(&area, &none, fresh, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		mem_unmap(fresh, OWN_STACKS * OWN_BYTES);
	__atomic_store_n(&lock_app_ops, &ops, __ATOMIC_RELEASE);
	return 0;
}

void stack_note_managed(const void *addr, size_t len)
{
	uintptr_t from = (uintptr_t)addr, to = from + len, seen;

	seen = __atomic_load_n(&low, __ATOMIC_RELAXED);
	while (from < seen && !__atomic_compare_exchange_n(&low, &seen, from, true,
							   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	seen = __atomic_load_n(&high, __ATOMIC_RELAXED);
	while (to > seen && !__atomic_compare_exchange_n(&high, &seen, to, true, __ATOMIC_RELAXED,
							 __ATOMIC_RELAXED))
		;
}

void stack_fork_child(void)
{
	for (unsigned i = 0; i < OWN_STACKS; i++)
		__atomic_clear(&own[i].used, __ATOMIC_RELAXED);
}
