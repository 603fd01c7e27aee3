/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atfork.c - the program's fork handlers, kept here instead of in the C library.
 *
 * The pager must stop after all prepare handlers, which may use memory and wait for threads that do, and go on before any
 * other handler, and fork() must be able to fail in between. The C library's list gives neither: libraries that the
 * program is linked with register before this one is initialised, and a handler cannot fail. jemalloc's handlers, which
 * take its locks, come between the program's and the pager.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "libleap/lock.h"
#include "libleap/util/mem.h"
#include "preload/atfork.h"
#include "preload/preload.h"

struct handlers {
	void (*prepare)(void);
	void (*parent)(void);
	void (*child)(void);
	void *library; /* goes with it; NULL: the program itself. Atomic */
	bool gone;
};

/* Entries keep their places while a fork runs through them. */
static struct {
	struct lock lock;
	struct handlers *entry;
	size_t count, room;
	unsigned runs; /* forks under way */
} list = {.lock = LOCK_INIT(LOCK_RANK_ATFORK)};

static struct handlers heap; /* jemalloc's */

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
		      void *library);
void __cxa_finalize(void *library);
int leap_raw_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

static bool grow(void)
{
	size_t room = list.room ? list.room * 2 : 16;
	struct handlers *entry = mem_alloc(room * sizeof(*entry));

	if (!entry)
		return false;
	if (list.count)
		memcpy(entry, list.entry, list.count * sizeof(*entry));
	mem_free(list.entry);
	list.entry = entry;
	list.room = room;
	return true;
}

/* What pthread_atfork() calls; each library has that one linked in. */
EXPORT int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
			     void *library)
{
	struct lock_app saved;
	int err = 0;

	lock_app_enter(&saved);
	lock_acquire(&list.lock);
	if (list.count < list.room || grow())
		list.entry[list.count++] =
			(struct handlers){prepare, parent, child, library, false};
	else
		err = ENOMEM;
	lock_release(&list.lock);
	lock_app_leave(&saved);
	return err;
}

static void forget(const void *library)
{
	struct lock_app saved;
	size_t kept = 0;

	lock_app_enter(&saved);
	lock_acquire(&list.lock);
	for (size_t i = 0; i < list.count; i++) {
		if (list.entry[i].library == library)
			list.entry[i].gone = true;
		if (list.runs || !list.entry[i].gone)
			list.entry[kept++] = list.entry[i];
	}
	list.count = kept;
	lock_release(&list.lock);
	lock_app_leave(&saved);
}

/* What a library calls when it is closed: its handlers go with it. */
EXPORT void __cxa_finalize(void *library)
{
	void (*real)(void *) = (void (*)(void *))dlsym(RTLD_NEXT, "__cxa_finalize");

	if (library)
		forget(library);
	if (real)
		real(library);
}

int leap_raw_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	heap = (struct handlers){prepare, parent, child, NULL, false};
	return 0;
}

/* Copies out entry i, if there is one that is not gone. */
static bool entry_at(size_t i, struct handlers *ret)
{
	struct lock_app saved;
	bool there;

	lock_app_enter(&saved);
	lock_acquire(&list.lock);
	there = i < list.count && !list.entry[i].gone;
	if (there)
		*ret = list.entry[i];
	lock_release(&list.lock);
	lock_app_leave(&saved);
	return there;
}

static size_t run_begin(void)
{
	struct lock_app saved;
	size_t count;

	lock_app_enter(&saved);
	lock_acquire(&list.lock);
	list.runs++;
	count = list.count;
	lock_release(&list.lock);
	lock_app_leave(&saved);
	return count;
}

static void run_end(void)
{
	struct lock_app saved;

	lock_app_enter(&saved);
	lock_acquire(&list.lock);
	list.runs--;
	lock_release(&list.lock);
	lock_app_leave(&saved);
}

size_t atfork_prepare(void)
{
	size_t count = run_begin();
	struct handlers h;

	for (size_t i = count; i-- > 0;)
		if (entry_at(i, &h) && h.prepare)
			h.prepare();
	if (heap.prepare)
		heap.prepare();
	return count;
}

void atfork_parent(size_t count)
{
	struct handlers h;

	if (heap.parent)
		heap.parent();
	for (size_t i = 0; i < count; i++)
		if (entry_at(i, &h) && h.parent)
			h.parent();
	run_end();
}

void atfork_child(size_t count)
{
	struct handlers h;

	if (heap.child)
		heap.child();
	for (size_t i = 0; i < count; i++)
		if (entry_at(i, &h) && h.child)
			h.child();
	run_end();
}

void atfork_lock(void)
{
	lock_acquire(&list.lock);
}

void atfork_unlock(void)
{
	lock_release(&list.lock);
}

/* The forks of other threads are none of the child's. */
void atfork_unlock_child(bool handlers)
{
	list.runs = handlers;
	lock_release(&list.lock);
}
