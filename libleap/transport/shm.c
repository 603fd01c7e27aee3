/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm.c - the shm transport: a donor on this machine whose slabs are mapped here.
 *
 * The control connection is a unix socket; GRANT hands over the slab's memfd, which is mapped and
 * closed. From then on the donor's processor takes no part: reads and writes are copies, done in
 * submit(). A memfd that could shrink would make them raise SIGBUS, so only sealed ones are
 * accepted.
 *
 * When the donor dies its memory lives on in our mappings: reads still work and nothing is lost,
 * but grants and writes fail with -EPIPE. Pages of a slab are taken when first written, from the
 * memory cgroup of whoever writes first, which is the client if leap-donor runs with --lazy.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "libleap/error.h"
#include "libleap/transport/ctl.h"
#include "libleap/transport/io_list.h"
#include "libleap/transport/shm_path.h"
#include "libleap/util/clerk.h"
#include "libleap/util/fd.h"
#include "libleap/util/fmt.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#define SHM_SEALS    (F_SEAL_SHRINK | F_SEAL_GROW)
#define SHM_NO_SEALS (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10 /* Linux 5.1 */
#endif

/* touched: pages whose page-table entries slab_touch() made. Taking a page with one call costs a
 * tenth of a page fault on virtual machines; and pages not written yet take no memory. */
struct shm_slab {
	uint8_t *base;
	bool settled; /* slab_settle() was here; control thread */
	_Atomic uint64_t touched[LEAP_SLAB_PAGES / 64];
};

struct port {
	struct transport_params params;
	struct sockaddr_un sa;
	socklen_t sa_len;
	uid_t trusted[2]; /* whose donor it may be, besides root's */
	char text[300];
	_Atomic int dead; /* 0, -EPIPE, -ETIMEDOUT */
	struct ctl control;
	int child_fd;                      /* during fork(): the child's connection, or -1 */
	_Atomic(struct shm_slab *) *slabs; /* PROTO_SLABS_MAX, NULL = not held; sparse */
	uint32_t slabs_end;                /* all held numbers are smaller */
	uint32_t newest;                   /* last one granted */
	_Atomic uint64_t bytes_read, bytes_written;
};

/* pending: requests made from within done(). */
struct lane {
	struct port *port;
	bool busy;
	struct io_list pending;
};

#define SLABS_BYTES (PROTO_SLABS_MAX * sizeof(struct shm_slab *))

static bool dir_of(const char *path, char *dir, size_t size)
{
	const char *end = strrchr(path, '/');

	if (end)
		fmt_print(dir, size, "%.*s", (int)(end - path + 1), path);
	return end;
}

/* The directory's owner is trusted with what is in it, unless others can write there, too. */
static void trust_owner(struct port *port)
{
	char dir[sizeof(port->sa.sun_path)];
	struct stat st;

	if (dir_of(port->sa.sun_path, dir, sizeof(dir)) && !fstatat(AT_FDCWD, dir, &st, 0) &&
	    !(st.st_mode & 022))
		port->trusted[1] = st.st_uid;
}

/* The run directory must be such that nobody else could have put the socket there. */
static int dir_check(const struct port *port)
{
	char dir[sizeof(port->sa.sun_path)];
	int r = dir_of(port->sa.sun_path, dir, sizeof(dir)) ? rundir_check(dir) : 0;

	return r == -EPERM ? error_prefix(r, port->text) : 0;
}

/* Whoever has the other end will read and write our pages. */
static int peer_check(const struct port *port, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return error_set(EPERM, "donor %s: the kernel does not say whose it is",
				 port->text);
	if (peer.uid == 0 || peer.uid == port->trusted[0] || peer.uid == port->trusted[1])
		return 0;
	return error_set(EPERM,
			 "donor %s is user %u's, who could read and change this program's memory: "
			 "refused; donors of this user and of root are trusted, and, by their path "
			 "(shm:/DIR/NAME.sock), those of the owner of a directory that nobody else "
			 "can write into",
			 port->text, (unsigned)peer.uid);
}

static int shm_connect(struct port *port, enum proto_kind kind, const uint8_t *ticket)
{
	uint64_t end_ns =
		transport_end(port->params.open_end_ns, kind == PROTO_KIND_CLONE
								? port->params.deadline_ns
								: transport_open_ns(&port->params));
	int fd = port->child_fd, r = 0;
	bool fresh = fd < 0;

	port->child_fd = -1;
	if (fresh)
		r = stream_connect((struct sockaddr *)&port->sa, port->sa_len, end_ns, port->text,
				   &fd);
	if (r)
		return r;
	r = fresh ? peer_check(port, fd) : 0;
	if (!r)
		r = ctl_open(&port->control, fd, kind, ticket, &port->params, end_ns);
	if (r)
		fd_close(fd);
	return r;
}

