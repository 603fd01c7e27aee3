/* SPDX-License-Identifier: Apache-2.0 */
/* sim_windows.c - windows and their markers in the model of the runtime, as in plan.c and window.c of libleap. */
#include <errno.h>

#include "tools/sim_runtime.h"

bool window_clip(struct runtime *s, uint64_t index, struct prefetch_plan *plan)
{
	struct sim_bounds b = s->cells.bounds[s->cell];
	uint64_t begin = index / PAGER_STRIPE_PAGES * PAGER_STRIPE_PAGES;
	uint64_t end = begin + PAGER_STRIPE_PAGES;

	end = b.end - b.first < end ? b.end - b.first : end;
	plan->start -= b.first;
	return bounds_clip((struct sim_bounds){begin, end}, plan);
}

static struct window *new_window(struct runtime *s)
{
	struct window *w = &s->window[0];

	for (int i = 0; i < WINDOWS && w->extent; i++)
		if (!s->window[i].extent || s->window[i].born < w->born)
			w = &s->window[i];
	if (w->extent)
		pager_at(&s->pager, w->extent)->marker &= ~w->bit;
	return w;
}

void window_place(struct runtime *s, struct place marker, const struct todo *todo)
{
	struct window *w = new_window(s);

	pager_at(&s->pager, marker.extent)->marker |= marker.bit;
	s->begun_window = w;
	*w = (struct window){marker.extent,    marker.bit, ++s->born,
			     todo->planned_ns, s->cell,    todo->plan};
}

int window_open(struct runtime *s, const struct todo *todo)
{
	const struct prefetch_plan *plan = &todo->plan;
	struct place at = {0};

	for (uint32_t i = 0; i < plan->count; i++) {
		uint32_t k = (plan->count / 2 + i) % plan->count;
		struct pager_extent *e;

		if (!locate(s, todo->region, prefetch_nth(plan, k), &at))
			return -ENOMEM;
		e = pager_at(&s->pager, at.extent);
		if (!((e->remote | e->limbo) & at.bit) || e->marker & at.bit)
			continue;
		window_place(s, at, todo);
		return 0;
	}
	return 1;
}

bool window_credit(struct runtime *s, uint16_t region, struct place at, struct window *ret_window)
{
	struct window *w = NULL;
	struct place page;

	pager_at(&s->pager, at.extent)->marker &= ~at.bit;
	for (int i = 0; i < WINDOWS && !w; i++)
		if (s->window[i].extent == at.extent && s->window[i].bit == at.bit)
			w = &s->window[i];
	if (!w)
		return false;
	*ret_window = *w;
	w->extent = 0;
	for (uint32_t k = 0; k < ret_window->plan.count; k++) {
		struct pager_extent *e;

		if (!locate(s, region, prefetch_nth(&ret_window->plan, k), &page))
			return false;
		e = pager_at(&s->pager, page.extent);
		if (!(e->prefetched & page.bit))
			continue;
		pager_prefetched(&s->pager, page.extent, page.bit, false);
		metrics(s, ret_window->cell)->hits++;
		hist_add(&s->result->issue, s->now_ns - ret_window->born_ns);
	}
	return true;
}

void window_cut(struct runtime *s, struct place marker, uint32_t count)
{
	struct window *w = s->begun_window;

	pager_at(&s->pager, w->extent)->marker &= ~w->bit;
	pager_at(&s->pager, marker.extent)->marker |= marker.bit;
	w->extent = marker.extent;
	w->bit = marker.bit;
	w->plan.count = count < w->plan.count ? count : w->plan.count;
}
