/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - writes JSON to a stream, value by value. The caller keeps brackets balanced.
 */
#ifndef LEAP_TOOLS_JSON_H
#define LEAP_TOOLS_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *out;
	bool pretty; /* a line a value; else all on one line */
	unsigned depth;
	bool more; /* a value stands before the next one on this level */
};

/* key is NULL inside arrays and for the outermost value. open is '{' or '['. */
void json_open(struct json *json, const char *key, char open);
void json_close(struct json *json, char close);
void json_text(struct json *json, const char *key, const char *value);
void json_u64(struct json *json, const char *key, uint64_t value);
void json_i64(struct json *json, const char *key, int64_t value);
void json_bool(struct json *json, const char *key, bool value);
/* With so many decimals; what is no number becomes null. */
void json_f64(struct json *json, const char *key, double value, int decimals);
void json_null(struct json *json, const char *key);

#endif