/* A user's client may use the donor that root runs, if the rights on its socket allow it. */
static int shm_connect_any(struct port *port, const char *name)
{
	static const char system_dir[] = "/run/leap/";
	size_t n = strlen(name);
	int r;

	r = shm_path(name, false, &port->sa, &port->sa_len);
	if (r)
		return error_set(
			-r,
			"donor %s: the name is too long for a socket, or there is no run directory "
			"(LEAP_RUN_DIR)",
			port->text);
	port->trusted[0] = port->trusted[1] = geteuid();
	if (strchr(name, '/'))
		trust_owner(port);
	else
		r = dir_check(port);
	if (!r)
		r = shm_connect(port, PROTO_KIND_CONTROL, NULL);
	if ((r != -ENOENT && r != -ECONNREFUSED) || strchr(name, '/') || name[0] == '@' ||
	    sizeof(system_dir) + n + 5 > sizeof(port->sa.sun_path) ||
	    !strncmp(port->sa.sun_path, system_dir, sizeof(system_dir) - 1))
		return r;
	fmt_print(port->sa.sun_path, sizeof(port->sa.sun_path), "%s%s.sock", system_dir, name);
	trust_owner(port);
	return shm_connect(port, PROTO_KIND_CONTROL, NULL);
}

static int shm_open_port(const struct donor_uri *uri, const struct transport_params *params,
			 struct port **ret_port)
{
	struct port *port = mem_alloc(sizeof(*port));
	int r;

	if (!port)
		goto fail_memory;
	port->slabs = mem_map_sparse(SLABS_BYTES);
	if (!port->slabs)
		goto fail_free;
	port->params = *params;
	fmt_print(port->text, sizeof(port->text), "shm:%s", uri->host);
	ctl_init(&port->control, &port->dead, port->text, false);
	port->control.passes = true;
	port->child_fd = -1;
	r = shm_connect_any(port, uri->host);
	if (r)
		goto fail_unmap;
	*ret_port = port;
	return 0;
fail_unmap:
	mem_unmap(port->slabs, SLABS_BYTES);
	mem_free(port);
	return r;
fail_free:
	mem_free(port);
fail_memory:
	return error_set(ENOMEM, "out of memory for a connection to a donor");
}

static void slab_unmap(struct port *port, uint32_t slab)
{
	struct shm_slab *s = atomic_exchange(&port->slabs[slab], NULL);

	if (s)
		sys_munmap(s->base, LEAP_SLAB_BYTES);
	mem_free(s);
}

static void shm_close(struct port *port)
{
	for (uint32_t i = 0; i < port->slabs_end; i++)
		slab_unmap(port, i);
	ctl_close(&port->control);
	fd_close(port->child_fd);
	mem_unmap(port->slabs, SLABS_BYTES);
	mem_free(port);
}

/* What the clerk does with a descriptor that came with a grant (clerk.h). */
struct mapping {
	int fd;
	bool sealed;
	void *base;
	int err;
};

static void do_map(void *arg)
{
	struct mapping *m = arg;
	int seals = (int)sys_ret(syscall(SYS_fcntl, m->fd, F_GET_SEALS));
	struct statfs fs;
	struct stat st;

	/* huge pages come from a pool: one that is not there when it is touched is a SIGBUS */
	m->sealed = seals >= 0 && (seals & SHM_SEALS) == SHM_SEALS && !(seals & SHM_NO_SEALS) &&
		    !fstat(m->fd, &st) && st.st_size == (off_t)LEAP_SLAB_BYTES &&
		    !fstatfs(m->fd, &fs) && fs.f_type == TMPFS_MAGIC;
	if (m->sealed)
		m->base = sys_mmap(NULL, LEAP_SLAB_BYTES, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_NORESERVE, m->fd, 0, &m->err);
	sys_close(m->fd);
}

