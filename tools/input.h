/* SPDX-License-Identifier: Apache-2.0 */
/* input.h - what `leap sim` and `leap trace` read: a file of either form, or a generator by name. */
#ifndef LEAP_TOOLS_INPUT_H
#define LEAP_TOOLS_INPUT_H

#include <stdint.h>

#include "tools/trace_file.h"

#define INPUT_ACCESSES 60000
#define INPUT_SEED     1

/* A name with a '/' in it, or that no generator has, is a file's. 0 or -errno with the sentence set. */
int input_load(const char *name, uint64_t accesses, uint64_t seed, struct trace *ret_trace);
bool input_is_generator(const char *name);
/* Their names and what they do, a line each. */
void input_print_generators(FILE *out);
/* A number of at least 1 for --flag. 0 or -EINVAL with the sentence set. */
int input_number(const char *flag, const char *text, uint64_t *ret_number);

#endif
