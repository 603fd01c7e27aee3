/* SPDX-License-Identifier: Apache-2.0 */
/* leap.c - life of a session: opening, closing, the page budget. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "libleap/control.h"
#include "libleap/error.h"
#include "libleap/evict.h"
#include "libleap/log.h"
#include "libleap/log_writer.h"
#include "libleap/policy.h"
#include "libleap/region_int.h"
#include "libleap/session.h"
#include "libleap/stack.h"
#include "libleap/uffd/handler.h"
#include "libleap/uffd/mover.h"
#include "libleap/uffd/uffd.h"
#include "libleap/util/clerk.h"
#include "libleap/util/fmt.h"
#include "libleap/util/hash.h"
#include "libleap/util/mem.h"
#include "libleap/util/proc.h"

__thread int runtime_depth __attribute__((tls_model("initial-exec")));
struct leap *sessions;
static struct lock sessions_lock = LOCK_INIT(LOCK_RANK_SESSIONS);

const char *leap_version(void)
{
	return LEAP_VERSION_STRING;
}

const char *leap_last_error(void)
{
	return error_last();
}

uint64_t overhead_bytes(const struct leap *leap)
{
	uint64_t bytes = mem_mapped_bytes();

	/* 16.75 bytes of metadata for each page that has content */
	bytes += (uint64_t)__atomic_load_n(&leap->held, __ATOMIC_RELAXED) * 67 / 4;
	for (unsigned s = 0; s < leap->nshards; s++) {
		const struct shard *shard = &leap->shards[s];

		bytes += (uint64_t)shard->stage.high << LEAP_PAGE_SHIFT;
		if (!shard->limbo.movable)
			bytes += shard->limbo.nslots * EXTENT_BYTES;
	}
	return bytes;
}

int64_t limit_bytes(const struct leap *leap)
{
	uint64_t most = cgroup_managed(&leap->cgroup);
	int64_t base;

	if (!leap->config.remote)
		return INT64_MAX / 2;
	if (!leap->config.local.percent)
		return (int64_t)leap->config.local.bytes;
	base = __atomic_load_n(leap->armed ? &leap->held : &leap->committed, __ATOMIC_RELAXED);
	base = (base << LEAP_PAGE_SHIFT) / 100 * leap->config.local.percent;
	return (uint64_t)base < most ? base : (int64_t)most;
}

int64_t budget_pages(const struct leap *leap)
{
	int64_t pages = (limit_bytes(leap) - (int64_t)overhead_bytes(leap)) >> LEAP_PAGE_SHIFT;

	return pages < LIMIT_MIN_PAGES ? LIMIT_MIN_PAGES : pages;
}

int64_t ceiling_pages(const struct leap *leap)
{
	int64_t budget = budget_pages(leap);
	int64_t ceiling = budget + budget * leap->config.ceiling_percent / 100;
	uint64_t limit = leap->cgroup.limit;
	int64_t most = (int64_t)((limit - limit / 16) >> LEAP_PAGE_SHIFT);

	if (limit == UINT64_MAX || ceiling <= most)
		return ceiling;
	return most > budget ? most : budget;
}

int64_t budget_headroom(const struct leap *leap)
{
	int64_t room = budget_pages(leap) / 64;

	return room < 64 ? 64 : room > 2048 ? 2048 : room;
}

void shards_lock_all(struct leap *leap)
{
	for (unsigned s = 0; s < leap->nshards; s++)
		lock_acquire(&leap->shards[s].lock);
}

void shards_unlock_all(struct leap *leap)
{
	for (unsigned s = leap->nshards; s-- > 0;)
		lock_release(&leap->shards[s].lock);
}

uint64_t available_bytes(void)
{
	char text[2048], *at;
	long n = proc_read(PROC_MEMINFO, text, sizeof(text) - 1, 0);
	uint64_t kib = 0;

	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "MemAvailable:");
	if (!at)
		return UINT64_MAX;
	for (at += 13; *at == ' '; at++)
		;
	for (; *at >= '0' && *at <= '9'; at++)
		kib = kib * 10 + (uint64_t)(*at - '0');
	return kib << 10;
}

static int choose_mover(struct leap *leap)
{
	struct mover_choice choice;
	int err = mover_choose(&leap->config, &choice);

	if (err)
		return err;
	leap->features = choice.features;
	leap->can_move = choice.can_move;
	leap->has_wp = choice.has_wp;
	leap->can_poison = choice.features & UFFD_FEATURE_POISON;
	return 0;
}

