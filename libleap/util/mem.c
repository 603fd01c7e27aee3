/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.c - the pager's own memory.
 *
 * mem_alloc() lives in one reservation of address space (4 GiB, less where that is refused),
 * made at first use and cut into chunks of 256 KiB. A chunk either belongs to one size class
 * (powers of two from 32 bytes to 32 KiB) or is part of a run of chunks that holds one large
 * object. chunk_table says which, so that the size of an object is known from its address alone,
 * and mem_owns() is a range check.
 *
 *   chunk_table[i]:  CHUNK_FREE        not in use, no access
 *                    CHUNK_CLASS | c   objects of 32 << c bytes
 *                    CHUNK_LARGE       first chunk of a large object; chunk_bytes[i] is its size
 *                    CHUNK_REST        a later chunk of one
 *
 * Chunks of a class are never given back; a freed object goes to the class's list (linked
 * through its first word, zeroed when handed out again). Large objects are unmapped when freed.
 *
 * Everything starts from static zeroes: in a preloaded process the first mem_alloc() comes
 * before any constructor. All state is under mem_lock but the counters, which are atomic. errno
 * is kept, because a replaced free() ends here.
 */
#include "libleap/util/mem.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "libleap/lock.h"
#include "libleap/log.h"
#include "libleap/util/sys.h"

#define CHUNK_SHIFT       18
#define CHUNK_BYTES       ((size_t)1 << CHUNK_SHIFT)
#define RESERVE_BYTES     ((size_t)4 << 30)
#define RESERVE_BYTES_MIN ((size_t)16 << 20)
#define CHUNKS_MAX        (RESERVE_BYTES >> CHUNK_SHIFT)

#define CLASS_SHIFT_MIN 5
#define CLASS_SHIFT_MAX 15
#define CLASS_COUNT     (CLASS_SHIFT_MAX - CLASS_SHIFT_MIN + 1)
#define CLASS_BYTES_MAX ((size_t)1 << CLASS_SHIFT_MAX)

enum { CHUNK_FREE = 0, CHUNK_LARGE = 1, CHUNK_REST = 2, CHUNK_CLASS = 0x80 };

struct size_class {
	void *free;       /* list of freed objects */
	char *next, *end; /* what is left of the newest chunk: never used, zero */
};

/* What mem_map_sparse() returned: mem_unmap() must know what was not counted. */
struct sparse_map {
	struct sparse_map *next;
	void *addr;
};

static struct lock mem_lock = LOCK_INIT(LOCK_RANK_MEM);
static char *reserve_base; /* written once, under mem_lock */
static size_t reserve_bytes;
static uint8_t chunk_table[CHUNKS_MAX];
static size_t chunk_bytes[CHUNKS_MAX];
static size_t chunk_hint; /* no free chunk below this one */
static struct size_class size_class[CLASS_COUNT];
static struct sparse_map *sparse_maps;
static size_t mapped_bytes;

static struct {
	unsigned count;
	unsigned left; /* allocations until one fails; 0 = off */
	bool persistent;
} fail;

static size_t round_to_pages(size_t bytes)
{
	return (bytes + LEAP_PAGE_MASK) & ~LEAP_PAGE_MASK;
}

static void count_bytes(size_t bytes)
{
	__atomic_fetch_add(&mapped_bytes, bytes, __ATOMIC_RELAXED);
}

static void uncount_bytes(size_t bytes)
{
	__atomic_fetch_sub(&mapped_bytes, bytes, __ATOMIC_RELAXED);
}

