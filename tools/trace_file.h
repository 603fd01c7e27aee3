/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_file.h - traces (libleap/trace.h) in memory: read from files of either form, written, made by hand.
 */
#ifndef LEAP_TOOLS_TRACE_FILE_H
#define LEAP_TOOLS_TRACE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "libleap/trace.h"

struct trace {
	struct trace_header header;
	struct trace_region *regions;
	struct trace_record *records; /* header.n_records */
	uint64_t room;                /* records that fit; 0: they lie in map */
	void *map;                    /* the file, or NULL */
	size_t map_bytes;
};

/* An empty trace of that kind. */
void trace_init(struct trace *trace, const char *kind, unsigned flags);
/* They return 0 or -ENOMEM with the sentence set. */
int trace_add(struct trace *trace, const struct trace_record *record);
int trace_add_region(struct trace *trace, uint32_t id, uint64_t first_vpn, uint64_t pages,
		     const char *name);
/* Counts the footprint, and adds a region for every id that records have and the table lacks. */
int trace_complete(struct trace *trace);
void trace_free(struct trace *trace);

/* Reads a file of either form. 0, or -errno with the sentence set: it cannot be read, or what is wrong in it. */
int trace_load(const char *path, struct trace *ret_trace);
/* Reads the text form (man/leap-trace.5); name is for sentences. */
int trace_read_text(FILE *in, const char *name, struct trace *ret_trace);
int trace_save(const char *path, const struct trace *trace, bool text);
void trace_write_text(FILE *out, const struct trace *trace);

#endif
