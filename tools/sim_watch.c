/* SPDX-License-Identifier: Apache-2.0 */
/* sim_watch.c - see sim_watch.h. */
#include "tools/sim_watch.h"

#include <errno.h>
#include <stdlib.h>

#include "libleap/error.h"

int sim_watch_init(struct sim_watch *w, const struct trace *trace,
		   const struct sim_options *options, struct sim_result *result)
{
	uint64_t records = trace->header.n_records, samples = options->samples;

	*w = (struct sim_watch){.next = UINT64_MAX, .trace = trace, .result = result};
	if (!samples || !records)
		return 0;
	w->next = 0;
	w->every = (records + samples - 1) / samples;
	result->samples = calloc(samples + 1, sizeof(*result->samples));
	return result->samples ? 0 : error_set(ENOMEM, "no memory for the samples of a picture");
}

static void take(struct sim_watch *w, uint64_t record)
{
	struct sim_sample *s = &w->result->samples[w->result->nsamples];

	if (!w->asked)
		return;
	s->access = w->result->accesses;
	s->t_ns = w->trace->records[record].t_ns - w->trace->records[0].t_ns;
	history_peek(w->asked, &s->trend, &s->window);
	w->result->nsamples++;
}

void sim_watch_look(struct sim_watch *w, uint64_t i)
{
	take(w, i);
	w->next += w->every;
}

void sim_watch_end(struct sim_watch *w)
{
	if (w->every)
		take(w, w->trace->header.n_records - 1);
}
