/* SPDX-License-Identifier: Apache-2.0 */
/* views.c - see views.h. */
#include "libleap/views.h"

#include <string.h>

#include "libleap/prefetch/history.h"
#include "libleap/session.h"
#include "libleap/util/clerk.h"
#include "libleap/util/fmt.h"
#include "libleap/util/mem.h"
#include "libleap/util/sys.h"

#define NAME_AGAIN \
	4096 /* accesses after which a thread's name is read again: most are named after they began */
#define NAME_BYTES         16
#define WINDOW_AUTO_MARKER 512
#define WINDOW_AUTO_CACHE  8

struct prefetch_params views_params(const struct config *config)
{
	uint32_t window = config->window_max;

	if (!window)
		window = config->hits == HITS_CACHE ? WINDOW_AUTO_CACHE : WINDOW_AUTO_MARKER;
	return (struct prefetch_params){
		.history_size = config->history_size,
		.history_split = config->history_split,
		.window_max = window,
	};
}

/* NAME, or a beginning followed by '*'. */
static bool matches(const char *pattern, size_t len, const char *name)
{
	size_t n = strlen(name);

	if (len && pattern[len - 1] == '*')
		return n >= len - 1 && !memcmp(pattern, name, len - 1);
	return n == len && !memcmp(pattern, name, len);
}

static bool in_list(const char *list, const char *name)
{
	while (*list) {
		const char *end = strchr(list, ',');
		size_t len = end ? (size_t)(end - list) : strlen(list);

		if (matches(list, len, name))
			return true;
		list += len + (end != NULL);
	}
	return false;
}

/* What the program calls the thread; empty when it is gone. */
static void read_name(uint32_t thread, char name[NAME_BYTES])
{
	char path[48];
	long n;

	fmt_print(path, sizeof(path), "/proc/self/task/%u/comm", thread);
	n = clerk_read(path, name, NAME_BYTES);
	name[n > 0 ? n - 1 : 0] = '\0'; /* in the place of the newline */
}

static struct thread_view *oldest(struct views *views)
{
	struct thread_view *found = &views->threads[0];

	for (unsigned i = 0; i < VIEW_THREADS; i++) {
		if (views->threads[i].heard < found->heard)
			found = &views->threads[i];
	}
	return found;
}

static struct thread_view *find(struct views *views, uint32_t thread)
{
	if (views->last && views->last->thread == thread)
		return views->last;
	for (unsigned i = 0; i < VIEW_THREADS; i++) {
		if (views->threads[i].heard && views->threads[i].thread == thread)
			return &views->threads[i];
	}
	return NULL;
}

static struct thread_view *thread_view(struct shard *shard, uint32_t thread)
{
	const char *excluded = shard->leap->config.exclude_threads;
	struct views *views = &shard->views;
	struct thread_view *t;
	char name[NAME_BYTES];

	if (!views->threads)
		views->threads = mem_alloc(VIEW_THREADS * sizeof(*views->threads));
	if (!views->threads)
		return NULL;
	t = find(views, thread);
	if (!t) {
		t = oldest(views);
		mem_free(t->view.history);
		*t = (struct thread_view){.thread = thread};
	}
	if (excluded[0] && thread && (!t->heard || views->heard % NAME_AGAIN == 0)) {
		read_name(thread, name);
		t->excluded = in_list(excluded, name);
	}
	t->heard = ++views->heard;
	views->last = t;
	return t;
}

/* The region's own, or that of all small ones. */
static struct region_view *region_view(struct shard *shard, struct leap_region *region)
{
	struct region_view *view = &region->views[shard->index];
	const struct leap *leap = shard->leap;
	const struct prefetcher_ops *ops = __atomic_load_n(&leap->prefetcher, __ATOMIC_ACQUIRE);

	if (view->ops != ops || view->generation != leap->prefetch_generation) {
		struct prefetch_params params = views_params(&leap->config);
		bool by_stream = leap->config.history_key == HISTORY_STREAM;

		view->small = history_is_small(ops, &params, by_stream, region->npages);
		if (view->small) {
			mem_free(view->history);
			view->history = NULL;
			view->ops = ops;
			view->generation = leap->prefetch_generation;
		}
	}
	return view->small ? &shard->views.small : view;
}

struct region_view *views_find(struct shard *shard, struct leap_region *region, uint32_t thread)
{
	const struct config *config = &shard->leap->config;
	struct thread_view *t = NULL;

	if (config->history_key == HISTORY_THREAD || config->exclude_threads[0]) {
		t = thread_view(shard, thread);
		if (!t || t->excluded)
			return NULL;
	}
	switch (config->history_key) {
	case HISTORY_PROCESS:
		return &shard->views.process;
	case HISTORY_THREAD:
		return &t->view;
	default:
		return region_view(shard, region);
	}
}

struct region_view *views_of_unused(struct shard *shard, struct leap_region *region)
{
	switch (shard->leap->config.history_key) {
	case HISTORY_PROCESS:
		return &shard->views.process;
	case HISTORY_THREAD: /* the page does not tell; the one that asked last is as good as any */
		return shard->views.last ? &shard->views.last->view : NULL;
	default:
		return region_view(shard, region);
	}
}

void views_destroy(struct views *views)
{
	mem_free(views->process.history);
	mem_free(views->small.history);
	for (unsigned i = 0; views->threads && i < VIEW_THREADS; i++)
		mem_free(views->threads[i].view.history);
	mem_free(views->threads);
	memset(views, 0, sizeof(*views));
}
