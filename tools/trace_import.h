/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_import.h - what other programs record: page lists, fltrace, valgrind's lackey, ChampSim's loads; read
 * into traces and written from them. man/leap-trace.5 describes what is read of each.
 */
#ifndef LEAP_TOOLS_TRACE_IMPORT_H
#define LEAP_TOOLS_TRACE_IMPORT_H

#include <stdio.h>

#include "tools/trace_file.h"

struct trace_format {
	const char *name;
	const char *kind;  /* of the trace */
	unsigned flags;    /* enum trace_flag */
	bool bytes, folds; /* addresses, not pages; neighbours within a page become one access */
	/* The access in a line: 1; a line to be passed over: 0; nothing that this format has: -1. vpn may be an address. */
	int (*parse)(char *line, struct trace_record *ret_record);
	void (*print)(FILE *out, const struct trace_record *record, unsigned page_shift);
	const char *title; /* first line of the file, or NULL */
};

/* NULL: there is none; the sentence is set. */
const struct trace_format *trace_format_find(const char *name);
/* 0, or -errno with the sentence set. path may be "-". */
int trace_import(const struct trace_format *format, const char *path, struct trace *ret_trace);
/* Accesses only; "-" is stdout. */
int trace_export(const struct trace_format *format, const char *path, const struct trace *trace);

#endif
