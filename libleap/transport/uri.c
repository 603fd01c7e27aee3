/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri.c - see uri.h.
 *
 * The text is cut into entries at commas and blanks. An entry either begins with a scheme, which
 * then holds for those that follow, or is one more address of the scheme before it. A word in front
 * of a colon is a scheme if "//" follows or if it is one of the schemes below; "a:1" is a host and
 * its port otherwise.
 */
#include "libleap/transport/uri.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/util/fmt.h"

enum form {
	FORM_EMPTY, /* loop: */
	FORM_NAME,  /* shm:NAME, file:PATH */
	FORM_HOSTS, /* tcp://host:port */
	FORM_WRAP,  /* faulty:SPEC:URI */
};

/* All schemes that Leap knows of, built in here or not. */
static const struct scheme {
	const char *name;
	enum form form;
} schemes[] = {
	{"loop", FORM_EMPTY}, {"shm", FORM_NAME},  {"tcp", FORM_HOSTS},   {"rdma", FORM_HOSTS},
	{"auto", FORM_HOSTS}, {"file", FORM_NAME}, {"faulty", FORM_WRAP}, {"faultysync", FORM_WRAP},
};

/* A stretch of the text. */
struct part {
	const char *at;
	size_t n;
};

struct parser {
	const char *next;
	struct donor_uri *uris;
	int max, count;
	const struct scheme *scheme; /* in force; NULL at the beginning */
	int number;                  /* "tcp://2,...": how many the user counted; 0 = did not */
	int first;                   /* uris[first..count) came from the present scheme */
	bool wrapped;                /* the URI within faulty: */
};

#define PART_TEXT_BYTES 80

/* For messages: a copy of the part, cut if it is long. */
static const char *part_text(struct part part, char *buf)
{
	size_t n = part.n < PART_TEXT_BYTES ? part.n : PART_TEXT_BYTES - 4;

	memcpy(buf, part.at, n);
	strcpy(buf + n, n < part.n ? "..." : "");
	return buf;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool all_digits(struct part part)
{
	for (size_t i = 0; i < part.n; i++) {
		if (!is_digit(part.at[i]))
			return false;
	}
	return part.n > 0;
}

/* A number of at most 9 digits; -1 if it is longer. */
static int number_of(struct part part)
{
	int value = 0;

	if (part.n > 9)
		return -1;
	for (size_t i = 0; i < part.n; i++)
		value = value * 10 + (part.at[i] - '0');
	return value;
}

static bool part_is(struct part part, const char *text)
{
	return strlen(text) == part.n && !memcmp(part.at, text, part.n);
}

static struct part part_from(struct part part, size_t skip)
{
	return (struct part){part.at + skip, part.n - skip};
}

/* Bytes in front of the first c; part.n when there is none. */
static size_t part_find(struct part part, char c)
{
	const char *p = part.n ? memchr(part.at, c, part.n) : NULL;

	return p ? (size_t)(p - part.at) : part.n;
}

/* Copies a part to uri->host. */
static int set_host(struct donor_uri *uri, struct part part, const char *what)
{
	if (part.n >= sizeof(uri->host))
		return error_set(EINVAL, "%s of a donor is too long (%zu characters, at most %zu)",
				 what, part.n, sizeof(uri->host) - 1);
	memcpy(uri->host, part.at, part.n);
	uri->host[part.n] = '\0';
	return 0;
}

static const struct scheme *scheme_find(struct part name)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (part_is(name, schemes[i].name))
			return &schemes[i];
	}
	return NULL;
}

/*
 * Hosts
 */
static int parse_port(struct part entry, struct part port, struct donor_uri *uri)
{
	char text[PART_TEXT_BYTES], bad[PART_TEXT_BYTES];
	int value = all_digits(port) ? number_of(port) : -1;

	if (value < 1 || value > 65535)
		return error_set(EINVAL, "donor %s: port \"%s\" is not a number from 1 to 65535",
				 part_text(entry, text), part_text(port, bad));
	uri->port = (uint16_t)value;
	return 0;
}

static bool host_char(char c, bool v6)
{
	if (v6)
		return is_digit(c) || is_letter(c) || c == ':' || c == '.' || c == '%' ||
		       c == '-' || c == '_';
	return is_digit(c) || is_letter(c) || c == '.' || c == '-' || c == '_';
}

