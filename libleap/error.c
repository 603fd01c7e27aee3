/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.c - one sentence per thread, in initial-exec TLS so that reading it never allocates.
 *
 * A sentence is made in a buffer on the stack first: its arguments may be the old sentence
 * itself.
 */
#include "libleap/error.h"

#include <string.h>

#include "libleap/util/fmt.h"

#define ERROR_BYTES 512

static __thread __attribute__((tls_model("initial-exec"))) char sentence[ERROR_BYTES];

int error_set(int code, const char *format, ...)
{
	char text[ERROR_BYTES];
	va_list ap;
	size_t n;

	va_start(ap, format);
	n = fmt_vprint(text, sizeof(text), format, ap);
	va_end(ap);
	memcpy(sentence, text, n + 1);
	return -code;
}

int error_prefix(int code, const char *prefix)
{
	char text[ERROR_BYTES];
	size_t n;

	n = fmt_print(text, sizeof(text), "%s: %s", prefix, sentence);
	memcpy(sentence, text, n + 1);
	return code;
}

const char *error_last(void)
{
	return sentence;
}

void error_clear(void)
{
	sentence[0] = '\0';
}
