/* SPDX-License-Identifier: Apache-2.0 */
/* links: libleap/transport/uri.c libleap/error.c libleap/util/fmt.c */
/*
 * Donor addresses: every form that is right, every way to be wrong with the sentence that names the cause,
 * and canonical forms that parse to the same again. The table of transports is the test's own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "libleap/error.h"
#include "libleap/transport/uri.h"

#define ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

static const struct transport_ops some_transport;

const struct transport_ops *transport_find(const char *scheme)
{
	static const char *const built[] = {"loop", "shm", "tcp", "faulty"};

	for (unsigned i = 0; i < ELEMENTS(built); i++)
		if (!strcmp(scheme, built[i]))
			return &some_transport;
	return NULL;
}

const char *transport_names(void)
{
	return "loop, shm, tcp, faulty";
}

/* The canonical forms of all entries, joined by blanks; or the error code. */
static const char *parsed(const char *text)
{
	static char joined[LEAP_DONORS_MAX * 300];
	struct donor_uri uris[LEAP_DONORS_MAX];
	int n = uri_parse_list(text, uris, LEAP_DONORS_MAX);
	size_t at = 0;

	if (n < 0) {
		snprintf(joined, sizeof(joined), "%d", n);
		return joined;
	}
	for (int i = 0; i < n; i++) {
		at += (size_t)snprintf(joined + at, sizeof(joined) - at, i ? " " : "");
		at += uri_format(&uris[i], joined + at, sizeof(joined) - at);
	}
	return joined;
}

static void test_right(void **state)
{
	static const char *const cases[][2] = {
		{"loop:", "loop:"},
		{"shm:a", "shm:a"},
		{"shm:/run/leap/x.sock", "shm:/run/leap/x.sock"},
		{"tcp://a", "tcp://a:9400"},
		{"tcp://a:1", "tcp://a:1"},
		{"tcp://a:65535", "tcp://a:65535"},
		{"tcp://10.0.0.2:9400", "tcp://10.0.0.2:9400"},
		{"tcp://a:1,b:2", "tcp://a:1 tcp://b:2"},
		{"tcp://a,b", "tcp://a:9400 tcp://b:9400"},
		{"tcp://a:1 b:2", "tcp://a:1 tcp://b:2"},
		{"tcp://a:1 , b:2", "tcp://a:1 tcp://b:2"},
		{"  tcp://a:1\t\n", "tcp://a:1"},
		{"tcp://[::1]", "tcp://[::1]:9400"},
		{"tcp://[::1]:7", "tcp://[::1]:7"},
		{"tcp://[fe80::1%eth0]:7,[::2]", "tcp://[fe80::1%eth0]:7 tcp://[::2]:9400"},
		{"tcp://1,a:1", "tcp://a:1"},
		{"tcp://2,a:1,b:2", "tcp://a:1 tcp://b:2"},
		{"tcp://2,a:1,b:2,shm:x", "tcp://a:1 tcp://b:2 shm:x"},
		{"tcp://a:1,shm:x,tcp://2,b,c,loop:",
		 "tcp://a:1 shm:x tcp://b:9400 tcp://c:9400 loop:"},
		{"shm:x shm:y", "shm:x shm:y"},
		{"loop:,loop:", "loop: loop:"},
		{"faulty::loop:", "faulty::loop:"},
		{"faulty:read-error=3,die=9+:tcp://[::1]:9",
		 "faulty:read-error=3,die=9+:tcp://[::1]:9"},
		{"faulty:delay-us=5:shm:a,tcp://b", "faulty:delay-us=5:shm:a tcp://b:9400"},
		{"tcp://host_1.example-2.org:80", "tcp://host_1.example-2.org:80"},
		{"tcp://12.5:80", "tcp://12.5:80"},
	};

	for (unsigned i = 0; i < ELEMENTS(cases); i++) {
		char again[4096];

		if (strcmp(parsed(cases[i][0]), cases[i][1]))
			fail_msg("'%s' gives '%s' (%s)", cases[i][0], parsed(cases[i][0]),
				 error_last());
		snprintf(again, sizeof(again), "%s", cases[i][1]);
		assert_string_equal(parsed(again), cases[i][1]);
	}
}

