/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - the loop transport: a store inside the process.
 *
 * A grant costs nothing but address space; pages take memory when they are written. Two ways, chosen when the
 * port is opened:
 *
 *   compressed    loop_store.c: same-filled pages for nothing, others by lz4
 *   plain         page p of a slab stands at base + p * 4096; reads are one memcpy, peek is an
 *                 addition. A page of zeroes takes no memory unless the slot held other bytes
 *
 * Memory counts against params.loop_bytes_max in both; a write that does not fit gets -ENOSPC and
 * leaves the former content, as far as pages of the request are concerned that were not yet
 * stored. Not counted are the tables of the compressed way (10 bytes a page).
 *
 * fork() copies all of it, so there is nothing to do in clone_*().
 *
 * State: slabs[] is changed by the control thread only and read by lanes; a lane is one thread's.
 */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/transport/io_list.h"
#include "libleap/transport/loop_store.h"
#include "libleap/util/fmt.h"
#include "libleap/util/hash.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define LOOP_SLABS_MAX 65536u /* 4 TiB */

/* The plain way. */
struct plain_slab {
	uint8_t *base;
	uint64_t resident[LEAP_SLAB_PAGES / 64]; /* pages that were written; atomic */
};

struct port {
	bool compress;
	uint32_t slabs_end; /* all granted numbers are smaller */
	uint32_t slabs_held;
	uint64_t bytes_read, bytes_written;
	/* by slab number, NULL = not granted; one of the two */
	struct plain_slab **plain;
	struct store_table **tables;
	struct store store;
};

/* pending: requests made from within done(). */
struct lane {
	struct port *port;
	bool busy;
	struct io_list pending;
	struct store_user user;
};

#define SLABS_BYTES (LOOP_SLABS_MAX * sizeof(void *))

/*
 * Port
 */
static int loop_open(const struct donor_uri *uri, const struct transport_params *params,
		     struct port **ret_port)
{
	struct port *port = mem_map(sizeof(*port));
	void *slabs = mem_map_sparse(SLABS_BYTES);

	if (!port || !slabs) {
		mem_unmap(port, sizeof(*port));
		mem_unmap(slabs, SLABS_BYTES);
		return error_set(ENOMEM, "out of memory for the loop: donor");
	}
	port->compress = params->loop_compress;
	if (port->compress)
		port->tables = slabs;
	else
		port->plain = slabs;
	store_init(&port->store, params->loop_bytes_max, port->tables);
	*ret_port = port;
	return 0;
}

static bool granted(const struct port *port, uint32_t slab)
{
	return slab < LOOP_SLABS_MAX &&
	       (port->compress ? (void *)port->tables[slab] : (void *)port->plain[slab]);
}

static void plain_delete(struct port *port, uint32_t slab)
{
	struct plain_slab *s = port->plain[slab];
	uint64_t pages = 0;

	for (unsigned i = 0; i < LEAP_SLAB_PAGES / 64; i++)
		pages += (uint64_t)__builtin_popcountll(s->resident[i]);
	heap_uncharge(&port->store.budget, pages * LEAP_PAGE_BYTES);
	__atomic_store_n(&port->plain[slab], NULL, __ATOMIC_RELEASE);
	mem_unmap(s->base, LEAP_SLAB_BYTES);
	mem_free(s);
}

static int loop_slab_release(struct port *port, uint32_t slab)
{
	struct store_table *table;

	if (!granted(port, slab))
		return error_set(EIO, "loop: there is no slab %u", slab);
	if (port->compress) {
		table = port->tables[slab];
		store_forget(&port->store, table);
		__atomic_store_n(&port->tables[slab], NULL, __ATOMIC_RELEASE);
		mem_unmap(table, sizeof(*table));
	} else {
		plain_delete(port, slab);
	}
	port->slabs_held--;
	return 0;
}

static void loop_close(struct port *port)
{
	void *slabs = port->compress ? (void *)port->tables : (void *)port->plain;

	for (uint32_t i = port->slabs_end; i-- > 0;) {
		if (granted(port, i))
			loop_slab_release(port, i);
	}
	store_destroy(&port->store);
	mem_unmap(slabs, SLABS_BYTES);
	mem_unmap(port, sizeof(*port));
}

static int plain_new(struct plain_slab **ret_slab)
{
	struct plain_slab *s = mem_alloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->base = mem_map_sparse(LEAP_SLAB_BYTES);
	if (!s->base) {
		mem_free(s);
		return -ENOMEM;
	}
	/* huge pages would take memory that nobody counted */
	sys_madvise(s->base, LEAP_SLAB_BYTES, MADV_NOHUGEPAGE);
	sys_madvise(s->base, LEAP_SLAB_BYTES, MADV_DONTDUMP);
	*ret_slab = s;
	return 0;
}

