/* SPDX-License-Identifier: Apache-2.0 */
/*
 * human.h - figures for people: short, rounded, in a unit that fits.
 */
#ifndef LEAP_TOOLS_HUMAN_H
#define LEAP_TOOLS_HUMAN_H

#include <stddef.h>
#include <stdint.h>

#define HUMAN_BYTES 32

/* "0", "512K", "1.5G": at most 6 characters. They return buf. */
const char *human_bytes(uint64_t bytes, char buf[HUMAN_BYTES]);
/* "850ns", "8.3us", "1.4ms". */
const char *human_time(uint64_t ns, char buf[HUMAN_BYTES]);
/* A text from elsewhere, with '?' for what would disturb a terminal, cut to size. */
const char *printable(const char *text, char *buf, size_t size);

#endif
