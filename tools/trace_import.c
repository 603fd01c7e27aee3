/* SPDX-License-Identifier: Apache-2.0 */
/* trace_import.c - see trace_import.h. */
#include "tools/trace_import.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"

#define LINE_BYTES  4096 /* backtraces are long */
#define COLUMNS_MAX 8
#define PAGE_SHIFT  12
#define FORMATS     "pages, fltrace, lackey, champsim"

/* Cuts the line at its commas. How many columns there are, at most max. */
static int cut(char *line, char **ret_column, int max)
{
	int n = 0;

	for (char *at = line; n < max; at++) {
		ret_column[n++] = at + strspn(at, " \t");
		at = strchr(at, ',');
		if (!at)
			return n;
		*at = '\0';
	}
	return n;
}

/* A whole number to the end of the text but for blanks; base 16 with or without 0x. */
static bool number(const char *text, int base, uint64_t *ret)
{
	char *end;

	if (!isxdigit((unsigned char)*text))
		return false;
	errno = 0;
	*ret = strtoull(text, &end, base);
	return !errno && !end[strspn(end, " \t\r\n")];
}

static int parse_pages(char *line, struct trace_record *r)
{
	return number(line + strspn(line, " \t"), 0, &r->vpn) ? 1 : -1;
}

static void print_pages(FILE *out, const struct trace_record *r, unsigned page_shift)
{
	fprintf(out, "0x%" PRIx64 "\n", r->vpn);
}

static void set_write(struct trace_record *r, bool write)
{
	r->flags = write ? TRACE_RECORD_WRITE : 0;
}

static bool is_write(const struct trace_record *r)
{
	return r->op == TRACE_WRITE_FAULT || r->flags & TRACE_RECORD_WRITE;
}

/* tstamp,ip,addr,pages,flags,tid,trace: addresses are hexadecimal; the low five bits of flags are 0 in a read. */
static int parse_fltrace(char *line, struct trace_record *r)
{
	uint64_t flags, tid;
	char *column[COLUMNS_MAX], *end;
	double seconds;

	if (cut(line, column, COLUMNS_MAX) < 6)
		return -1;
	seconds = strtod(column[0], &end);
	if (end == column[0])
		return !strcmp(column[2], "addr") ? 0 : -1; /* the title */
	if (!number(column[2], 16, &r->vpn) || !number(column[4], 0, &flags) ||
	    !number(column[5], 10, &tid) || tid > UINT32_MAX || !(seconds >= 0 && seconds < 9e9))
		return -1;
	r->t_ns = (uint64_t)(seconds * 1e9);
	r->tid = (uint32_t)tid;
	set_write(r, flags & 0x1f);
	return 1;
}

static void print_fltrace(FILE *out, const struct trace_record *r, unsigned page_shift)
{
	fprintf(out, "%" PRIu64 ".%09" PRIu64 ",0,%" PRIx64 ",1,%d,%u,\n", r->t_ns / 1000000000,
		r->t_ns % 1000000000, r->vpn << page_shift, is_write(r), r->tid);
}

/* " L 1ffeffe7e,8", " S ...", " M ..."; "I  4000,3" are instructions; messages begin with "==". */
static int parse_lackey(char *line, struct trace_record *r)
{
	char op, *comma = strchr(line, ',');

	if (!strncmp(line, "==", 2) || line[0] == 'I')
		return 0;
	op = line[0] == ' ' ? line[1] : '\0';
	if (!op || !strchr("LSM", op) || line[2] != ' ' || !comma)
		return -1;
	*comma = '\0';
	if (!number(line + 3, 16, &r->vpn))
		return -1;
	set_write(r, op != 'L');
	return 1;
}

static void print_lackey(FILE *out, const struct trace_record *r, unsigned page_shift)
{
	fprintf(out, " %c %08" PRIx64 ",8\n", is_write(r) ? 'S' : 'L', r->vpn << page_shift);
}

/* instruction, cycle, address, instruction pointer, hit: the last three are hexadecimal, cycles serve as time. */
static int parse_champsim(char *line, struct trace_record *r)
{
	char *column[COLUMNS_MAX];
	uint64_t instruction;

	if (cut(line, column, COLUMNS_MAX) < 3 || !number(column[0], 10, &instruction) ||
	    !number(column[1], 10, &r->t_ns) || !number(column[2], 16, &r->vpn))
		return -1;
	return 1;
}