/* Splits host and port, taking the brackets of IPv6 off. *ret_port.at is NULL when there is none. */
static int split_host(struct part entry, struct part *ret_host, struct part *ret_port, bool *ret_v6)
{
	char text[PART_TEXT_BYTES];
	struct part rest;

	*ret_v6 = entry.n && entry.at[0] == '[';
	if (*ret_v6) {
		size_t n = part_find(entry, ']');

		if (n == entry.n)
			return error_set(EINVAL, "donor %s: the closing ']' is missing",
					 part_text(entry, text));
		*ret_host = (struct part){entry.at + 1, n - 1};
		rest = part_from(entry, n + 1);
		if (rest.n && rest.at[0] != ':')
			return error_set(EINVAL, "donor %s: only :PORT may follow the ']'",
					 part_text(entry, text));
	} else {
		size_t n = part_find(entry, ':');

		*ret_host = (struct part){entry.at, n};
		rest = part_from(entry, n);
		if (rest.n && part_find(part_from(rest, 1), ':') < rest.n - 1)
			return error_set(EINVAL,
					 "donor %s: write an IPv6 address in brackets, as in "
					 "[::1]:%d",
					 part_text(entry, text), LEAP_DEFAULT_PORT);
	}
	*ret_port = rest.n ? part_from(rest, 1) : (struct part){NULL, 0};
	return 0;
}

static int parse_host(struct part entry, struct donor_uri *uri)
{
	char text[PART_TEXT_BYTES], bad[2] = "";
	struct part host, port;
	bool v6;
	int r;

	r = split_host(entry, &host, &port, &v6);
	if (r)
		return r;
	if (!host.n)
		return error_set(EINVAL, "donor \"%s\": the host is missing; write host:port",
				 part_text(entry, text));
	for (size_t i = 0; i < host.n; i++) {
		if (host_char(host.at[i], v6))
			continue;
		bad[0] = host.at[i];
		return error_set(EINVAL, "donor %s: '%s' cannot be part of a host's name",
				 part_text(entry, text), bad);
	}
	if (v6 && part_find(host, ':') == host.n)
		return error_set(EINVAL, "donor %s: brackets are for IPv6 addresses",
				 part_text(entry, text));
	r = set_host(uri, host, "the host");
	if (r)
		return r;
	uri->port = LEAP_DEFAULT_PORT;
	return port.at ? parse_port(entry, port, uri) : 0;
}

/*
 * Entries
 */
static struct donor_uri *new_uri(struct parser *p)
{
	struct donor_uri *uri;

	if (p->count == p->max) {
		error_set(E2BIG, "more than %d donors are listed, which is the most", p->max);
		return NULL;
	}
	uri = &p->uris[p->count];
	memset(uri, 0, sizeof(*uri));
	strcpy(uri->scheme, p->scheme->name);
	return uri;
}

static int parse_wrapped(struct part entry, struct part rest, struct donor_uri *uri);

/* One address of the scheme in force. `rest` is the entry without the scheme. */
static int parse_address(struct parser *p, struct part entry, struct part rest)
{
	struct donor_uri *uri = new_uri(p);
	char text[PART_TEXT_BYTES];
	int r = 0;

	if (!uri)
		return -E2BIG;
	switch (p->scheme->form) {
	case FORM_EMPTY:
		if (rest.n)
			r = error_set(EINVAL,
				      "donor \"%s\": %s: is a whole address, nothing belongs to it",
				      part_text(rest, text), p->scheme->name);
		break;
	case FORM_NAME:
		r = rest.n ? set_host(uri, rest, "the name")
			   : error_set(EINVAL, "donor %s: needs a name, as in %s:NAME",
				       p->scheme->name, p->scheme->name);
		break;
	case FORM_HOSTS:
		r = parse_host(rest, uri);
		break;
	case FORM_WRAP:
		r = p->wrapped ? error_set(EINVAL, "donor %s: faulty: cannot wrap itself",
					   part_text(entry, text))
			       : parse_wrapped(entry, rest, uri);
		break;
	}
	if (!r)
		p->count++;
	return r;
}

/* The number in front of the hosts must be right. */
static int check_number(struct parser *p)
{
	int given = p->count - p->first;

	if (p->scheme && p->number && p->number != given)
		return error_set(EINVAL,
				 "%s://%d,...: %d donors are announced, but %d listed; correct the "
				 "number or leave it out",
				 p->scheme->name, p->number, p->number, given);
	return 0;
}

static int no_such_scheme(struct part name, const struct scheme *known)
{
	char text[PART_TEXT_BYTES];

	if (known)
		return error_set(EPROTONOSUPPORT, "this build has no %s transport; it has %s",
				 known->name, transport_names());
	return error_set(EPROTONOSUPPORT, "there is no transport \"%s\"; known are %s",
			 part_text(name, text), transport_names());
}

/* Makes name the scheme in force; *rest is what stands behind its colon. */
static int begin_scheme(struct parser *p, struct part name, struct part *rest)
{
	const struct scheme *scheme = scheme_find(name);
	bool slashes = rest->n >= 2 && !memcmp(rest->at, "//", 2);
	int r = check_number(p);

	if (r)
		return r;
	if (!scheme || !(transport_find(scheme->name) || !strcmp(scheme->name, "auto")))
		return no_such_scheme(name, scheme);
	if (scheme->form == FORM_HOSTS && !slashes)
		return error_set(EINVAL, "write %s://host:port, with two slashes", scheme->name);
	if (scheme->form == FORM_HOSTS)
		*rest = part_from(*rest, 2);
	p->scheme = scheme;
	p->number = 0;
	p->first = p->count;
	return 0;
}

