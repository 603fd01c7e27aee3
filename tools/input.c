/* SPDX-License-Identifier: Apache-2.0 */
/* input.c - see input.h. */
#include "tools/input.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/generate.h"

bool input_is_generator(const char *name)
{
	for (unsigned i = 0; i < generators_count; i++)
		if (!strcmp(generators[i].name, name))
			return true;
	return false;
}

int input_load(const char *name, uint64_t accesses, uint64_t seed, struct trace *ret_trace)
{
	int err;

	if (input_is_generator(name))
		return generate(name, accesses, seed, ret_trace);
	err = trace_load(name, ret_trace);
	if (err == -ENOENT && !strchr(name, '/'))
		return error_set(ENOENT,
				 "there is neither a file nor a generator '%s'; 'leap sim --list' "
				 "shows the generators",
				 name);
	return err;
}

void input_print_generators(FILE *out)
{
	for (unsigned i = 0; i < generators_count; i++)
		fprintf(out, "%-18s %s\n", generators[i].name, generators[i].help);
}

int input_number(const char *flag, const char *text, uint64_t *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || !*ret_number)
		return error_set(EINVAL, "--%s: '%s' is not a whole number of at least 1", flag,
				 text);
	return 0;
}