static void set_params(struct leap *leap)
{
	struct transport_params *p = &leap->donors.params;
	char name[32];

	p->deadline_ns = leap->config.deadline_ns;
	p->loop_bytes_max = leap->config.loop_bytes_max;
	p->loop_compress = leap->config.loop_compress;
	p->call_end_ns = &leap->donors.call_end_ns;
	p->open_end_ns = &leap->donors.open_end_ns;
	p->io_uring = leap->config.io_uring;
	p->rdma_device = leap->config.rdma_device;
	syscall(SYS_getrandom, p->client_id, sizeof(p->client_id), 0);
	leap->donors.random = p->client_id[0] | 1;
	proc_program(name, sizeof(name));
	fmt_print(leap->donors.client_name, sizeof(leap->donors.client_name), "%s[%d]", name,
		  (int)getpid());
	p->client_name = leap->donors.client_name;
}

static int open_shards(struct leap *leap)
{
	unsigned n = leap->config.fault_threads;

	if (!n) {
		long cpus = sysconf(_SC_NPROCESSORS_ONLN);

		n = cpus >= 16 ? 4 : cpus >= 8 ? 2 : 1;
	}
	if (leap->frontend == FRONTEND_INLINE)
		n = 1;
	leap->shards = mem_map(n * sizeof(*leap->shards));
	if (!leap->shards)
		return error_set(ENOMEM, "no memory for %u fault threads", n);
	for (; leap->nshards < n; leap->nshards++) {
		int err = shard_init(leap, &leap->shards[leap->nshards], leap->nshards);

		if (err) {
			leap->nshards++;
			return err;
		}
	}
	return 0;
}

int session_start_threads(struct leap *leap)
{
	int err;

	leap->stop = false;
	for (unsigned s = 0; s < leap->nshards; s++) {
		err = handler_start(&leap->shards[s]);
		if (err)
			return err;
	}
	err = log_writer_start();
	if (err)
		return err;
	err = thread_start(&leap->evictor, evictor_main, leap, "leap-evict");
	leap->evictor_runs = !err;
	if (err)
		return err;
	err = thread_start(&leap->keeper, keeper_main, leap, "leap-keeper");
	leap->keeper_runs = !err;
	if (!err)
		err = changes_start(leap);
	return err ? err : recorder_start(leap);
}

static void stop_threads(struct leap *leap)
{
	for (unsigned s = 0; s < leap->nshards; s++)
		handler_stop(&leap->shards[s]);
	__atomic_store_n(&leap->stop, true, __ATOMIC_RELEASE);
	if (leap->evictor_runs) {
		evictor_kick(leap);
		thread_join(&leap->evictor);
	}
	if (leap->keeper_runs) {
		keeper_kick(leap);
		thread_join(&leap->keeper);
	}
	changes_stop(leap);
	leap->evictor_runs = leap->keeper_runs = false;
}

static void sessions_insert(struct leap *leap)
{
	lock_acquire(&sessions_lock);
	leap->next = sessions;
	__atomic_store_n(&sessions, leap, __ATOMIC_RELEASE);
	lock_release(&sessions_lock);
}

static void sessions_remove(struct leap *leap)
{
	struct leap **link;

	lock_acquire(&sessions_lock);
	for (link = &sessions; *link && *link != leap; link = &(*link)->next)
		;
	if (*link)
		*link = leap->next;
	lock_release(&sessions_lock);
}

struct leap_region *sessions_find_region(const void *addr)
{
	struct leap_region *r = NULL;
	struct lock_app saved;

	lock_app_enter(&saved);
	lock_acquire(&sessions_lock);
	for (struct leap *leap = sessions; leap && !r; leap = leap->next) {
		lock_acquire(&leap->lock);
		r = region_find(leap, addr);
		lock_release(&leap->lock);
	}
	lock_release(&sessions_lock);
	lock_app_leave(&saved);
	return r;
}

bool sessions_hold_range(struct leap *leap, const void *addr, size_t bytes)
{
	bool found = false;

	lock_acquire(&sessions_lock);
	for (struct leap *other = sessions; other && !found; other = other->next) {
		if (other == leap)
			continue;
		lock_acquire(&other->lock);
		found = region_overlaps(other, addr, bytes);
		lock_release(&other->lock);
	}
	return found;
}

void sessions_let_go(void)
{
	lock_release(&sessions_lock);
}

static struct thread clerk_thread;
static uint32_t clerk_users;

int session_start_clerk(void)
{
	int err = clerk_prepare();

	if (err)
		return error_set(-err, "cannot make a pair of sockets: error %d", -err);
	err = thread_start(&clerk_thread, clerk_main, NULL, "leap-clerk");
	if (!err)
		clerk_wait();
	return err;
}

/* The first session starts it, before anything else is opened. */
static int open_clerk(void)
{
	return __atomic_fetch_add(&clerk_users, 1, __ATOMIC_ACQ_REL) ? 0 : session_start_clerk();
}

static void close_clerk(void)
{
	if (__atomic_sub_fetch(&clerk_users, 1, __ATOMIC_ACQ_REL) || !clerk_thread.stack)
		return;
	clerk_end();
	thread_join(&clerk_thread);
}

