/* SPDX-License-Identifier: Apache-2.0 */
/* window.c - see window.h. */
#include "libleap/window.h"

struct window *window_new(struct windows *windows, bool *ret_old)
{
	struct window *oldest = &windows->window[0];

	*ret_old = false;
	for (int i = 0; i < WINDOWS_MAX; i++) {
		struct window *w = &windows->window[i];

		if (!w->region) {
			w->born = ++windows->born;
			return w;
		}
		if (w->born < oldest->born)
			oldest = w;
	}
	*ret_old = true;
	oldest->born = ++windows->born;
	return oldest;
}

struct window *window_find(struct windows *windows, const struct leap_region *region, size_t marker)
{
	for (int i = 0; i < WINDOWS_MAX; i++)
		if (windows->window[i].region == region && windows->window[i].marker == marker)
			return &windows->window[i];
	return NULL;
}

void windows_forget(struct windows *windows, const struct leap_region *region)
{
	for (int i = 0; i < WINDOWS_MAX; i++)
		if (windows->window[i].region == region)
			windows->window[i].region = NULL;
}