/* Counts this allocation; true if it is one that must fail. */
static bool fail_now(void)
{
	unsigned left = __atomic_load_n(&fail.left, __ATOMIC_RELAXED);

	__atomic_fetch_add(&fail.count, 1, __ATOMIC_RELAXED);
	while (left) {
		unsigned then = left - 1;

		if (left == 1 && __atomic_load_n(&fail.persistent, __ATOMIC_RELAXED))
			then = 1;
		if (__atomic_compare_exchange_n(&fail.left, &left, then, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return left == 1;
	}
	return false;
}

static void *map_anonymous(size_t bytes, int extra_flags)
{
	int saved_errno = errno;
	void *p = NULL;

	if (bytes && round_to_pages(bytes) >= bytes)
		p = sys_mmap(NULL, round_to_pages(bytes), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | extra_flags, -1, 0, NULL);
	errno = saved_errno;
	return p;
}

/* Makes the reservation, aligned to chunks, as large as the limits of the process allow. */
static bool reserve(void)
{
	char *p, *base;

	for (size_t bytes = RESERVE_BYTES; bytes >= RESERVE_BYTES_MIN; bytes /= 2) {
		p = sys_mmap(NULL, bytes + CHUNK_BYTES, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, NULL);
		if (!p)
			continue;
		base = (char *)(((uintptr_t)p + CHUNK_BYTES - 1) & ~(uintptr_t)(CHUNK_BYTES - 1));
		if (base > p)
			sys_munmap(p, (size_t)(base - p));
		if (base < p + CHUNK_BYTES)
			sys_munmap(base + bytes, (size_t)(p + CHUNK_BYTES - base));
		__atomic_store_n(&reserve_bytes, bytes, __ATOMIC_RELAXED);
		__atomic_store_n(&reserve_base, base, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

/* Finds count free chunks in a row; returns the first, or -1. */
static long find_chunks(size_t count)
{
	size_t total = reserve_bytes >> CHUNK_SHIFT, run = 0;

	while (chunk_hint < total && chunk_table[chunk_hint] != CHUNK_FREE)
		chunk_hint++;
	for (size_t i = chunk_hint; i < total; i++) {
		run = chunk_table[i] == CHUNK_FREE ? run + 1 : 0;
		if (run == count)
			return (long)(i + 1 - count);
	}
	return -1;
}

/* Makes bytes at the start of free chunks accessible. NULL when there are no chunks or no
 * memory. */
static char *open_chunks(size_t bytes, size_t *ret_index)
{
	char *p;
	long i;

	if (!reserve_base && !reserve())
		return NULL;
	if (bytes > reserve_bytes)
		return NULL;
	i = find_chunks((bytes + CHUNK_BYTES - 1) >> CHUNK_SHIFT);
	if (i < 0)
		return NULL;
	p = reserve_base + ((size_t)i << CHUNK_SHIFT);
	if (sys_mprotect(p, bytes, PROT_READ | PROT_WRITE))
		return NULL;
	*ret_index = (size_t)i;
	return p;
}

static void *alloc_large(size_t bytes)
{
	size_t size = round_to_pages(bytes), i, n;
	char *p;

	if (size < bytes)
		return NULL;
	p = open_chunks(size, &i);
	if (!p)
		return NULL;
	n = (size + CHUNK_BYTES - 1) >> CHUNK_SHIFT;
	chunk_table[i] = CHUNK_LARGE;
	memset(&chunk_table[i + 1], CHUNK_REST, n - 1);
	chunk_bytes[i] = size;
	count_bytes(size);
	return p;
}

/* Replaces the object by a fresh reservation. Where the kernel refuses (too many mappings), the
 * memory stays accessible, and must be zero for its next use. */
static void free_large(char *p, size_t i)
{
	size_t size = chunk_bytes[i];

	if (!sys_mmap(p, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		      -1, 0, NULL))
		memset(p, 0, size);
	memset(&chunk_table[i], CHUNK_FREE, (size + CHUNK_BYTES - 1) >> CHUNK_SHIFT);
	chunk_bytes[i] = 0;
	if (i < chunk_hint)
		chunk_hint = i;
	uncount_bytes(size);
}

static unsigned class_of(size_t bytes)
{
	unsigned c = 0;

	while (((size_t)1 << (CLASS_SHIFT_MIN + c)) < bytes)
		c++;
	return c;
}

/* Takes an object; *ret_dirty says that it was used before. */
static void *alloc_small(unsigned c, bool *ret_dirty)
{
	struct size_class *class = &size_class[c];
	size_t bytes = (size_t)1 << (CLASS_SHIFT_MIN + c), i;
	void *p = class->free;

	*ret_dirty = p != NULL;
	if (p) {
		class->free = *(void **)p;
		return p;
	}
	if (class->next == class->end) {
		class->next = open_chunks(CHUNK_BYTES, &i);
		class->end = class->next ? class->next + CHUNK_BYTES : NULL;
		if (!class->next)
			return NULL;
		chunk_table[i] = (uint8_t)(CHUNK_CLASS | c);
	}
	p = class->next;
	class->next += bytes;
	count_bytes(bytes);
	return p;
}

static void *alloc_any(size_t bytes)
{
	int saved_errno = errno;
	bool dirty = false;
	unsigned c = 0;
	void *p;

	if (bytes <= CLASS_BYTES_MAX)
		c = class_of(bytes);
	lock_acquire(&mem_lock);
	p = bytes <= CLASS_BYTES_MAX ? alloc_small(c, &dirty) : alloc_large(bytes);
	lock_release(&mem_lock);
	if (p && dirty)
		memset(p, 0, (size_t)1 << (CLASS_SHIFT_MIN + c));
	errno = saved_errno;
	return p;
}

void *mem_map(size_t bytes)
{
	void *p = fail_now() ? NULL : map_anonymous(bytes, 0);

	if (p)
		count_bytes(round_to_pages(bytes));
	return p;
}

void *mem_map_sparse(size_t bytes)
{
	struct sparse_map *map;

	if (fail_now())
		return NULL;
	map = alloc_any(sizeof(*map));
	if (!map)
		return NULL;
	map->addr = map_anonymous(bytes, MAP_NORESERVE);
	if (!map->addr) {
		mem_free(map);
		return NULL;
	}
	/* where huge pages are always used, each touch would cost 2 MiB */
	sys_madvise(map->addr, round_to_pages(bytes), MADV_NOHUGEPAGE);
	lock_acquire(&mem_lock);
	map->next = sparse_maps;
	sparse_maps = map;
	lock_release(&mem_lock);
	return map->addr;
}

/* Takes the note of a sparse mapping off the list; NULL when p is not one. */
static struct sparse_map *take_sparse(const void *p)
{
	struct sparse_map **at, *map;

	lock_acquire(&mem_lock);
	for (at = &sparse_maps; *at && (*at)->addr != p; at = &(*at)->next)
		;
	map = *at;
	if (map)
		*at = map->next;
	lock_release(&mem_lock);
	return map;
}

void mem_unmap(void *p, size_t bytes)
{
	int saved_errno = errno;
	struct sparse_map *map;

	if (!p)
		return;
	map = take_sparse(p);
	if (map)
		mem_free(map);
	else
		uncount_bytes(round_to_pages(bytes));
	sys_munmap(p, round_to_pages(bytes));
	errno = saved_errno;
}

void *mem_alloc(size_t bytes)
{
	return fail_now() ? NULL : alloc_any(bytes);
}

/* An object of a class lies at a multiple of its size, a large one at the start of a chunk. */
void *mem_alloc_aligned(size_t align, size_t bytes)
{
	if (align > CHUNK_BYTES)
		return NULL;
	return mem_alloc(bytes < align ? align : bytes);
}

bool mem_owns(const void *p)
{
	const char *base = __atomic_load_n(&reserve_base, __ATOMIC_ACQUIRE);

	return base &&
	       (uintptr_t)p - (uintptr_t)base < __atomic_load_n(&reserve_bytes, __ATOMIC_RELAXED);
}

/* Index of the chunk of a live object; debug builds die when p cannot be one. */
static size_t chunk_of(const void *p)
{
	size_t offset = (uintptr_t)p - (uintptr_t)reserve_base, i = offset >> CHUNK_SHIFT;

#ifdef LEAP_DEBUG_CHECKS
	uint8_t kind = mem_owns(p) ? chunk_table[i] : CHUNK_FREE;
	size_t mask = kind & CHUNK_CLASS
			      ? ((size_t)1 << (CLASS_SHIFT_MIN + (kind & ~CHUNK_CLASS))) - 1
			      : CHUNK_BYTES - 1;

	if (kind == CHUNK_FREE || kind == CHUNK_REST || (offset & mask)) {
		log_error("%p was not returned by mem_alloc()", p);
		__builtin_trap();
	}
#endif
	return i;
}

size_t mem_usable(const void *p)
{
	size_t i = chunk_of(p);
	uint8_t kind = chunk_table[i];

	if (kind & CHUNK_CLASS)
		return (size_t)1 << (CLASS_SHIFT_MIN + (kind & ~CHUNK_CLASS));
	return chunk_bytes[i];
}

void mem_free(void *p)
{
	int saved_errno = errno;
	uint8_t kind;
	size_t i;

	if (!p)
		return;
	lock_acquire(&mem_lock);
	i = chunk_of(p);
	kind = chunk_table[i];
	if (kind & CHUNK_CLASS) {
		struct size_class *class = &size_class[kind & ~CHUNK_CLASS];

		*(void **)p = class->free;
		class->free = p;
	} else if (kind == CHUNK_LARGE) {
		free_large(p, i);
	}
	lock_release(&mem_lock);
	errno = saved_errno;
}

char *mem_strdup(const char *s)
{
	size_t n = s ? strlen(s) + 1 : 0;
	char *copy = s ? mem_alloc(n) : NULL;

	return copy ? memcpy(copy, s, n) : NULL;
}

size_t mem_mapped_bytes(void)
{
	return __atomic_load_n(&mapped_bytes, __ATOMIC_RELAXED);
}

void mem_fork_lock(void)
{
	lock_acquire(&mem_lock);
}

void mem_fork_unlock(void)
{
	lock_release(&mem_lock);
}

void mem_fork_child(void)
{
	lock_init(&mem_lock, LOCK_RANK_MEM, 0);
}

unsigned mem_fail_nth(unsigned nth, bool persistent)
{
	__atomic_store_n(&fail.persistent, persistent, __ATOMIC_RELAXED);
	__atomic_store_n(&fail.left, nth, __ATOMIC_RELAXED);
	return __atomic_exchange_n(&fail.count, 0, __ATOMIC_RELAXED);
}