static void free_session(struct leap *leap)
{
	stop_threads(leap);
	recorder_close(leap);
	control_close(leap);
	for (unsigned s = 0; s < leap->nshards; s++)
		shard_destroy(&leap->shards[s]);
	donors_close(leap);
	slabs_destroy(&leap->slabs);
	mem_unmap(leap->shards, leap->nshards * sizeof(*leap->shards));
	mem_unmap(leap->regions, leap->regions_cap * sizeof(*leap->regions));
	fd_close(leap->keeper_fd);
	close_clerk();
	log_writer_close();
	proc_close();
	mem_unmap(leap, sizeof(*leap));
}

static int set_up(struct leap *leap)
{
	int err = choose_mover(leap);

	if (err)
		return err;
	if (stack_init())
		return error_set(ENOMEM, "no memory for the pager's stacks");
	err = policy_open(leap->config.prefetch, &leap->prefetcher, &leap->future);
	if (err)
		return err;
	leap->frontend = leap->config.frontend;
	if (leap->frontend == FRONTEND_AUTO)
		leap->frontend = handler_calibrate(leap->config.anchor == ANCHOR_ON);
	leap->recycle = leap->config.recycle;
	set_params(leap);
	err = slabs_init(&leap->slabs);
	if (err)
		return error_set(ENOMEM, "no address space for the table of slabs");
	leap->keeper_fd = (int)sys_ret(syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (leap->keeper_fd < 0)
		return error_set(-leap->keeper_fd, "cannot make an eventfd: error %d",
				 -leap->keeper_fd);
	leap->keeper_fd = fd_own(leap->keeper_fd);
	err = open_shards(leap);
	if (!err)
		err = recorder_open(leap);
	if (!err)
		err = donors_add(leap, leap->config.donors);
	if (!err && leap->user_only)
		log_warn(
			"userfaultfd serves faults of user mode only: system calls on pages that are not "
			"local fail with EFAULT; run as root or 'sysctl vm.unprivileged_userfaultfd=1'");
	if (!err)
		err = session_start_threads(leap);
	return err;
}

/* Which number was taken. */
static void tell_limit(struct leap *leap)
{
	const struct cgroup_memory *m = &leap->cgroup;
	char limit[64];

	if (log_get_level() < LOG_LEVEL_INFO)
		return;
	config_get(&leap->config, "local", limit, sizeof(limit));
	if (m->limit == UINT64_MAX)
		log_info("local limit: %s; no memory cgroup limits this process", limit);
	else
		log_info(
			"local limit: %s, at most %lu MiB: the memory cgroup %s allows %lu MiB in all",
			limit, (unsigned long)(cgroup_managed(m) >> 20), m->group,
			(unsigned long)(m->limit >> 20));
}

int runtime_open(const struct config *config, struct leap **ret_leap)
{
	struct cgroup_memory cgroup;
	struct leap *leap;
	int err = config_check(config);

	cgroup_memory("", &cgroup);
	if (!err)
		err = config_check_memory(config, &cgroup);
	if (err)
		return err;
	hash_init();
	leap = mem_map(sizeof(*leap));
	if (!leap)
		return error_set(ENOMEM, "no memory for a session");
	runtime_enter();
	leap->config = *config;
	leap->cgroup = cgroup;
	leap->keeper_fd = leap->ctl_fd = -1;
	proc_open();
	log_writer_open();
	leap->start_ns = clock_ns();
	lock_init(&leap->change, LOCK_RANK_CHANGE, 0);
	lock_init(&leap->lock, LOCK_RANK_SESSION, 0);
	lock_init(&leap->donors.join, LOCK_RANK_JOIN, 0);
	lock_init(&leap->donors.lock, LOCK_RANK_DONORS, 0);
	err = open_clerk();
	if (!err)
		err = set_up(leap);
	if (err) {
		free_session(leap);
	} else {
		tell_limit(leap);
		if (leap->config.publish)
			control_open(
				leap); /* a session without a window on it is still a session */
		sessions_insert(leap);
		*ret_leap = leap;
	}
	runtime_leave();
	return err;
}

int leap_open(const struct leap_options *options, struct leap **ret_leap)
{
	struct config *config = mem_map(sizeof(*config));
	int err;

	if (!config)
		return error_set(ENOMEM, "leap_open: no memory");
	if (options)
		*config = options->config;
	else
		config_defaults(config);
	err = runtime_open(config, ret_leap);
	mem_unmap(config, sizeof(*config));
	return err ? error_prefix(err, "leap_open") : 0;
}

int leap_close(struct leap *leap)
{
	if (!leap)
		return 0;
	runtime_enter();
	while (leap->nregions) {
		int err = region_unmake(leap->regions[leap->nregions - 1]);

		if (err) {
			runtime_leave();
			return error_prefix(err, "leap_close");
		}
	}
	sessions_remove(leap);
	free_session(leap);
	runtime_leave();
	return 0;
}

const struct config *runtime_config(const struct leap *leap)
{
	return &leap->config;
}
