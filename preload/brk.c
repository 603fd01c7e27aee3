/* SPDX-License-Identifier: Apache-2.0 */
/*
 * brk.c - the program break: a managed area that grows and shrinks at its end. As in the C library, not for several
 * threads at once. A program that used the break before the constructor keeps the kernel's.
 */
#include <errno.h>
#include <unistd.h>

#include "preload/map.h"
#include "preload/preload.h"

#define SHARE 16 /* of the reservation */

static struct {
	bool kernels;
	char *start, *end, *now;
} area;

/* What the C library does; it keeps the break in a variable of its own. */
extern void *__curbrk;

static int kernel_brk(void *addr)
{
	void *now = (void *)syscall(SYS_brk, addr);

	__curbrk = now;
	if (now < addr)
		return map_fail(ENOMEM);
	return 0;
}

/* False: the break is the kernel's. */
static bool area_ready(void)
{
	size_t len;

	if (area.start)
		return true;
	if (!preload_ready() || area.kernels) {
		area.kernels = true;
		return false;
	}
	len = (size_t)(preload.end - preload.start) / SHARE & ~LEAP_PAGE_MASK;
	area.start = area.now = space_reserve(len);
	if (!area.start)
		return false;
	area.end = area.start + len;
	return true;
}

static char *page_end(char *p)
{
	return (char *)(((uintptr_t)p + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK);
}

static int set(char *addr)
{
	char *from = page_end(area.now), *to;

	if (addr < area.start || addr > area.end)
		return map_fail(ENOMEM);
	to = page_end(addr);
	if (to > from) {
		if (region_commit(preload.region, from, (size_t)(to - from)))
			return map_fail(ENOMEM);
	} else if (to < from) {
		space_plain(to, (size_t)(from - to));
		region_release(preload.region, to, (size_t)(from - to));
	}
	area.now = addr;
	return 0;
}

EXPORT int brk(void *addr)
{
	return area_ready() ? set(addr) : kernel_brk(addr);
}

EXPORT void *sbrk(intptr_t by)
{
	bool ours = area_ready();
	char *old;

	if (!ours && !__curbrk && kernel_brk(NULL))
		return (void *)-1;
	old = ours ? area.now : __curbrk;
	if (by && ((by > 0 && (uintptr_t)old + (uintptr_t)by < (uintptr_t)old) ||
		   (by < 0 && (uintptr_t)old < (uintptr_t)-by))) {
		errno = ENOMEM;
		return (void *)-1;
	}
	if (by && (ours ? set(old + by) : kernel_brk(old + by)))
		return (void *)-1;
	return old;
}
