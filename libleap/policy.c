/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - see policy.h: a recorded trace becomes the future of policy replay. */
#include "libleap/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "libleap/error.h"
#include "libleap/prefetch/prefetch.h"
#include "libleap/prefetch/replay.h"
#include "libleap/trace.h"
#include "libleap/util/clerk.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#define REPLAY      "replay"
#define REGIONS_MAX 65536
#define RADIX_BITS  8
#define RADIX       (1u << RADIX_BITS)

/* A trace that lies in memory as it is in the file. */
struct file {
	void *map;
	size_t bytes;
	const struct trace_header *header;
	const struct trace_region *region;
	const struct trace_record *record;
};

static bool well_formed(struct file *f)
{
	const struct trace_header *h = f->map;
	uint64_t at, table;

	if (f->bytes < sizeof(*h) || memcmp(h->magic, TRACE_MAGIC, sizeof(h->magic)) ||
	    h->version != TRACE_VERSION || h->n_regions > REGIONS_MAX)
		return false;
	table = sizeof(*h) + h->n_regions * sizeof(struct trace_region);
	at = h->records_at ? h->records_at : table;
	if (at < table || at % sizeof(uint64_t) || at > f->bytes ||
	    h->n_records > (f->bytes - at) / sizeof(struct trace_record))
		return false;
	f->header = h;
	f->region = (const struct trace_region *)(h + 1);
	f->record = (const struct trace_record *)((const char *)f->map + at);
	return true;
}

struct mapping {
	const char *path;
	struct file *file;
	int err; /* of opening it */
};

static void do_map(void *arg)
{
	struct mapping *m = arg;
	struct stat st;
	int err = 0;
	int fd = (int)sys_ret(
		syscall(SYS_openat, AT_FDCWD, m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));

	m->err = fd < 0 ? fd : 0;
	if (fd < 0)
		return;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size) {
		m->file->bytes = (size_t)st.st_size;
		m->file->map = sys_mmap(NULL, m->file->bytes, PROT_READ, MAP_PRIVATE, fd, 0, &err);
	}
	sys_close(fd);
}

static int map_file(const char *path, struct file *ret_file)
{
	struct mapping m = {.path = path, .file = ret_file};

	clerk_run(do_map, &m, NULL);
	if (m.err)
		return error_set(-m.err, "option prefetch: cannot read the trace %s (error %d%s)",
				 path, -m.err, m.err == -ENOENT ? ", no such file" : "");
	if (ret_file->map && well_formed(ret_file))
		return 0;
	if (ret_file->map)
		sys_munmap(ret_file->map, ret_file->bytes);
	return error_set(EINVAL,
			 "option prefetch: %s is not a trace in the binary form that can be read: "
			 "record one with 'leap run --trace FILE', or use 'leap trace convert'",
			 path);
}

/* Which entry of the table a record belongs to; n_regions: none, or it is no touch of what had been evicted. */
static uint32_t region_of(const struct file *f, const struct trace_record *r, uint32_t last)
{
	uint32_t n = f->header->n_regions, i = last;

	if (!trace_is_access(r) || r->flags & TRACE_RECORD_FIRST)
		return n;
	if (i >= n || f->region[i].id != r->region)
		for (i = 0; i < n && f->region[i].id != r->region; i++)
			;
	if (i < n && (r->vpn < f->region[i].first_vpn ||
		      r->vpn - f->region[i].first_vpn >= f->region[i].pages ||
		      r->vpn - f->region[i].first_vpn > INT32_MAX))
		return n;
	return i;
}

/* Sorts positions by their page, keeping the order of equal ones. The result is in `order`; `spare` is as large. */
static void sort_positions(const uint32_t *page, uint32_t n, uint32_t *order, uint32_t *spare)
{
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (unsigned shift = 0; shift < 32; shift += RADIX_BITS) {
		uint32_t count[RADIX] = {0}, sum = 0;

		for (uint32_t i = 0; i < n; i++)
			count[page[order[i]] >> shift & (RADIX - 1)]++;
		for (unsigned d = 0; d < RADIX; d++) {
			uint32_t c = count[d];

			count[d] = sum;
			sum += c;
		}
		for (uint32_t i = 0; i < n; i++)
			spare[count[page[order[i]] >> shift & (RADIX - 1)]++] = order[i];
		memcpy(order, spare, n * sizeof(*order));
	}
}

static int index_region(struct replay_region *region, uint32_t *numbers)
{
	uint32_t *spare = mem_map((region->n + 1) * sizeof(*spare));

	if (!spare)
		return -ENOMEM;
	sort_positions(numbers, region->n, numbers + region->n, spare);
	mem_unmap(spare, (region->n + 1) * sizeof(*spare));
	region->page = numbers;
	region->order = numbers + region->n;
	return 0;
}

/* Pages and order of all regions lie in one array, two numbers a touch. */
static int fill(const struct file *f, struct replay_future *future)
{
	uint32_t nregions = f->header->n_regions, last = 0;
	uint64_t total = 0;
	uint32_t *numbers;
	int err = 0;

	future->nregions = nregions;
	for (uint32_t i = 0; i < nregions; i++)
		future->region[i].id = f->region[i].id;
	for (uint64_t i = 0; i < f->header->n_records; i++) {
		uint32_t region = region_of(f, &f->record[i], last);

		if (region == nregions)
			continue;
		last = region;
		future->region[region].n++;
		total++;
	}
	if (total > INT32_MAX)
		return -E2BIG;
	numbers = mem_map((2 * total + 1) * sizeof(*numbers));
	if (!numbers)
		return -ENOMEM;
	for (uint32_t i = 0; i < nregions; i++) {
		future->region[i].page = numbers;
		numbers += 2 * (size_t)future->region[i].n;
		future->region[i].n = 0;
	}
	for (uint64_t i = 0; i < f->header->n_records; i++) {
		uint32_t region = region_of(f, &f->record[i], last);
		struct replay_region *r;

		if (region == nregions)
			continue;
		last = region;
		r = &future->region[region];
		((uint32_t *)r->page)[r->n++] =
			(uint32_t)(f->record[i].vpn - f->region[region].first_vpn);
	}
	for (uint32_t i = 0; i < nregions && !err; i++)
		err = index_region(&future->region[i], (uint32_t *)future->region[i].page);
	return err;
}

static int load(const char *path, const struct replay_future **ret_future)
{
	struct replay_future *future;
	struct file f = {0};
	size_t bytes;
	int err = map_file(path, &f);

	if (!f.header)
		return err;
	bytes = sizeof(*future) + f.header->n_regions * sizeof(future->region[0]);
	future = mem_map(bytes);
	err = future ? fill(&f, future) : -ENOMEM;
	sys_munmap(f.map, f.bytes);
	if (err && future)
		mem_unmap(future, bytes);
	if (err)
		return error_set(-err, "option prefetch: no memory for what is in the trace %s",
				 path);
	*ret_future = future;
	return 0;
}

int policy_open(const char *name, const struct prefetcher_ops **ret_ops,
		const struct replay_future **ret_future)
{
	size_t n = sizeof(REPLAY) - 1;

	*ret_future = NULL;
	*ret_ops = prefetcher_find(name);
	if (!*ret_ops)
		return error_set(EINVAL, "option prefetch: there is no policy '%s'; take one of %s",
				 name, prefetcher_names());
	if (strncmp(name, REPLAY, n))
		return 0;
	if (name[n] != ':' || !name[n + 1])
		return error_set(EINVAL, "option prefetch: which trace is to be replayed? Write "
					 "replay:FILE");
	return load(name + n + 1, ret_future);
}
