/* SPDX-License-Identifier: Apache-2.0 */
/* trace_file.c - see trace_file.h: traces in memory and the binary form. The text form is trace_text.c. */
#include "tools/trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libleap/error.h"

#define REGIONS_MAX 65536

void trace_init(struct trace *trace, const char *kind, unsigned flags)
{
	memset(trace, 0, sizeof(*trace));
	memcpy(trace->header.magic, TRACE_MAGIC, sizeof(trace->header.magic));
	trace->header.version = TRACE_VERSION;
	trace->header.page_shift = 12;
	trace->header.flags = (uint8_t)flags;
	memcpy(trace->header.kind, kind, strnlen(kind, sizeof(trace->header.kind)));
}

int trace_add(struct trace *trace, const struct trace_record *record)
{
	if (trace->header.n_records == trace->room) {
		uint64_t room = trace->room ? trace->room * 2 : 4096;
		struct trace_record *more = realloc(trace->records, room * sizeof(*more));

		if (!more)
			return error_set(ENOMEM, "no memory for a trace of %lu records",
					 (unsigned long)room);
		trace->records = more;
		trace->room = room;
	}
	trace->records[trace->header.n_records++] = *record;
	return 0;
}

int trace_add_region(struct trace *trace, uint32_t id, uint64_t first_vpn, uint64_t pages,
		     const char *name)
{
	uint32_t n = trace->header.n_regions;
	struct trace_region *more = realloc(trace->regions, (n + 1) * sizeof(*more));

	if (!more)
		return error_set(ENOMEM, "no memory for a trace of %u regions", n);
	more[n] = (struct trace_region){.id = id, .first_vpn = first_vpn, .pages = pages};
	memcpy(more[n].name, name, strnlen(name, sizeof(more[n].name) - 1));
	trace->regions = more;
	trace->header.n_regions = n + 1;
	return 0;
}