static const struct {
	const char *text;
	int err;
	const char *says;
} mistakes[] = {
	{"", EINVAL, "no donor is named"},
	{" \t ", EINVAL, "no donor is named"},
	{",", EINVAL, "empty entry"},
	{"loop:,", EINVAL, "empty entry"},
	{",loop:", EINVAL, "empty entry"},
	{"tcp://a,,b", EINVAL, "empty entry"},
	{"loop:x", EINVAL, "\"x\""},
	{"shm:", EINVAL, "needs a name"},
	{"shm:a,b", EINVAL, "\"b\""},
	{"loop:,a:1", EINVAL, "\"a:1\""},
	{"tcp:a:1", EINVAL, "two slashes"},
	{"tcp:/a:1", EINVAL, "two slashes"},
	{"tcp://", EINVAL, "host is missing"},
	{"tcp://:1", EINVAL, "host is missing"},
	{"tcp://a:", EINVAL, "port"},
	{"tcp://a:0", EINVAL, "port \"0\""},
	{"tcp://a:65536", EINVAL, "port \"65536\""},
	{"tcp://a:99999999999999999999", EINVAL, "port"},
	{"tcp://a:1x", EINVAL, "port \"1x\""},
	{"tcp://a:-1", EINVAL, "port"},
	{"tcp://::1", EINVAL, "brackets"},
	{"tcp://::1:9400", EINVAL, "brackets"},
	{"tcp://[::1", EINVAL, "']'"},
	{"tcp://[::1]9", EINVAL, "']'"},
	{"tcp://[a]:9", EINVAL, "brackets are for IPv6"},
	{"tcp://[]:9", EINVAL, "host is missing"},
	{"tcp://a/b:9", EINVAL, "'/'"},
	{"tcp://a@b:9", EINVAL, "'@'"},
	{"tcp://0,a:1", EINVAL, "number of donors"},
	{"tcp://9999999999,a:1", EINVAL, "number of donors"},
	{"tcp://3,a:1,b:2", EINVAL, "3 donors are announced, but 2"},
	{"tcp://1,a:1,b:2", EINVAL, "1 donors are announced, but 2"},
	{"tcp://2", EINVAL, "2 donors are announced, but 0"},
	{"tcp://2,a:1,shm:x,b:2", EINVAL, "2 donors are announced, but 1"},
	{"a:1", EINVAL, "transport is missing"},
	{"10.0.0.2", EINVAL, "transport is missing"},
	{"rdma://a:1", EPROTONOSUPPORT, "no rdma transport"},
	{"file:/x", EPROTONOSUPPORT, "no file transport"},
	{"http://a:1", EPROTONOSUPPORT, "\"http\""},
	{"TCP://a:1", EPROTONOSUPPORT, "\"TCP\""},
	{"foo:bar", EPROTONOSUPPORT, "\"foo\""},
	{"tcp://a:1,quic://b:2", EPROTONOSUPPORT, "\"quic\""},
	{"faulty:loop", EINVAL, "faulty:SPEC:URI"},
	{"faulty::", EINVAL, "no donor"},
	{"faulty:die=1:faulty::loop:", EINVAL, "wrap itself"},
	{"faulty:die=1:nope:x", EPROTONOSUPPORT, "\"nope\""},
	{"faulty:die=1:tcp://a:x", EINVAL, "port \"x\""},
};

static void test_wrong(void **state)
{
	for (unsigned i = 0; i < ELEMENTS(mistakes); i++) {
		char code[16];

		error_clear();
		snprintf(code, sizeof(code), "%d", -mistakes[i].err);
		if (strcmp(parsed(mistakes[i].text), code))
			fail_msg("'%s' gives '%s' (%s)", mistakes[i].text, parsed(mistakes[i].text),
				 error_last());
		if (!strstr(error_last(), mistakes[i].says))
			fail_msg("'%s' says '%s'", mistakes[i].text, error_last());
	}
	assert_string_equal(parsed(NULL), parsed(""));
}