static int slab_new(struct port *port, uint32_t number)
{
	struct store_table *table;
	struct plain_slab *s;

	if (!port->compress) {
		if (plain_new(&s))
			return -ENOMEM;
		__atomic_store_n(&port->plain[number], s, __ATOMIC_RELEASE);
		return 0;
	}
	table = mem_map_sparse(sizeof(*table));
	if (!table)
		return -ENOMEM;
	table->number = number;
	__atomic_store_n(&port->tables[number], table, __ATOMIC_RELEASE);
	return 0;
}

static int loop_slab_grant(struct port *port, uint32_t *ret_slab)
{
	const struct heap_budget *budget = &port->store.budget;
	uint32_t number = 0;

	if (budget->bytes_max &&
	    __atomic_load_n(&budget->bytes, __ATOMIC_RELAXED) + LEAP_PAGE_BYTES > budget->bytes_max)
		return error_set(ENOSPC,
				 "loop: the store is full (%lu bytes); raise loop_bytes, or add a "
				 "donor",
				 (unsigned long)budget->bytes_max);
	if (port->slabs_held < port->slabs_end)
		while (granted(port, number))
			number++;
	else
		number = port->slabs_end;
	if (number == LOOP_SLABS_MAX)
		return error_set(ENOSPC, "loop: all %u slabs are granted", LOOP_SLABS_MAX);
	if (slab_new(port, number))
		return error_set(ENOSPC, "loop: no address space for another slab; raise the limit "
					 "on it (ulimit -v)");
	if (number >= port->slabs_end)
		port->slabs_end = number + 1;
	port->slabs_held++;
	*ret_slab = number;
	return 0;
}

static int loop_slab_shared(struct port *port, uint32_t slab)
{
	return 0;
}

static int loop_info(struct port *port, bool refresh, struct port_info *ret_info)
{
	const struct heap_budget *budget = &port->store.budget;
	uint64_t most = (uint64_t)LOOP_SLABS_MAX * LEAP_SLAB_BYTES, free_bytes;

	memset(ret_info, 0, sizeof(*ret_info));
	ret_info->stored_bytes = __atomic_load_n(&budget->bytes, __ATOMIC_RELAXED);
	ret_info->total_bytes = budget->bytes_max ? budget->bytes_max : most;
	free_bytes = most - (uint64_t)port->slabs_held * LEAP_SLAB_BYTES;
	if (budget->bytes_max)
		free_bytes = budget->bytes_max > ret_info->stored_bytes
				     ? budget->bytes_max - ret_info->stored_bytes
				     : 0;
	ret_info->free_bytes = free_bytes;
	ret_info->bytes_read = __atomic_load_n(&port->bytes_read, __ATOMIC_RELAXED);
	ret_info->bytes_written = __atomic_load_n(&port->bytes_written, __ATOMIC_RELAXED);
	fmt_print(ret_info->text, sizeof(ret_info->text), "loop %s",
		  port->compress ? "lz4" : "uncompressed");
	return 0;
}

static int loop_tick(struct port *port)
{
	return 0;
}

/*
 * Plain pages
 */
static struct plain_slab *plain_find(const struct port *port, uint32_t slab)
{
	return __atomic_load_n(&port->plain[slab], __ATOMIC_ACQUIRE);
}

static bool is_resident(const struct plain_slab *s, uint32_t page)
{
	return __atomic_load_n(&s->resident[page / 64], __ATOMIC_RELAXED) >> page % 64 & 1;
}

/* Pays for and takes the memory of a run of pages that are not resident. */
static int plain_take(struct port *port, struct plain_slab *s, uint32_t page, uint32_t n)
{
	if (!heap_charge(&port->store.budget, (uint64_t)n * LEAP_PAGE_BYTES))
		return -ENOSPC;
	for (uint32_t i = page; i < page + n; i++)
		__atomic_fetch_or(&s->resident[i / 64], 1ull << i % 64, __ATOMIC_RELAXED);
	/* one call in place of n page faults; best effort */
	if (n > 1)
		sys_madvise(s->base + (size_t)page * LEAP_PAGE_BYTES, n * LEAP_PAGE_BYTES,
			    MADV_POPULATE_WRITE);
	return 0;
}

static int plain_write(struct port *port, struct plain_slab *s, const struct io *io)
{
	const uint8_t *from = io->buf;
	uint32_t i = 0, n;
	int r;

	while (i < io->npages) {
		uint8_t *to = s->base + (size_t)(io->page + i) * LEAP_PAGE_BYTES;

		if (is_resident(s, io->page + i)) {
			memcpy(to, from + (size_t)i * LEAP_PAGE_BYTES, LEAP_PAGE_BYTES);
			i++;
			continue;
		}
		for (n = 0; i + n < io->npages && !is_resident(s, io->page + i + n); n++) {
			if (hash_page_is_zero(from + (size_t)(i + n) * LEAP_PAGE_BYTES))
				break;
		}
		r = n ? plain_take(port, s, io->page + i, n) : 0;
		if (r)
			return r;
		memcpy(to, from + (size_t)i * LEAP_PAGE_BYTES, (size_t)n * LEAP_PAGE_BYTES);
		i += n ? n : 1; /* no: a page of zeroes */
	}
	return 0;
}