static int compare_pages(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int count_footprint(struct trace *trace)
{
	uint64_t n = trace->header.n_records, used = 0, *pages = malloc((n + 1) * sizeof(*pages));

	if (!pages)
		return error_set(ENOMEM, "no memory for the pages of %lu records",
				 (unsigned long)n);
	for (uint64_t i = 0; i < n; i++)
		if (trace_is_access(&trace->records[i]))
			pages[used++] = trace->records[i].vpn;
	qsort(pages, used, sizeof(*pages), compare_pages);
	trace->header.footprint_pages = used > 0;
	for (uint64_t i = 1; i < used; i++)
		trace->header.footprint_pages += pages[i] != pages[i - 1];
	free(pages);
	return 0;
}

/* Regions that the table lacks, from the first to the last page accessed under their id. */
static int add_missing_regions(struct trace *trace)
{
	struct span {
		uint64_t first, last;
		bool known, used;
	} *spans = calloc(REGIONS_MAX, sizeof(*spans));
	int err = 0;

	if (!spans)
		return error_set(ENOMEM, "no memory for the regions of a trace");
	for (uint32_t i = 0; i < trace->header.n_regions; i++)
		if (trace->regions[i].id < REGIONS_MAX)
			spans[trace->regions[i].id].known = true;
	for (uint64_t i = 0; i < trace->header.n_records; i++) {
		struct span *s = &spans[trace->records[i].region];
		uint64_t vpn = trace->records[i].vpn;

		if (s->known || !trace_is_access(&trace->records[i]))
			continue;
		s->first = !s->used || vpn < s->first ? vpn : s->first;
		s->last = !s->used || vpn > s->last ? vpn : s->last;
		s->used = true;
	}
	for (uint32_t id = 0; id < REGIONS_MAX && !err; id++)
		if (spans[id].used)
			err = trace_add_region(trace, id, spans[id].first,
					       spans[id].last - spans[id].first + 1, "");
	free(spans);
	return err;
}

int trace_complete(struct trace *trace)
{
	int err = add_missing_regions(trace);

	if (!err && !trace->header.footprint_pages)
		err = count_footprint(trace);
	return err;
}

void trace_free(struct trace *trace)
{
	if (trace->map)
		munmap(trace->map, trace->map_bytes);
	else
		free(trace->records);
	free(trace->regions);
	memset(trace, 0, sizeof(*trace));
}

/* Offset of the first record. */
static uint64_t records_at(const struct trace_header *h)
{
	return h->records_at ? h->records_at
			     : sizeof(*h) + (uint64_t)h->n_regions * sizeof(struct trace_region);
}

static int check_header(const char *path, const struct trace_header *h, uint64_t bytes)
{
	uint64_t regions_end = sizeof(*h) + (uint64_t)h->n_regions * sizeof(struct trace_region);
	uint64_t at = records_at(h);

	if (h->version != TRACE_VERSION)
		return error_set(EINVAL,
				 "%s: version %u of the format; this program reads version %d",
				 path, h->version, TRACE_VERSION);
	if (at < regions_end || at % sizeof(uint64_t))
		return error_set(EINVAL,
				 "%s: its records are said to begin at byte %lu, where they cannot",
				 path, (unsigned long)at);
	if (h->shards > TRACE_SHARDS)
		return error_set(
			EINVAL, "%s: recorded by %u fault threads, it says; no more than %d can be",
			path, h->shards, TRACE_SHARDS);
	if (h->n_regions > REGIONS_MAX || (h->n_regions && regions_end > bytes) ||
	    (h->n_records && at > bytes) ||
	    h->n_records > (bytes - (at < bytes ? at : bytes)) / sizeof(struct trace_record))
		return error_set(EINVAL,
				 "%s: cut short: its header tells of %lu records and %u regions, "
				 "which do not fit into %lu bytes",
				 path, (unsigned long)h->n_records, h->n_regions,
				 (unsigned long)bytes);
	return 0;
}

static int check_records(const char *path, const struct trace *trace)
{
	for (uint64_t i = 0; i < trace->header.n_records; i++)
		if (trace->records[i].op >= TRACE_OPS)
			return error_set(EINVAL, "%s: record %lu: there is no op %u", path,
					 (unsigned long)i, trace->records[i].op);
	return 0;
}

static int load_binary(const char *path, int fd, uint64_t bytes, struct trace *ret_trace)
{
	struct trace t = {0};
	size_t table;
	char *at;
	int err;

	t.map_bytes = bytes;
	t.map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (t.map == MAP_FAILED)
		return error_set(errno, "%s: cannot be mapped (%s)", path, strerror(errno));
	at = t.map;
	memcpy(&t.header, at, sizeof(t.header));
	err = check_header(path, &t.header, bytes);
	if (err)
		goto free;
	table = t.header.n_regions * sizeof(*t.regions);
	t.regions = malloc(table + 1);
	if (!t.regions) {
		err = error_set(ENOMEM, "%s: no memory for its regions", path);
		goto free;
	}
	memcpy(t.regions, at + sizeof(t.header), table);
	for (uint32_t i = 0; i < t.header.n_regions; i++)
		t.regions[i].name[sizeof(t.regions[i].name) - 1] = '\0';
	t.records = (struct trace_record *)(at + records_at(&t.header));
	err = check_records(path, &t);
	if (err)
		goto free;
	*ret_trace = t;
	return 0;
free:
	trace_free(&t);
	return err;
}

int trace_load(const char *path, struct trace *ret_trace)
{
	char magic[4] = "";
	struct stat st;
	FILE *in = fopen(path, "re");
	int err;

	if (!in || fstat(fileno(in), &st)) {
		err = error_set(errno, "%s: cannot be opened (%s)", path, strerror(errno));
		goto close;
	}
	if (fread(magic, 1, sizeof(magic), in) == sizeof(magic) && S_ISREG(st.st_mode) &&
	    !memcmp(magic, TRACE_MAGIC, sizeof(magic)) &&
	    (uint64_t)st.st_size >= sizeof(struct trace_header)) {
		err = load_binary(path, fileno(in), (uint64_t)st.st_size, ret_trace);
	} else {
		rewind(in);
		err = trace_read_text(in, path, ret_trace);
	}
	if (!err) {
		err = trace_complete(ret_trace);
		if (err)
			trace_free(ret_trace);
	}
close:
	if (in)
		fclose(in);
	return err;
}

int trace_save(const char *path, const struct trace *trace, bool text)
{
	FILE *out = fopen(path, "we");
	struct trace_header h = trace->header;
	bool good;

	if (!out)
		return error_set(errno, "%s: cannot be written (%s)", path, strerror(errno));
	if (text)
		trace_write_text(out, trace);
	h.records_at = 0;
	if (!text && fwrite(&h, sizeof(h), 1, out) == 1)
		if (fwrite(trace->regions, sizeof(*trace->regions), h.n_regions, out) ==
		    h.n_regions)
			fwrite(trace->records, sizeof(*trace->records), h.n_records, out);
	good = !ferror(out);
	if (fclose(out) || !good)
		return error_set(errno ? errno : EIO, "%s: cannot be written (%s)", path,
				 strerror(errno ? errno : EIO));
	return 0;
}