static void print_champsim(FILE *out, const struct trace_record *r, unsigned page_shift)
{
	fprintf(out, "0, %" PRIu64 ", %" PRIx64 ", 0, 0\n", r->t_ns, r->vpn << page_shift);
}

static const struct trace_format formats[] = {
	{"pages", "ACCESS", TRACE_ACCESSES, false, false, parse_pages, print_pages, NULL},
	{"fltrace", "FAULT", TRACE_TIMES | TRACE_THREADS | TRACE_WRITES, true, false, parse_fltrace,
	 print_fltrace, "tstamp,ip,addr,pages,flags,tid,trace"},
	{"lackey", "ACCESS", TRACE_ACCESSES | TRACE_WRITES, true, true, parse_lackey, print_lackey,
	 NULL},
	{"champsim", "ACCESS", TRACE_ACCESSES | TRACE_TIMES, true, true, parse_champsim,
	 print_champsim, NULL},
};

const struct trace_format *trace_format_find(const char *name)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (!strcmp(formats[i].name, name))
			return &formats[i];
	error_set(ENOENT, "there is no form '%s'; there are " FORMATS, name);
	return NULL;
}

static bool is_empty(const char *line)
{
	line += strspn(line, " \t\r\n");
	return !*line || *line == '#';
}

/* Adds what is in the line. -EINVAL without a sentence when it cannot be understood. */
static int add_line(const struct trace_format *format, char *line, struct trace *trace)
{
	struct trace_record r = {0}, *last;
	int n = is_empty(line) ? 0 : format->parse(line, &r);

	if (n <= 0)
		return n ? -EINVAL : 0;
	if (format->bytes)
		r.vpn >>= PAGE_SHIFT;
	last = trace->header.n_records ? &trace->records[trace->header.n_records - 1] : NULL;
	if (format->folds && last && last->vpn == r.vpn && last->tid == r.tid) {
		last->flags |= r.flags;
		return 0;
	}
	return trace_add(trace, &r);
}

int trace_import(const struct trace_format *format, const char *path, struct trace *ret_trace)
{
	FILE *in = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char line[LINE_BYTES];
	struct trace trace;
	unsigned long count = 0;
	int err = 0;

	if (!in)
		return error_set(errno, "%s: cannot be opened (%s)", path, strerror(errno));
	trace_init(&trace, format->kind, format->flags);
	while (!err && fgets(line, sizeof(line), in)) {
		bool whole = strchr(line, '\n') || feof(in);

		count++;
		err = add_line(format, line, &trace);
		if (err == -EINVAL)
			error_set(EINVAL, "%s, line %lu: not of the form '%s'; see leap-trace(5)",
				  path, count, format->name);
		while (!whole && fgets(line, sizeof(line), in)) /* the rest of a long one */
			whole = strchr(line, '\n') != NULL;
	}
	if (!err && ferror(in))
		err = error_set(errno, "%s: cannot be read (%s)", path, strerror(errno));
	if (in != stdin)
		fclose(in);
	if (!err)
		err = trace_complete(&trace);
	if (err)
		trace_free(&trace);
	else
		*ret_trace = trace;
	return err;
}

int trace_export(const struct trace_format *format, const char *path, const struct trace *trace)
{
	FILE *out = strcmp(path, "-") ? fopen(path, "we") : stdout;
	bool good;

	if (!out)
		return error_set(errno, "%s: cannot be written (%s)", path, strerror(errno));
	if (format->title)
		fprintf(out, "%s\n", format->title);
	for (uint64_t i = 0; i < trace->header.n_records; i++)
		if (trace_is_access(&trace->records[i]))
			format->print(out, &trace->records[i], trace->header.page_shift);
	good = !ferror(out);
	if ((out == stdout ? fflush(out) : fclose(out)) || !good)
		return error_set(errno ? errno : EIO, "%s: cannot be written (%s)", path,
				 strerror(errno ? errno : EIO));
	return 0;
}