/*
 * Lanes
 */
static int loop_lane_open(struct port *port, enum lane_kind kind, struct lane **ret_lane)
{
	struct lane *lane = mem_alloc(sizeof(*lane));
	int r;

	if (!lane)
		return error_set(ENOMEM, "out of memory for a lane to the loop: donor");
	lane->port = port;
	r = port->compress ? store_user_open(&port->store, &lane->user) : 0;
	if (r) {
		mem_free(lane);
		return r;
	}
	*ret_lane = lane;
	return 0;
}

static void loop_lane_close(struct lane *lane)
{
	if (lane->port->compress)
		store_user_close(&lane->port->store, &lane->user);
	mem_free(lane);
}

static int compressed_run(struct lane *lane, struct store_table *table, const struct io *io)
{
	int r = 0;

	for (uint32_t i = 0; i < io->npages && !r; i++) {
		uint8_t *buf = (uint8_t *)io->buf + (size_t)i * LEAP_PAGE_BYTES;

		r = io->op == IO_READ ? store_read(&lane->user, table, io->page + i, buf)
				      : store_write(&lane->port->store, &lane->user, table,
						    io->page + i, buf);
	}
	return r;
}

static int run(struct lane *lane, const struct io *io)
{
	struct port *port = lane->port;
	size_t bytes = (size_t)io->npages * LEAP_PAGE_BYTES;
	struct plain_slab *s;
	int r = 0;

	if (!granted(port, io->slab) || !io_in_slab(io))
		return -EIO;
	if (port->compress) {
		r = compressed_run(lane, port->tables[io->slab], io);
	} else {
		s = plain_find(port, io->slab);
		if (io->op == IO_READ)
			memcpy(io->buf, s->base + (size_t)io->page * LEAP_PAGE_BYTES, bytes);
		else
			r = plain_write(port, s, io);
	}
	if (!r)
		__atomic_fetch_add(io->op == IO_READ ? &port->bytes_read : &port->bytes_written,
				   bytes, __ATOMIC_RELAXED);
	return r;
}

/* A request that done() submits waits for its turn: no recursion, however long the chain. */
static void loop_submit(struct lane *lane, struct io *io)
{
	io_list_add(&lane->pending, io);
	if (lane->busy)
		return;
	lane->busy = true;
	while ((io = io_list_pop(&lane->pending))) {
		io->status = run(lane, io);
		io->done(io);
	}
	lane->busy = false;
}

static void loop_flush(struct lane *lane)
{
}

static int loop_poll(struct lane *lane)
{
	return 0;
}

static int loop_lane_fd(struct lane *lane)
{
	return -1;
}

static const void *loop_peek(struct port *port, uint32_t slab, uint32_t page)
{
	if (slab >= LOOP_SLABS_MAX || page >= LEAP_SLAB_PAGES)
		return NULL;
	if (port->compress) {
		struct store_table *table = __atomic_load_n(&port->tables[slab], __ATOMIC_ACQUIRE);

		return table ? store_peek(table, page) : NULL;
	} else {
		struct plain_slab *s = plain_find(port, slab);

		return s ? s->base + (size_t)page * LEAP_PAGE_BYTES : NULL;
	}
}

static int loop_clone_prepare(struct port *port, struct port_ticket *ret_ticket)
{
	memset(ret_ticket, 0, sizeof(*ret_ticket));
	return 0;
}

static void loop_clone_release(struct port *port)
{
}

static int loop_clone_adopt(struct port *port, const struct port_ticket *ticket)
{
	return 0;
}

const struct transport_ops transport_loop = {
	.size = sizeof(struct transport_ops),
	.name = "loop",
	.flags = TRANSPORT_SYNC | TRANSPORT_PEEK | TRANSPORT_FORK_COPIES,
	.open = loop_open,
	.close = loop_close,
	.slab_grant = loop_slab_grant,
	.slab_release = loop_slab_release,
	.slab_shared = loop_slab_shared,
	.info = loop_info,
	.tick = loop_tick,
	.lane_open = loop_lane_open,
	.lane_close = loop_lane_close,
	.submit = loop_submit,
	.flush = loop_flush,
	.poll = loop_poll,
	.lane_fd = loop_lane_fd,
	.peek = loop_peek,
	.clone_prepare = loop_clone_prepare,
	.clone_release = loop_clone_release,
	.clone_adopt = loop_clone_adopt,
};
