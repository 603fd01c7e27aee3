/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_text.c - the text form of traces: a line of key=value for the header, a line a region, a line a record.
 *
 * A record may also be a page number alone: an access to it. So a plain list of pages is a trace.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/trace_file.h"

#define LINE_BYTES 512
#define COLUMNS    6
#define TITLE      "t_ns,vpn,tid,region,op,flags"

void trace_write_text(FILE *out, const struct trace *trace)
{
	const struct trace_header *h = &trace->header;

	fprintf(out, "# leap-trace %d\n", TRACE_VERSION);
	fprintf(out,
		"kind=%.8s page_shift=%u flags=%u footprint_pages=%" PRIu64 " local_pages=%" PRIu64
		" dropped=%" PRIu64 "\n",
		h->kind, h->page_shift, h->flags, h->footprint_pages, h->local_pages, h->dropped);
	if (h->shards > 1)
		fprintf(out, "shards=%u\n", h->shards);
	for (uint32_t i = 0; i < h->n_regions; i++)
		fprintf(out, "region,%u,%u,0x%" PRIx64 ",%" PRIu64 ",%s\n", trace->regions[i].id,
			trace->regions[i].flags, trace->regions[i].first_vpn,
			trace->regions[i].pages, trace->regions[i].name);
	fputs(TITLE "\n", out);
	for (uint64_t i = 0; i < h->n_records; i++) {
		const struct trace_record *r = &trace->records[i];

		fprintf(out, "%" PRIu64 ",0x%" PRIx64 ",%u,%u,%u,%u\n", r->t_ns, r->vpn, r->tid,
			r->region, r->op, r->flags);
	}
}

/* Up to max numbers, separated by commas. How many, or -1 when the text is anything else. */
static int numbers(const char *text, uint64_t *ret, int max)
{
	int n = 0;

	do {
		char *end;

		while (isspace((unsigned char)*text))
			text++;
		if (n == max || !isdigit((unsigned char)*text))
			return -1;
		errno = 0;
		ret[n++] = strtoull(text, &end, 0);
		if (errno)
			return -1;
		for (text = end; isspace((unsigned char)*text);)
			text++;
	} while (*text++ == ',');
	return text[-1] ? -1 : n;
}

static bool header_value(struct trace_header *h, const char *key, const char *value)
{
	uint64_t number;

	if (!strcmp(key, "kind")) {
		memset(h->kind, 0, sizeof(h->kind));
		memcpy(h->kind, value, strnlen(value, sizeof(h->kind)));
		return true;
	}
	if (numbers(value, &number, 1) != 1)
		return false;
	if (!strcmp(key, "page_shift") && number < 64)
		h->page_shift = (uint8_t)number;
	else if (!strcmp(key, "flags") && number < 256)
		h->flags = (uint8_t)number;
	else if (!strcmp(key, "footprint_pages"))
		h->footprint_pages = number;
	else if (!strcmp(key, "local_pages"))
		h->local_pages = number;
	else if (!strcmp(key, "dropped"))
		h->dropped = number;
	else if (!strcmp(key, "shards") && number <= TRACE_SHARDS)
		h->shards = (uint32_t)number;
	else
		return false;
	return true;
}

static bool header_line(struct trace_header *h, char *line)
{
	char *save, *word;

	for (word = strtok_r(line, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		char *value = strchr(word, '=');

		if (!value)
			return false;
		*value++ = '\0';
		if (!header_value(h, word, value))
			return false;
	}
	return true;
}

static int region_line(struct trace *trace, char *text)
{
	char *name = text;
	uint64_t v[4];

	for (int commas = 0; commas < 4 && name; commas++) {
		name = strchr(name, ',');
		name += name != NULL;
	}
	if (!name)
		return -EINVAL;
	name[-1] = '\0';
	if (numbers(text, v, 4) != 4 || v[0] > UINT16_MAX || v[1] > UINT32_MAX)
		return -EINVAL;
	return trace_add_region(trace, (uint32_t)v[0], v[2], v[3], name);
}

static int record_line(struct trace *trace, const char *line)
{
	struct trace_record record = {0};
	uint64_t v[COLUMNS];
	int n = numbers(line, v, COLUMNS);

	if (n == 1) {
		record.vpn = v[0];
	} else if (n == COLUMNS && v[2] <= UINT32_MAX && v[3] <= UINT16_MAX && v[4] < TRACE_OPS &&
		   v[5] <= UINT8_MAX) {
		record = (struct trace_record){.t_ns = v[0],
					       .vpn = v[1],
					       .tid = (uint32_t)v[2],
					       .region = (uint16_t)v[3],
					       .op = (uint8_t)v[4],
					       .flags = (uint8_t)v[5]};
	} else {
		return -EINVAL;
	}
	return trace_add(trace, &record);
}

static int read_line(struct trace *trace, char *line)
{
	line[strcspn(line, "\r\n")] = '\0';
	if (!*line || *line == '#' || !strcmp(line, TITLE))
		return 0;
	if (!strncmp(line, "region,", 7))
		return region_line(trace, line + 7);
	if (isdigit((unsigned char)*line))
		return record_line(trace, line);
	return header_line(&trace->header, line) ? 0 : -EINVAL;
}

int trace_read_text(FILE *in, const char *name, struct trace *ret_trace)
{
	char line[LINE_BYTES];
	struct trace trace;
	unsigned number = 0;
	int err = 0;

	trace_init(&trace, "ACCESS", TRACE_ACCESSES);
	while (!err && fgets(line, sizeof(line), in)) {
		number++;
		err = strlen(line) == sizeof(line) - 1 ? -EINVAL : read_line(&trace, line);
		if (err == -EINVAL)
			error_set(EINVAL,
				  "%s, line %u: neither a record (" TITLE
				  ", or a page number), nor a region, nor key=value; see "
				  "leap-trace(5)",
				  name, number);
	}
	if (!err && ferror(in))
		err = error_set(errno, "%s: cannot be read (%s)", name, strerror(errno));
	if (err) {
		trace_free(&trace);
		return err;
	}
	*ret_trace = trace;
	return 0;
}