/* Bytes of the scheme that the entry begins with; 0 when it begins with none. */
static size_t scheme_length(const struct parser *p, struct part entry)
{
	size_t n = part_find(entry, ':');
	struct part name = {entry.at, n}, rest;

	if (n == entry.n || !n || !is_letter(entry.at[0]))
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_letter(name.at[i]) && !is_digit(name.at[i]) && name.at[i] != '+' &&
		    name.at[i] != '-' && name.at[i] != '.')
			return 0;
	}
	rest = part_from(entry, n + 1);
	if (scheme_find(name) || (rest.n >= 2 && !memcmp(rest.at, "//", 2)))
		return n;
	/* "a:1" goes on a list of hosts; without a list it cannot be one, unless it looks like it */
	return p->scheme || all_digits(rest) ? 0 : n;
}

static int parse_entry(struct parser *p, struct part entry)
{
	char text[PART_TEXT_BYTES];
	size_t n = scheme_length(p, entry);
	struct part rest = entry;
	int r;

	if (n) {
		rest = part_from(entry, n + 1);
		r = begin_scheme(p, (struct part){entry.at, n}, &rest);
		if (r)
			return r;
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): begin_scheme() set it */
		if (p->scheme->form == FORM_HOSTS && all_digits(rest)) {
			p->number = number_of(rest);
			return p->number > 0
				       ? 0
				       : error_set(EINVAL, "%s: \"%s\" is no number of donors",
						   p->scheme->name, part_text(rest, text));
		}
	} else if (!p->scheme) {
		return error_set(EINVAL,
				 "donor \"%s\": the transport is missing; write tcp://%s, shm:NAME "
				 "or loop:",
				 part_text(entry, text), text);
	} else if (p->scheme->form != FORM_HOSTS) {
		return error_set(EINVAL,
				 "donor \"%s\": the transport is missing; the one before it (%s:) "
				 "takes no list of addresses",
				 part_text(entry, text), p->scheme->name);
	}
	return parse_address(p, entry, rest);
}

/* Where the entry at `at` ends. What faulty: is told contains commas; they end at its colon. */
static size_t entry_length(const char *at)
{
	size_t n = 0;

	if (!strncmp(at, "faulty:", 7) || !strncmp(at, "faultysync:", 11)) {
		n = strcspn(at, ":") + 1;
		n += strcspn(at + n, ": \t\r\n");
		n += at[n] == ':';
	}
	while (at[n] && at[n] != ',' && !is_blank(at[n]))
		n++;
	return n;
}

static int parse_all(struct parser *p)
{
	bool after_comma = false;
	int r;

	for (;;) {
		struct part entry;

		while (is_blank(*p->next))
			p->next++;
		if (!*p->next && !after_comma)
			break;
		entry = (struct part){p->next, entry_length(p->next)};
		if (!entry.n)
			return error_set(EINVAL,
					 "the list of donors has an empty entry at a comma");
		r = parse_entry(p, entry);
		if (r)
			return r;
		p->next += entry.n;
		while (is_blank(*p->next))
			p->next++;
		after_comma = *p->next == ',';
		p->next += after_comma;
	}
	if (!p->scheme)
		return error_set(EINVAL,
				 "no donor is named; write for example tcp://host:%d or loop:",
				 LEAP_DEFAULT_PORT);
	r = check_number(p);
	return r ? r : p->count;
}

/* SPEC:URI. The URI must be one that stands alone; SPEC is checked when the port is opened. */
static int parse_wrapped(struct part entry, struct part rest, struct donor_uri *uri)
{
	struct donor_uri inner;
	struct parser p = {.uris = &inner, .max = 1, .wrapped = true};
	char text[PART_TEXT_BYTES];
	size_t n = part_find(rest, ':');
	int r;

	if (n == rest.n)
		return error_set(EINVAL,
				 "donor %s: write faulty:SPEC:URI, for example "
				 "faulty:read-error=3:loop:",
				 part_text(entry, text));
	r = set_host(uri, rest, "the address");
	if (r)
		return r;
	p.next = uri->host + n + 1;
	r = parse_all(&p);
	return r < 0 ? r : 0;
}

int uri_parse_list(const char *text, struct donor_uri *uris, int max)
{
	struct parser p = {.next = text ? text : "", .uris = uris, .max = max};

	return parse_all(&p);
}

size_t uri_format(const struct donor_uri *uri, char *buf, size_t size)
{
	const struct scheme *scheme = scheme_find((struct part){uri->scheme, strlen(uri->scheme)});
	bool v6 = strchr(uri->host, ':') != NULL;

	if (!scheme || scheme->form != FORM_HOSTS)
		return fmt_print(buf, size, "%s:%s", uri->scheme, uri->host);
	return fmt_print(buf, size, v6 ? "%s://[%s]:%u" : "%s://%s:%u", uri->scheme, uri->host,
			 uri->port);
}
