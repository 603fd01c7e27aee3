/* SPDX-License-Identifier: Apache-2.0 */
/* linux/types.h - what the majority core may take from a kernel, and nothing else: these types, as Linux has them. */
#ifndef _LINUX_TYPES_H
#define _LINUX_TYPES_H

typedef signed long long int64_t;
typedef unsigned long long uint64_t;
typedef unsigned int uint32_t;
typedef _Bool bool;

enum { false, true };

#endif
