/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_pattern.c - see bench.h: which page comes next.
 *
 * seq      every page in order
 * strideN  every Nth page, then again from the next one on, until all were touched
 * random   all pages alike (a linear congruential generator, as for the content)
 * zipf     page k with probability ~ k^-theta; popular pages are scattered over the region
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "libleap/util/parse.h"
#include "tools/bench.h"

#define STRIDE_MAX (1u << 20)
#define SCATTER    2654435761ull /* a prime, larger than any region has pages: multiplying permutes */

static int bad_pattern(const char *text)
{
	return error_set(EINVAL,
			 "there is no pattern '%s'; patterns are seq, stride, strideN (as in "
			 "stride10), random, zipf and zipfX (as in zipf0.8)",
			 text);
}

static int pattern_parse(const char *text, uint32_t stride, struct pattern *p)
{
	char *end;

	memset(p, 0, sizeof(*p));
	p->theta = 0.99;
	p->stride = stride;
	if (strlen(text) + 12 > sizeof(p->name))
		return bad_pattern(text);
	strcpy(p->name, text);
	if (!strcmp(text, "seq")) {
		p->kind = PATTERN_SEQ;
	} else if (!strcmp(text, "random")) {
		p->kind = PATTERN_RANDOM;
	} else if (!strncmp(text, "stride", 6)) {
		p->kind = PATTERN_STRIDE;
		if (text[6] && parse_u32(text + 6, "", &p->stride))
			return bad_pattern(text);
		if (!p->stride || p->stride > STRIDE_MAX)
			return error_set(EINVAL, "pattern %s: a stride is 1 to %u pages", text,
					 STRIDE_MAX);
		snprintf(p->name, sizeof(p->name), "stride%u", p->stride);
	} else if (!strncmp(text, "zipf", 4)) {
		p->kind = PATTERN_ZIPF;
		if (text[4]) {
			p->theta = strtod(text + 4, &end);
			if (*end)
				return bad_pattern(text);
		}
		if (!(p->theta > 0 && p->theta <= 10))
			return error_set(
				EINVAL, "pattern %s: the exponent is above 0 and at most 10", text);
	} else {
		return bad_pattern(text);
	}
	return 0;
}

int pattern_parse_list(const char *text, uint32_t stride, struct pattern *patterns, unsigned max,
		       unsigned *ret_count)
{
	char word[64];
	unsigned n = 0;

	for (;; text++) {
		size_t len = strcspn(text, ",");
		int err;

		if (n == max)
			return error_set(E2BIG, "at most %u patterns", max);
		snprintf(word, sizeof(word), "%.*s", (int)len, text);
		err = pattern_parse(word, stride, &patterns[n++]);
		if (err)
			return err;
		text += len;
		if (!*text)
			break;
	}
	*ret_count = n;
	return 0;
}

/*
 * Zipf by rejection-inversion (Hoermann and Derflinger 1996): the distribution's tail is bounded by
 * the integral of x^-theta, which can be inverted; few draws are rejected, and no table is needed.
 */

/* (e^t - 1) / t and log(1 + t) / t, also near 0. */
static double expm1_over(double t)
{
	return fabs(t) > 1e-8 ? expm1(t) / t : 1 + t / 2;
}

static double log1p_over(double t)
{
	return fabs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2;
}

/* Integral of x^-theta from 1 to x. */
static double zipf_area(double theta, double x)
{
	double l = log(x);

	return expm1_over((1 - theta) * l) * l;
}

static double zipf_area_inverse(double theta, double area)
{
	double t = area * (1 - theta);

	return exp(log1p_over(t < -1 ? -1 : t) * area);
}

static void zipf_init(struct cursor *c)
{
	double theta = c->pattern->theta;

	c->zipf_from = zipf_area(theta, (double)c->n + 0.5);
	c->zipf_span = zipf_area(theta, 1.5) - 1 - c->zipf_from;
	c->zipf_edge = 2 - zipf_area_inverse(theta, zipf_area(theta, 2.5) - pow(2, -theta));
	c->zipf_random = ((uint64_t)c->random << 32) | 0x9e3779b9u;
}

static double uniform(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (double)(*state >> 11) / 9007199254740992.0;
}

/* A rank from 1 (the most popular) to n. */
static uint64_t zipf_next(struct cursor *c)
{
	double theta = c->pattern->theta;

	for (;;) {
		double area = c->zipf_from + uniform(&c->zipf_random) * c->zipf_span;
		double x = zipf_area_inverse(theta, area), k = floor(x + 0.5);

		k = k < 1 ? 1 : k > (double)c->n ? (double)c->n : k;
		if (k - x <= c->zipf_edge || area >= zipf_area(theta, k + 0.5) - pow(k, -theta))
			return (uint64_t)k;
	}
}

void cursor_init(struct cursor *c, const struct pattern *pattern, uint64_t pages, unsigned thread,
		 unsigned threads, uint32_t random)
{
	*c = (struct cursor){.pattern = pattern, .n = pages};
	/* the first thread draws what a single one would */
	c->random = random + thread * 0x9e3779b9u;
	if (pattern->kind == PATTERN_SEQ || pattern->kind == PATTERN_STRIDE) {
		c->first = pages * thread / threads;
		c->n = pages * (thread + 1) / threads - c->first;
	}
	if (pattern->kind == PATTERN_ZIPF)
		zipf_init(c);
}

uint64_t cursor_next(struct cursor *c)
{
	uint64_t i = c->i++, at, s = c->pattern->stride;

	switch (c->pattern->kind) {
	case PATTERN_SEQ:
		return c->first + i % c->n;
	case PATTERN_STRIDE:
		at = i * s % c->n + i * s / c->n % s;
		return c->first + (at < c->n ? at : c->n - 1);
	case PATTERN_RANDOM:
		c->random = c->random * 1664525u + 1013904223u;
		return (uint64_t)c->random * c->n >> 32;
	case PATTERN_ZIPF:
		return zipf_next(c) * SCATTER % c->n;
	}
	return 0;
}
