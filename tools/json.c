/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - see json.h. */
#include "tools/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Length of the UTF-8 sequence at s, 0 when it is not one (overlong forms and surrogates count as
 * not one). */
static unsigned utf8_length(const unsigned char *s)
{
	unsigned n = s[0] < 0x80   ? 1
		     : s[0] < 0xc2 ? 0
		     : s[0] < 0xe0 ? 2
		     : s[0] < 0xf0 ? 3
		     : s[0] < 0xf5 ? 4
				   : 0;

	for (unsigned i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void put_string(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	putc('"', out);
	while (*s) {
		unsigned n = utf8_length(s);

		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s++);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\u%04x", *s++);
		else if (!n)
			fprintf(out, "\\ufffd"), s++;
		else
			s += fwrite(s, 1, n, out);
	}
	putc('"', out);
}

static void new_line(struct json *json)
{
	if (json->pretty)
		fprintf(json->out, "\n%*s", (int)(2 * json->depth), "");
}

static void begin(struct json *json, const char *key)
{
	if (json->more)
		putc(',', json->out);
	if (json->depth) {
		new_line(json);
		if (json->more && !json->pretty)
			putc(' ', json->out);
	}
	if (key) {
		put_string(json->out, key);
		fputs(": ", json->out);
	}
	json->more = true;
}

void json_open(struct json *json, const char *key, char open)
{
	begin(json, key);
	putc(open, json->out);
	json->depth++;
	json->more = false;
}

void json_close(struct json *json, char close)
{
	json->depth--;
	if (json->more)
		new_line(json);
	putc(close, json->out);
	json->more = json->depth > 0;
	if (!json->depth)
		putc('\n', json->out);
}

void json_text(struct json *json, const char *key, const char *value)
{
	begin(json, key);
	put_string(json->out, value);
}

void json_u64(struct json *json, const char *key, uint64_t value)
{
	begin(json, key);
	fprintf(json->out, "%" PRIu64, value);
}

void json_i64(struct json *json, const char *key, int64_t value)
{
	begin(json, key);
	fprintf(json->out, "%" PRId64, value);
}

void json_bool(struct json *json, const char *key, bool value)
{
	begin(json, key);
	fputs(value ? "true" : "false", json->out);
}

void json_f64(struct json *json, const char *key, double value, int decimals)
{
	if (!isfinite(value)) {
		json_null(json, key);
		return;
	}
	begin(json, key);
	fprintf(json->out, "%.*f", decimals, value);
}

void json_null(struct json *json, const char *key)
{
	begin(json, key);
	fputs("null", json->out);
}