/* Maps what the donor sent, if it is what it must be, and closes it. */
static int slab_map(struct port *port, int fd, struct shm_slab **ret_slab)
{
	struct mapping m = {.fd = fd};
	struct shm_slab *s;

	if (fd < 0)
		return error_set(EPROTO, "donor %s sent no memory with a grant", port->text);
	clerk_run(do_map, &m, NULL);
	if (!m.sealed)
		return error_set(EPROTO,
				 "donor %s sent memory that is not a sealed slab of ordinary pages",
				 port->text);
	if (!m.base)
		return error_set(
			-m.err,
			"cannot map a slab of donor %s (errno %d); raise the limit on address "
			"space (ulimit -v)",
			port->text, -m.err);
	s = mem_alloc(sizeof(*s));
	if (!s) {
		sys_munmap(m.base, LEAP_SLAB_BYTES);
		return error_set(ENOMEM, "out of memory for a slab of donor %s", port->text);
	}
	s->base = m.base;
	sys_madvise(s->base, LEAP_SLAB_BYTES, MADV_DONTDUMP);
	*ret_slab = s;
	return 0;
}

static int shm_slab_grant(struct port *port, uint32_t *ret_slab)
{
	struct proto_head reply;
	struct shm_slab *s;
	int fd, r;

	r = ctl_call(&port->control, proto_head_make(PROTO_GRANT, 0, 0), &reply, NULL, &fd);
	if (r)
		return r;
	r = slab_map(port, fd, &s);
	if (r) {
		ctl_release(&port->control, reply.slab);
		return r;
	}
	slab_unmap(port, reply.slab); /* never held; but the donor is not to be trusted */
	atomic_store(&port->slabs[reply.slab], s);
	if (reply.slab >= port->slabs_end)
		port->slabs_end = reply.slab + 1;
	port->newest = reply.slab;
	*ret_slab = reply.slab;
	return 0;
}

static int shm_slab_release(struct port *port, uint32_t slab)
{
	if (slab >= PROTO_SLABS_MAX)
		return error_set(EIO, "donor %s: there is no slab %u", port->text, slab);
	slab_unmap(port, slab);
	return ctl_release(&port->control, slab);
}

static int shm_slab_shared(struct port *port, uint32_t slab)
{
	return ctl_shared(&port->control, slab);
}

static int shm_info(struct port *port, bool refresh, struct port_info *ret_info)
{
	int r = refresh ? ctl_refresh(&port->control) : 0;

	if (r)
		return r;
	memset(ret_info, 0, sizeof(*ret_info));
	ret_info->free_bytes = atomic_load(&port->control.free_bytes);
	ret_info->total_bytes = atomic_load(&port->control.total_bytes);
	ret_info->bytes_read = atomic_load(&port->bytes_read);
	ret_info->bytes_written = atomic_load(&port->bytes_written);
	fmt_print(ret_info->text, sizeof(ret_info->text), "%s", port->text);
	return 0;
}

/*
 * The donor takes a slab's memory soon after the grant. From then on writing it costs us page tables only: they
 * are made here, with one call, rather than in an eviction.
 */
static void slab_settle(struct port *port)
{
	struct shm_slab *s = port->slabs_end ? atomic_load(&port->slabs[port->newest]) : NULL;
	unsigned char last = 0;

	if (!s || s->settled ||
	    syscall(SYS_mincore, s->base + LEAP_SLAB_BYTES - LEAP_PAGE_BYTES, LEAP_PAGE_BYTES,
		    &last) ||
	    !(last & 1))
		return;
	s->settled = true;
	if (sys_madvise(s->base, LEAP_SLAB_BYTES, MADV_POPULATE_WRITE))
		return;
	for (unsigned i = 0; i < LEAP_SLAB_PAGES / 64; i++)
		atomic_store_explicit(&s->touched[i], ~0ull, memory_order_relaxed);
}

static int shm_tick(struct port *port)
{
	slab_settle(port);
	return ctl_tick(&port->control);
}

static int shm_lane_open(struct port *port, enum lane_kind kind, struct lane **ret_lane)
{
	struct lane *lane = mem_alloc(sizeof(*lane));

	if (!lane)
		return error_set(ENOMEM, "out of memory for a lane to donor %s", port->text);
	lane->port = port;
	*ret_lane = lane;
	return 0;
}

static void shm_lane_close(struct lane *lane)
{
	mem_free(lane);
}

/* The slab, if it is held and has these pages. */
static struct shm_slab *slab_find(struct port *port, const struct io *io)
{
	if (io->slab >= PROTO_SLABS_MAX || !io_in_slab(io))
		return NULL;
	return atomic_load_explicit(&port->slabs[io->slab], memory_order_acquire);
}

