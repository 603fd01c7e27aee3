/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the tools write: JSON, figures for people, rates between two samples.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tools/human.h"
#include "tools/json.h"
#include "tools/sample.h"

/* sample.c needs it for sample_take() only. */
int stats_page_read(long pid, struct stats_page *ret_page)
{
	return -1;
}

static char *text;
static size_t text_bytes;

static struct json json_begin(bool pretty)
{
	return (struct json){.out = open_memstream(&text, &text_bytes), .pretty = pretty};
}

static void json_is(struct json *json, const char *want)
{
	fclose(json->out);
	assert_string_equal(text, want);
	free(text);
}

static void test_json_values(void **state)
{
	struct json json = json_begin(false);

	json_open(&json, NULL, '{');
	json_u64(&json, "max", UINT64_MAX);
	json_i64(&json, "min", INT64_MIN);
	json_f64(&json, "half", 0.5, 3);
	json_f64(&json, "nan", NAN, 3);
	json_f64(&json, "inf", INFINITY, 3);
	json_bool(&json, "yes", true);
	json_null(&json, "none");
	json_open(&json, "list", '[');
	json_close(&json, ']');
	json_open(&json, "object", '{');
	json_u64(&json, "x", 1);
	json_close(&json, '}');
	json_close(&json, '}');
	json_is(&json, "{\"max\": 18446744073709551615, \"min\": -9223372036854775808, "
		       "\"half\": 0.500, \"nan\": null, \"inf\": null, \"yes\": true, "
		       "\"none\": null, \"list\": [], \"object\": {\"x\": 1}}\n");
}

static void test_json_text(void **state)
{
	struct json json = json_begin(false);

	json_open(&json, NULL, '[');
	json_text(&json, NULL, "a \"b\" \\ \n \x01 \x7f");
	json_text(&json, NULL, "\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80"); /* good UTF-8 stays */
	json_text(&json, NULL, "\xff \xc0\x80 \xed\xa0\x80 \xe2\x82");    /* bad does not */
	json_close(&json, ']');
	json_is(&json, "[\"a \\\"b\\\" \\\\ \\u000a \\u0001 \\u007f\", "
		       "\"\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80\", "
		       "\"\\ufffd \\ufffd\\ufffd \\ufffd\\ufffd\\ufffd \\ufffd\\ufffd\"]\n");
}

static void test_json_pretty(void **state)
{
	struct json json = json_begin(true);

	json_open(&json, NULL, '{');
	json_open(&json, "a", '[');
	json_u64(&json, NULL, 1);
	json_u64(&json, NULL, 2);
	json_close(&json, ']');
	json_u64(&json, "b", 3);
	json_close(&json, '}');
	json_is(&json, "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": 3\n}\n");
}

static void test_human(void **state)
{
	static const struct {
		uint64_t value;
		const char *bytes, *time;
	} cases[] = {
		{0, "0", "0ns"},
		{999, "999", "999ns"},
		{1023, "1023", "1.0us"},
		{1024, "1.0K", "1.0us"},
		{1536, "1.5K", "1.5us"},
		{10188, "9.9K", "10us"},
		{10240, "10K", "10us"},
		{999499, "976K", "999us"},
		{1048063, "1023K", "1.0ms"},
		{1048575, "1.0M", "1.0ms"},
		{1073741824, "1.0G", "1.1s"},
		{UINT64_MAX, "16E", "18446744074s"},
	};
	char buf[HUMAN_BYTES];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_string_equal(human_bytes(cases[i].value, buf), cases[i].bytes);
		assert_string_equal(human_time(cases[i].value, buf), cases[i].time);
	}
	assert_string_equal(printable("a\033[2Jb\n", buf, sizeof(buf)), "a?[2Jb?");
	assert_string_equal(printable("abcdef", buf, 4), "abc");
}

static void test_rates(void **state)
{
	static struct sample a, b;
	struct rates r;

	memset(&a, 0, sizeof(a));
	b = a;
	a.at_ns = 1000000000;
	b.at_ns = 3000000000;
	b.page.start_ns = 500000000;
	a.page.stats.faults = 10;
	b.page.stats.faults = 30;
	b.page.stats.read = 100;
	b.page.stats.prefetched = 80;
	b.page.stats.prefetch_hits = 60;
	b.page.stats.faults_remote = 20;
	sample_rates(&a, &b, &r);
	assert_true(r.seconds == 2);
	assert_true(r.faults == 10);
	assert_true(r.read_bytes == 50 * 4096);
	assert_true(r.hit_rate == 0.75);
	assert_true(r.accuracy == 0.75);
	/* the first one: since the session began */
	sample_rates(NULL, &b, &r);
	assert_true(r.seconds == 2.5);
	assert_true(r.faults == 12);
	/* nothing happened: no share of nothing */
	a = b;
	a.at_ns -= 1;
	sample_rates(&a, &b, &r);
	assert_true(isnan(r.hit_rate) && isnan(r.accuracy) && r.faults == 0);
	/* late credit does not make more than all */
	b.page.stats.prefetch_hits += 5;
	sample_rates(&a, &b, &r);
	assert_true(r.hit_rate == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_values), cmocka_unit_test(test_json_text),
		cmocka_unit_test(test_json_pretty), cmocka_unit_test(test_human),
		cmocka_unit_test(test_rates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
