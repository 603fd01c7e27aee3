/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - what one key's accesses are remembered in: one instance of a policy, or one for each stream of accesses.
 *
 * By stream (option history_key=stream): each stream of stream_table.h has an instance of its own, so that a policy that
 * is confused by scans that take turns sees each of them alone. A window comes back to the stream that planned it by
 * its tag, a hit goes to the stream that is near or planned the page, and pages that were dropped untouched are
 * told to the stream that planned something in their block of 64 pages last, if it is still there.
 *
 * A policy that is `whole` has one instance all the same: by stream is by region for it.
 *
 * As pure as policies are: the caller gives the memory, and serialises the calls.
 */
#ifndef LEAP_PREFETCH_HISTORY_H
#define LEAP_PREFETCH_HISTORY_H

#include "libleap/prefetch/prefetch.h"

struct history;

size_t history_bytes(const struct prefetcher_ops *ops, const struct prefetch_params *params,
		     bool by_stream);
/*
 * Whether a region of so many pages shares a history with others that are as small, where it is to be the
 * region's: what is kept about its pages is not to be more than HISTORY_BYTES_A_PAGE for each. A policy that
 * wants to know its region always has it for itself.
 */
#define HISTORY_BYTES_A_PAGE 6
bool history_is_small(const struct prefetcher_ops *ops, const struct prefetch_params *params,
		      bool by_stream, uint64_t pages);
/* The memory is zeroed. 0, or -errno with the sentence set, as init() of the policy. */
int history_init(struct history *history, const struct prefetcher_ops *ops,
		 const struct prefetch_params *params, bool by_stream,
		 const struct prefetch_scope *scope);
/* As the policy's. The plan is zeroed. */
void history_access(struct history *history, const struct prefetch_access *access,
		    struct prefetch_plan *plan);
/* What the program says, to all streams; nothing is done if it is what was said last. */
void history_hint(struct history *history, enum prefetch_hint hint);
/* `count` prefetched pages were dropped untouched; `page` is one of them. */
void history_unused(struct history *history, uint64_t page, uint32_t count);
/* Of the stream that was asked last. */
void history_peek(const struct history *history, int64_t *ret_trend, uint32_t *ret_window);

#endif