static void slab_touch(struct shm_slab *s, uint32_t page, uint32_t npages)
{
	uint32_t i, n = 0;

	for (i = page; i < page + npages; i++)
		n += !(atomic_load_explicit(&s->touched[i / 64], memory_order_relaxed) >> i % 64 &
		       1);
	if (!n)
		return;
	sys_madvise(s->base + (size_t)page * LEAP_PAGE_BYTES, (size_t)npages * LEAP_PAGE_BYTES,
		    MADV_POPULATE_WRITE);
	for (i = page; i < page + npages; i++)
		atomic_fetch_or_explicit(&s->touched[i / 64], 1ull << i % 64, memory_order_relaxed);
}

static int run(struct port *port, const struct io *io)
{
	size_t bytes = (size_t)io->npages * LEAP_PAGE_BYTES;
	struct shm_slab *s = slab_find(port, io);
	uint8_t *at = s ? s->base + (size_t)io->page * LEAP_PAGE_BYTES : NULL;

	if (!s)
		return -EIO;
	if (io->op == IO_READ) {
		memcpy(io->buf, at, bytes);
		atomic_fetch_add_explicit(&port->bytes_read, bytes, memory_order_relaxed);
		return 0;
	}
	if (atomic_load_explicit(&port->dead, memory_order_relaxed))
		return atomic_load(&port->dead);
	slab_touch(s, io->page, io->npages);
	memcpy(at, io->buf, bytes);
	atomic_fetch_add_explicit(&port->bytes_written, bytes, memory_order_relaxed);
	return 0;
}

/* A request that done() submits waits for its turn: no recursion, however long the chain. */
static void shm_submit(struct lane *lane, struct io *io)
{
	io_list_add(&lane->pending, io);
	if (lane->busy)
		return;
	lane->busy = true;
	while ((io = io_list_pop(&lane->pending))) {
		io->status = run(lane->port, io);
		io->done(io);
	}
	lane->busy = false;
}

static void shm_flush(struct lane *lane)
{
}

static int shm_poll(struct lane *lane)
{
	return 0;
}

static int shm_lane_fd(struct lane *lane)
{
	return -1;
}

static const void *shm_peek(struct port *port, uint32_t slab, uint32_t page)
{
	return NULL; /* the donor could change the bytes between their check and their use */
}

static void shm_clone_release(struct port *port)
{
	fd_close(port->child_fd);
	port->child_fd = -1;
}

static int shm_clone_prepare(struct port *port, struct port_ticket *ret_ticket)
{
	int fd, r;

	port->control.passes = false; /* the child must find it in its own table */
	r = ctl_clone(&port->control, ret_ticket, &fd);
	port->control.passes = true;
	if (r)
		return r;
	shm_clone_release(port);
	port->child_fd = fd_own(fd);
	return 0;
}

/* The mappings came along with fork(), and a connection that the donor made; the other is the parent's. */
static int shm_clone_adopt(struct port *port, const struct port_ticket *ticket)
{
	int r = atomic_load(&port->dead);

	/* fork() does not copy page tables of shared mappings. */
	for (uint32_t i = 0; i < port->slabs_end; i++)
		if (port->slabs[i])
			memset(port->slabs[i]->touched, 0, sizeof(port->slabs[i]->touched));
	ctl_forget(&port->control);
	if (r)
		return error_set(-r, "donor %s was dead before fork()", port->text);
	r = shm_connect(port, PROTO_KIND_CLONE, ticket->bytes);
	if (r)
		atomic_store(&port->dead, r == -ETIMEDOUT ? -ETIMEDOUT : -EPIPE);
	return r;
}

const struct transport_ops transport_shm = {
	.size = sizeof(struct transport_ops),
	.name = "shm",
	.flags = TRANSPORT_SYNC,
	.open = shm_open_port,
	.close = shm_close,
	.slab_grant = shm_slab_grant,
	.slab_release = shm_slab_release,
	.slab_shared = shm_slab_shared,
	.info = shm_info,
	.tick = shm_tick,
	.lane_open = shm_lane_open,
	.lane_close = shm_lane_close,
	.submit = shm_submit,
	.flush = shm_flush,
	.poll = shm_poll,
	.lane_fd = shm_lane_fd,
	.peek = shm_peek,
	.clone_prepare = shm_clone_prepare,
	.clone_release = shm_clone_release,
	.clone_adopt = shm_clone_adopt,
};
