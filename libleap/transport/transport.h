/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.h - the seam to where pages live.
 *
 * A *transport* is a way to reach donors (loop, shm, tcp, rdma, file; faulty wraps another). A *port*
 * is one open connection to one donor. A port grants *slabs* (LEAP_SLAB_BYTES each, zeroed); a slab
 * has LEAP_SLAB_PAGES page slots. Pages are read and written through *lanes*: a lane belongs to one
 * thread at a time, lanes of one port run independently, and requests of one lane are executed by the
 * donor in the order of their submission. Demand reads and write-back use lanes of their own, so that
 * a demand read never queues behind write-back.
 *
 * A write is complete (done with status 0) when the donor holds the bytes: a read submitted after that,
 * on any lane, sees them.
 *
 * Nothing here may call malloc, stdio or any function that a preloaded program replaces (use mem.h,
 * sys.h, fmt.h), except open(), which runs before the program's memory is managed.
 */
#ifndef LEAP_TRANSPORT_H
#define LEAP_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "libleap/util/run_clock.h"

#define LEAP_SLAB_BYTES ((size_t)64 << 20)
#define LEAP_SLAB_PAGES (LEAP_SLAB_BYTES >> 12)
/* Most pages of one request. */
#define LEAP_IO_PAGES_MAX 64

struct port;
struct lane;

enum io_op { IO_READ, IO_WRITE };

/* One request: npages contiguous slots of one slab to or from npages * 4096 contiguous bytes. The
 * caller owns it and buf until done() is called; done() is called exactly once, from submit(), flush(),
 * poll() or lane_close() of the same lane, never from another thread. done() may submit further
 * requests to the lane. */
struct io {
	enum io_op op;
	uint32_t slab;   /* the port's slab number, from slab_grant() */
	uint32_t page;   /* first slot in the slab */
	uint32_t npages; /* 1..LEAP_IO_PAGES_MAX, not past the slab's end */
	void *buf;       /* page aligned, resident, never managed memory */
	void (*done)(struct io *io);
	/* set before done(): 0, -ETIMEDOUT (deadline), -EPIPE (link is dead), -EIO, -ENOSPC (a write to a
	 * bounded loop store), -ECANCELED */
	int status;
	/* for the transport while in flight */
	uint64_t submitted_ns;
	uint64_t id;
	struct io *next;
	uint32_t aux[2];
};

/* What the transport wants to know; strings live as long as the port. */
struct transport_params {
	uint64_t deadline_ns; /* a request older than this fails with -ETIMEDOUT and kills the port */
	uint64_t open_ns;     /* open() gives up after so long; 0: deadline_ns */
	/* One deadline for an operation on many donors, for transport_end(): of control calls, and of whatever connects. */
	const uint64_t *call_end_ns, *open_end_ns;
	uint64_t client_id[2];   /* random, one a session */
	const char *client_name; /* for the donor's log, e.g. "sort[1234]" */
	uint64_t loop_bytes_max; /* loop: bound of its store, 0 = none */
	bool loop_compress;
	bool io_uring;           /* tcp: try liburing (falls back to plain sockets) */
	const char *rdma_device; /* rdma: "NAME[:PORT]"; NULL or empty: by the route */
};

/* For open(): at most the deadline. */
static inline uint64_t transport_open_ns(const struct transport_params *params)
{
	return params->open_ns && params->open_ns < params->deadline_ns ? params->open_ns
									: params->deadline_ns;
}

/* When something that may take ns and begins now must have ended (run_clock.h): not after *end_ns, where an operation on
 * many donors has one (NULL, or 0 in it: it has none). */
static inline uint64_t transport_end(const uint64_t *end_ns, uint64_t ns)
{
	uint64_t end = run_clock_ns() + ns, all = end_ns ? *end_ns : 0;

	return all && all < end ? all : end;
}

/* A parsed donor address (uri.h). */
struct donor_uri {
	char scheme[16]; /* "loop", "shm", "tcp", ... */
	char host[256];  /* host, or shm NAME; no brackets around IPv6 */
	uint16_t port;   /* 0 where the scheme has none */
};

struct port_info {
	uint64_t free_bytes; /* what the donor last said it can still grant this client */
	uint64_t total_bytes;
	uint64_t stored_bytes; /* loop: memory its store really takes; else 0 */
	uint64_t bytes_read, bytes_written;
	char text[128]; /* for people: "tcp 10.0.0.2:9400 io_uring", ... */
};

/* Proof that a forked child may take over a copy of a port's slabs. */
struct port_ticket {
	uint8_t bytes[32];
};

enum lane_kind { LANE_DEMAND, LANE_PREFETCH, LANE_WRITE };

enum {
	TRANSPORT_SYNC = 1,        /* requests complete inside submit(); lane_fd() is -1 */
	TRANSPORT_PEEK = 2,        /* peek() works */
	TRANSPORT_FORK_COPIES = 4, /* fork() itself gives the child its own copy of all pages */
};

/* Every entry is filled. "control thread" = any one thread at a time, never a fault thread. */
struct transport_ops {
	size_t size;
	const char *name; /* = the URI scheme */
	unsigned flags;