static void test_fields(void **state)
{
	struct donor_uri uris[3];

	memset(uris, 0xff, sizeof(uris));
	assert_int_equal(uri_parse_list("tcp://[::1]:77,b,shm:x", uris, 3), 3);
	assert_string_equal(uris[0].scheme, "tcp");
	assert_string_equal(uris[0].host, "::1");
	assert_int_equal(uris[0].port, 77);
	assert_string_equal(uris[1].host, "b");
	assert_int_equal(uris[1].port, LEAP_DEFAULT_PORT);
	assert_string_equal(uris[2].scheme, "shm");
	assert_string_equal(uris[2].host, "x");
	assert_int_equal(uris[2].port, 0);
}

static void test_too_many(void **state)
{
	struct donor_uri uris[3];

	memset(uris, 0x55, sizeof(uris));
	assert_int_equal(uri_parse_list("tcp://a,b", uris, 2), 2);
	assert_int_equal(uri_parse_list("tcp://a,b,c", uris, 2), -E2BIG);
	assert_non_null(strstr(error_last(), "more than 2 donors"));
	assert_int_equal(uris[2].host[0], 0x55);
	assert_int_equal(uri_parse_list("loop:", uris, 0), -E2BIG);
}

/* A host that just fits, and one that does not; messages stay whole whatever is in them. */
static void test_long_names(void **state)
{
	struct donor_uri uri;
	char text[1000];
	size_t room = sizeof(uri.host) - 1;

	snprintf(text, sizeof(text), "shm:%0*d", (int)room, 7);
	assert_int_equal(uri_parse_list(text, &uri, 1), 1);
	assert_int_equal(strlen(uri.host), room);
	snprintf(text, sizeof(text), "shm:%0*d", (int)room + 1, 7);
	assert_int_equal(uri_parse_list(text, &uri, 1), -EINVAL);
	assert_non_null(strstr(error_last(), "too long"));
	snprintf(text, sizeof(text), "tcp://h%0*d:1", (int)room, 7);
	assert_int_equal(uri_parse_list(text, &uri, 1), -EINVAL);
	assert_non_null(strstr(error_last(), "too long"));
	snprintf(text, sizeof(text), "tcp://a:%0500d", 7);
	assert_int_equal(uri_parse_list(text, &uri, 1), -EINVAL);
	assert_non_null(strstr(error_last(), "..."));
	assert_true(strlen(error_last()) < 300);
}

static void test_format(void **state)
{
	struct donor_uri uri = {.scheme = "tcp", .host = "fe80::1", .port = 9};
	char buf[16];

	assert_int_equal(uri_format(&uri, buf, sizeof(buf)), sizeof(buf) - 1); /* cut */
	assert_string_equal(buf, "tcp://[fe80::1]");
	strcpy(uri.scheme, "loop");
	uri.host[0] = '\0';
	assert_int_equal(uri_format(&uri, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "loop:");
}

/* Whatever comes: an answer, within bounds (with the sanitizers of the asan build). */
static void test_garbage(void **state)
{
	static const char *const words[] = {"tcp://", "shm:", "loop:", "faulty:", ":",
					    ",",      " ",    "[",     "]",       "::1",
					    "a",      "2",    "/",     "%",       "\n",
					    "9400",   "\xff", "=",     "+",       "rdma://"};
	uint64_t r = 88172645463325252ull;
	struct donor_uri uris[4];

	for (int i = 0; i < 200000; i++) {
		char text[128] = "";
		int n;

		for (unsigned k = 0; k < 1 + r % 8; k++) {
			r ^= r << 13;
			r ^= r >> 7;
			r ^= r << 17;
			strcat(text, words[(r >> 20) % ELEMENTS(words)]);
		}
		error_clear();
		n = uri_parse_list(text, uris, 4);
		assert_true(n <= 4 && n);
		assert_int_equal(n < 0, error_last()[0] != '\0');
		for (int k = 0; k < n; k++) {
			struct donor_uri back;
			char canonical[300];

			uri_format(&uris[k], canonical, sizeof(canonical));
			if (uri_parse_list(canonical, &back, 1) != 1)
				fail_msg("'%s' became '%s'", text, canonical);
			assert_string_equal(back.host, uris[k].host);
			assert_int_equal(back.port, uris[k].port);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right),      cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_fields),     cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_long_names), cmocka_unit_test(test_format),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
