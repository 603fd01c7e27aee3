/* SPDX-License-Identifier: Apache-2.0 */
/* faulty_spec.c - reads "faulty:SPEC:URI" and counts calls. */
#include <errno.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/transport/faulty.h"
#include "libleap/transport/uri.h"
#include "libleap/util/parse.h"

static const char *const spec_names[FAULT_KINDS] = {
	"read-error", "write-error", "grant-error", "release-error", "shared-error",
	"info-error", "tick-error",  "lane-error",  "clone-error",   "adopt-error",
	"corrupt",    "hang",        "die",
};

#define WORD_BYTES 64

/* NAME=NUMBER, with a '+' behind it. */
static int parse_word(char *word, struct fault_spec *spec)
{
	char *value = strchr(word, '='), *plus;
	uint32_t number;
	int kind = 0;

	if (!value)
		return error_set(EINVAL, "faulty: \"%s\" should be NAME=NUMBER", word);
	*value++ = '\0';
	plus = strchr(value, '+');
	if (plus && !plus[1])
		*plus = '\0';
	if (parse_u32(value, "", &number) || !number)
		return error_set(EINVAL, "faulty: %s wants a number from 1 on, not \"%s\"", word,
				 value);
	if (!strcmp(word, "delay-us")) {
		spec->delay_ns = (uint64_t)number * 1000;
		return 0;
	}
	while (kind < FAULT_KINDS && strcmp(word, spec_names[kind]))
		kind++;
	if (kind == FAULT_KINDS)
		return error_set(EINVAL, "faulty: there is no fault \"%s\"", word);
	spec->rule[kind].nth = number;
	spec->rule[kind].later =
		plus || kind == FAULT_HANG || kind == FAULT_DIE || kind == FAULT_TICK;
	return 0;
}

int fault_spec_parse(const char *text, struct fault_spec *spec, struct donor_uri *ret_inner)
{
	char word[WORD_BYTES];
	int r = 0;

	while (*text != ':' && !r) {
		size_t n = strcspn(text, ",:");

		if (n >= sizeof(word) || !text[n])
			return error_set(EINVAL, "faulty: write faulty:NAME=NUMBER,...:URI");
		memcpy(word, text, n);
		word[n] = '\0';
		r = parse_word(word, spec);
		text += n + (text[n] == ',');
	}
	if (r)
		return r;
	r = uri_parse_list(text + 1, ret_inner, 1);
	if (r < 0)
		return r;
	return strncmp(ret_inner->scheme, "faulty", 6)
		       ? 0
		       : error_set(EINVAL, "faulty: cannot wrap itself");
}

bool fault_hit(struct fault_rule *rule, uint32_t n, uint32_t *ret_which)
{
	uint64_t before;

	if (!rule->nth)
		return false;
	before = atomic_fetch_add_explicit(&rule->count, n, memory_order_relaxed);
	if (ret_which)
		*ret_which = before < rule->nth ? (uint32_t)(rule->nth - 1 - before) : 0;
	return before + n >= rule->nth && (rule->later || before < rule->nth);
}
