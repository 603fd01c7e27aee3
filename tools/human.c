/* SPDX-License-Identifier: Apache-2.0 */
/* human.c - see human.h. */
#include "tools/human.h"

#include <stdio.h>

/* Three digits that matter: 1.25 is too many in a column, 1.2, 12 and 123 are not. */
static const char *scaled(double value, const char *unit, char *buf)
{
	snprintf(buf, HUMAN_BYTES, value < 9.95 ? "%.1f%s" : "%.0f%s", value, unit);
	return buf;
}

const char *human_bytes(uint64_t bytes, char buf[HUMAN_BYTES])
{
	static const char *const units[] = {"K", "M", "G", "T", "P", "E"};
	double value = (double)bytes / 1024;
	unsigned i = 0;

	if (bytes < 1024) {
		snprintf(buf, HUMAN_BYTES, "%u", (unsigned)bytes);
		return buf;
	}
	for (; value >= 1023.5 && i < 5; i++)
		value /= 1024;
	return scaled(value, units[i], buf);
}

const char *human_time(uint64_t ns, char buf[HUMAN_BYTES])
{
	if (ns < 1000) {
		snprintf(buf, HUMAN_BYTES, "%uns", (unsigned)ns);
		return buf;
	}
	if (ns < 999500)
		return scaled((double)ns / 1e3, "us", buf);
	if (ns < 999500000)
		return scaled((double)ns / 1e6, "ms", buf);
	return scaled((double)ns / 1e9, "s", buf);
}

const char *printable(const char *text, char *buf, size_t size)
{
	size_t i = 0;

	for (; text[i] && i + 1 < size; i++)
		buf[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
	buf[i] = '\0';
	return buf;
}