	/* Connects and shakes hands. May block up to deadline_ns; may call malloc. On failure sets the
	 * sentence (error.h) and returns -ECONNREFUSED, -ETIMEDOUT, -EPROTO (version), -ENOENT, ... */
	int (*open)(const struct donor_uri *uri, const struct transport_params *params,
		    struct port **ret_port);
	/* Gives all slabs back and disconnects. All lanes are closed by then. */
	void (*close)(struct port *port);

	/* Control thread; may block up to the deadline. A granted slab reads as zeroes. -ENOSPC: the donor has
	 * none left (sentence set); -EPIPE/-ETIMEDOUT: the port is dead from now on; -EAGAIN, as from all control calls: the
	 * time of the operation on many donors is over, and this one may not have had all of it. */
	int (*slab_grant)(struct port *port, uint32_t *ret_slab);
	int (*slab_release)(struct port *port, uint32_t slab);
	/* Is another session (a clone) still using the slab's pages? 1, 0 or -errno. Control thread. */
	int (*slab_shared)(struct port *port, uint32_t slab);
	/* Control thread; refresh asks the donor, otherwise what is known. */
	int (*info)(struct port *port, bool refresh, struct port_info *ret_info);
	/* Sends a heartbeat when due and reads control messages; never blocks. 0, or -EPIPE/-ETIMEDOUT when
	 * the donor is dead or silent past the deadline. Control thread, about ten times a second, and of all donors when an
	 * operation on many begins: those that are silent are silent together. */
	int (*tick)(struct port *port);

	/* May block up to the deadline. */
	int (*lane_open)(struct port *port, enum lane_kind kind, struct lane **ret_lane);
	/* Fails what is in flight with -ECANCELED. */
	void (*lane_close)(struct lane *lane);

	/* Lane's thread; never block; never fail but through io->status. submit() may only queue: flush()
	 * starts what is queued. poll() delivers completions (returns how many), fails requests past
	 * the deadline, and returns 0 quickly when there is nothing. */
	void (*submit)(struct lane *lane, struct io *io);
	void (*flush)(struct lane *lane);
	int (*poll)(struct lane *lane);
	/* A descriptor that is readable (POLLIN) when poll() has work, for sleeping; -1 for SYNC. */
	int (*lane_fd)(struct lane *lane);

	/* TRANSPORT_PEEK only: where the slot's bytes are readable in this process, or NULL when not so (use
	 * a read). Stable until the slot is written or the slab released. Any thread. */
	const void *(*peek)(struct port *port, uint32_t slab, uint32_t page);

	/* Before fork(), control context, no request in flight: makes the donor keep all present slabs for a
	 * child that will present the ticket within the deadline. Both sides may then only read those slabs'
	 * written slots (until slab_shared() says 0). What the child needs and may not be able to get by itself, in another
	 * root directory or network or as another user, is made here. */
	int (*clone_prepare)(struct port *port, struct port_ticket *ret_ticket);
	/* In the parent, after fork(), or when it came to nothing: gives up what was made for the child. */
	void (*clone_release)(struct port *port);
	/* In the child, after fork(): drops the inherited descriptors without touching the parent's
	 * connection, forgets inherited lanes, connects anew with the ticket; slab numbers stay valid. On failure the port
	 * is dead. No malloc, no name resolution (the address was kept). */
	int (*clone_adopt)(struct port *port, const struct port_ticket *ticket);
};

extern const struct transport_ops transport_loop, transport_shm, transport_tcp, transport_rdma;

/* The transport for a URI scheme, or NULL. */
const struct transport_ops *transport_find(const char *scheme);
/* Opens a port by its URI's scheme. Scheme "auto": rdma, and where that cannot be had, tcp; *ret_ops and the port's
 * text say which was taken. As open(). */
int transport_open(const struct donor_uri *uri, const struct transport_params *params,
		   const struct transport_ops **ret_ops, struct port **ret_port);
/* Names of all transports, separated by ", " (for messages). */
const char *transport_names(void);

/*
 * faulty: wraps the transport that it is told to and injects errors; tests only. URI scheme "faulty":
 * faulty:SPEC:URI, SPEC = comma-separated (or nothing)
 *   read-error=N, write-error=N	the Nth request (1 = first) gets -EIO
 *   grant-error=N			the Nth grant gets -ENOSPC
 *   release-, shared-, info-, lane-, clone-, adopt-error=N
 *					the Nth such call fails (info: with refresh)
 *   tick-error=N, die=N		with the Nth tick, or Nth request of either kind, the port dies (-EPIPE)
 *   corrupt=N				a bit of the Nth page read is flipped
 *   hang=N				the Nth read and later ones, and what is behind them on their lanes, get no
 *					answer; at the deadline the port dies (-ETIMEDOUT)
 *   delay-us=N				every request takes so much longer
 * A '+' behind N: that one and every later one. It has no flags, whatever it wraps; requests complete in poll().
 * faultysync is the same over loop and shm, but completes in submit() as they do.
 */
extern const struct transport_ops transport_faulty, transport_faultysync;

#endif
