/* SPDX-License-Identifier: Apache-2.0 */
/* sim.c - leap sim: the runtime's prefetch policies over traces, in a model of memory and link (sim.h). */
#include "tools/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libleap/error.h"
#include "libleap/policy.h"
#include "libleap/util/parse.h"
#include "tools/flags.h"
#include "tools/generate.h"
#include "tools/gnuplot.h"
#include "tools/input.h"
#include "tools/sim_plot.h"
#include "tools/tool.h"

#define DEFAULT_POLICIES "none,nextn,stride,readahead,majority,streams,adaptive,oracle"
#define GENERATOR_LOCAL  4000 /* pages, as in the models that results are compared with */
#define WINDOW_MARKER    512
#define WINDOW_CACHE     8
#define ALL_GENERATORS   "all"

struct arguments {
	struct sim_options options;
	const char *policies;
	uint64_t local_percent;
	uint64_t accesses, seed;
	enum sim_by by;
	bool list, speed;
	const char *json; /* FILE, "-" for stdout, or NULL */
	double min_coverage, min_accuracy;
	unsigned below; /* runs that were */
	struct json out;
	const char *png; /* FILE or NULL */
	struct sim_plot plot;
};

static const struct flag sim_flags[] = {
	{"policy", FLAG_REQUIRED, "LIST",
	 "policies, one column each (default " DEFAULT_POLICIES ")"},
	{"local", FLAG_REQUIRED, "PAGES",
	 "local memory, or a share of the pages such as 50% (default: the trace's; 4000 for generators; "
	 "else 50%)"},
	{"pool", FLAG_REQUIRED, "PAGES",
	 "prefetched pages that are kept untouched (default: half of local memory)"},
	{"pool-beside", FLAG_NONE, NULL, "they have pages of their own beside local memory"},
	{"hits", FLAG_REQUIRED, "MODE", "marker or cache, as in leap run (default marker)"},
	{"history-key", FLAG_REQUIRED, "SCOPE",
	 "process, region, thread or stream (default region)"},
	{"advise", FLAG_REQUIRED, "PATTERN",
	 "what the program says at its start: normal, sequential or random (default normal)"},
	{"history-size", FLAG_REQUIRED, "N", "as in leap run (default 32)"},
	{"history-split", FLAG_REQUIRED, "N", "as in leap run (default 8)"},
	{"window-max", FLAG_REQUIRED, "PAGES", "as in leap run (default 512, with hits=cache 8)"},
	{"prefetch-share", FLAG_REQUIRED, "PERCENT", "as in leap run, model runtime (default 50)"},
	{"evict", FLAG_REQUIRED, "ORDER", "lru or fifo (default lru)"},
	{"model", FLAG_REQUIRED, "MODEL",
	 "simple, or runtime: memory and counting as in the runtime (default simple)"},
	{"latency", FLAG_REQUIRED, "TIME", "from a read to its page (default 20us)"},
	{"service", FLAG_REQUIRED, "TIME", "that the link needs for a page (default 1us)"},
	{"think", FLAG_REQUIRED, "TIME", "between accesses, or trace: as recorded (default 1us)"},
	{"accesses", FLAG_REQUIRED, "N", "of a generator (default 60000)"},
	{"seed", FLAG_REQUIRED, "N", "of a generator (default 1)"},
	{"by", FLAG_REQUIRED, "WHAT", "figures by region or by thread, too"},
	{"speed", FLAG_NONE, NULL, "show how fast it was simulated, by CPU time"},
	{"json", FLAG_OPTIONAL, "FILE", "JSON instead of the table, or beside it into FILE"},
	{"png", FLAG_REQUIRED, "FILE",
	 "draw coverage against accuracy, and of one input window and trend over time"},
	{"min-coverage", FLAG_REQUIRED, "PERCENT", "exit status 1 if a run covers less"},
	{"min-accuracy", FLAG_REQUIRED, "PERCENT", "exit status 1 if a run is less accurate"},
	{"list", FLAG_NONE, NULL, "show the generators and what they do"},
};

/* Number of the word among n; -EINVAL with the sentence set. */
static int word_of(const char *flag, const char *value, const char *const *words, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(words[i], value))
			return i;
	return error_set(EINVAL, "--%s: there is no '%s'; see 'leap sim --help'", flag, value);
}

static int set_word(struct arguments *a, const char *name, const char *value)
{
	static const char *const hits[] = {"marker", "cache"}, *const evict[] = {"lru", "fifo"};
	static const char *const keys[] = {"process", "region", "thread", "stream"};
	static const char *const advice[] = {"normal", "sequential", "random"};
	static const char *const models[] = {"simple", "runtime"};
	static const char *const by[] = {"run", "region", "thread"};
	int n;

	if (!strcmp(name, "hits")) {
		n = word_of(name, value, hits, 2);
		a->options.cache = n == 1;
	} else if (!strcmp(name, "advise")) {
		n = word_of(name, value, advice, 3);
		a->options.advice = (uint8_t)n;
	} else if (!strcmp(name, "model")) {
		n = word_of(name, value, models, 2);
		a->options.runtime = n == 1;
	} else if (!strcmp(name, "evict")) {
		n = word_of(name, value, evict, 2);
		a->options.fifo = n == 1;
	} else if (!strcmp(name, "history-key")) {
		n = word_of(name, value, keys, 4);
		a->options.key = (enum sim_key)n;
	} else {
		n = word_of(name, value, by, 3);
		a->by = (enum sim_by)n;
	}
	return n < 0 ? n : 0;
}

static int set_number(struct arguments *a, const char *name, const char *value)
{
	struct prefetch_params *p = &a->options.params;
	uint64_t number;
	int err = input_number(name, value, &number);

	if (err)
		return err;
	if (!strcmp(name, "pool"))
		a->options.pool_pages = number;
	else if (!strcmp(name, "accesses"))
		a->accesses = number;
	else if (!strcmp(name, "seed"))
		a->seed = number;
	else if (number > UINT32_MAX)
		return error_set(EINVAL, "--%s: %s is too large", name, value);
	else if (!strcmp(name, "prefetch-share") && (!number || number > 100))
		return error_set(EINVAL, "--%s: '%s' is not from 1 to 100", name, value);
	else if (!strcmp(name, "prefetch-share"))
		a->options.share_percent = number;
	else if (!strcmp(name, "history-size"))
		p->history_size = (uint32_t)number;
	else if (!strcmp(name, "history-split"))
		p->history_split = (uint32_t)number;
	else
		p->window_max = (uint32_t)number;
	return 0;
}

static int set_local(struct arguments *a, const char *value)
{
	uint32_t percent;

	if (!strchr(value, '%'))
		return input_number("local", value, &a->options.local_pages);
	if (parse_u32(value, "%", &percent) || !percent || percent > 100)
		return error_set(EINVAL, "--local: '%s' is not a share from 1%% to 100%%", value);
	a->local_percent = percent;
	return 0;
}

static int set_time(struct arguments *a, const char *name, const char *value)
{
	uint64_t *field = !strcmp(name, "latency")   ? &a->options.latency_ns
			  : !strcmp(name, "service") ? &a->options.service_ns
						     : &a->options.think_ns;

	a->options.trace_times |= field == &a->options.think_ns && !strcmp(value, "trace");
	if (a->options.trace_times && !strcmp(value, "trace"))
		return 0;
	if (parse_time(value, field))
		return error_set(EINVAL, "--%s: '%s' is not a time such as 20us", name, value);
	return 0;
}

static int set_minimum(const char *name, const char *value, double *ret)
{
	char *end;

	*ret = strtod(value, &end);
	if (end == value || *end || !(*ret >= 0 && *ret <= 100))
		return error_set(EINVAL, "--%s: '%s' is not from 0 to 100", name, value);
	return 0;
}

static int set(void *context, const char *name, const char *value)
{
	struct arguments *a = context;

	if (!strcmp(name, "policy"))
		a->policies = value;
	else if (!strcmp(name, "local"))
		return set_local(a, value);
	else if (!strcmp(name, "latency") || !strcmp(name, "service") || !strcmp(name, "think"))
		return set_time(a, name, value);
	else if (!strcmp(name, "hits") || !strcmp(name, "history-key") || !strcmp(name, "evict") ||
		 !strcmp(name, "model") || !strcmp(name, "advise") || !strcmp(name, "by"))
		return set_word(a, name, value);
	else if (!strcmp(name, "pool-beside"))
		a->options.beside = true;
	else if (!strcmp(name, "speed"))
		a->speed = true;
	else if (!strcmp(name, "json"))
		a->json = value ? value : "-";
	else if (!strcmp(name, "png"))
		a->png = value;
	else if (!strcmp(name, "min-coverage"))
		return set_minimum(name, value, &a->min_coverage);
	else if (!strcmp(name, "min-accuracy"))
		return set_minimum(name, value, &a->min_accuracy);
	else if (!strcmp(name, "list"))
		a->list = true;
	else
		return set_number(a, name, value);
	return 0;
}

/* What depends on the trace and was not given. */
static struct sim_options options_for(const struct arguments *a, const struct trace *trace,
				      bool generated)
{
	struct sim_options o = a->options;
	uint64_t pages = trace->header.footprint_pages, percent = a->local_percent;

	o.recorded_limit = !o.local_pages && !percent && !generated;
	if (!o.local_pages && !percent)
		o.local_pages = generated ? GENERATOR_LOCAL : trace->header.local_pages;
	if (!o.local_pages)
		o.local_pages = pages * (percent ? percent : 50) / 100;
	if (!o.local_pages)
		o.local_pages = 1;
	if (!o.pool_pages)
		o.pool_pages = o.local_pages / 2 ? o.local_pages / 2 : 1;
	if (!o.params.window_max)
		o.params.window_max = o.cache ? WINDOW_CACHE : WINDOW_MARKER;
	return o;
}

/* Of this thread on a CPU: what else runs on the machine does not make the simulator slow. */
static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int run_policies(struct arguments *a, struct sim_report *report, struct sim_run *runs,
			char *names, bool generated)
{
	struct sim_options options = options_for(a, report->trace, generated);
	const struct prefetcher_ops *ops;
	char *save, *name;
	int err = 0;

	for (name = strtok_r(names, ", ", &save); name && !err;
	     name = strtok_r(NULL, ", ", &save)) {
		struct sim_run *run = &runs[report->n];
		double begin = seconds_now();

		if (report->n == SIM_RUNS_MAX)
			return error_set(EINVAL, "--policy: at most %d policies", SIM_RUNS_MAX);
		run->options = options;
		run->options.policy = name;
		if (!strncmp(name, "replay:", 7)) {
			err = policy_open(name, &ops, &run->options.future);
			name[6] = '\0';
		}
		if (err)
			break;
		err = sim_run(report->trace, &run->options, &run->result);
		run->seconds = seconds_now() - begin;
		if (err)
			break;
		report->n++;
		a->below += sim_coverage(&run->result.m) < a->min_coverage ||
			    sim_accuracy(&run->result.m) < a->min_accuracy;
	}
	if (!err && !report->n)
		err = error_set(EINVAL, "--policy: no policy is named");
	return err;
}

static int simulate(struct arguments *a, const char *input)
{
	struct sim_run *runs = calloc(SIM_RUNS_MAX, sizeof(*runs));
	char *names = strdup(a->policies);
	struct trace trace = {0};
	struct sim_report report = {
		.input = input, .trace = &trace, .runs = runs, .by = a->by, .speed = a->speed};
	int err = runs && names ? 0 : error_set(ENOMEM, "no memory");

	if (!err)
		err = input_load(input, a->accesses, a->seed, &trace);
	if (err)
		goto free;
	err = run_policies(a, &report, runs, names, input_is_generator(input));
	if (!err && a->json)
		sim_print_json(&a->out, &report);
	if (!err && (!a->json || strcmp(a->json, "-")))
		sim_print_table(stdout, &report);
	if (!err && a->png)
		err = sim_plot_add(&a->plot, &report);
	while (report.n)
		sim_result_free(&runs[--report.n].result);
	trace_free(&trace);
free:
	free(names);
	free(runs);
	return err;
}

static int simulate_all(struct arguments *a, char **inputs, int n)
{
	int err = 0;

	for (int i = 0; i < n && !err; i++) {
		if (strcmp(inputs[i], ALL_GENERATORS)) {
			err = simulate(a, inputs[i]);
			continue;
		}
		for (unsigned k = 0; k < generators_count && !err; k++)
			err = simulate(a, generators[k].name);
	}
	return err;
}

static int run_all(struct arguments *a, char **inputs, int n)
{
	FILE *json = NULL;
	int err, failed = 0;

	if (a->png && gnuplot_check(a->png))
		return tool_fail_last(EXIT_FAILED);
	if (a->json) {
		json = strcmp(a->json, "-") ? fopen(a->json, "we") : stdout;
		if (!json)
			return tool_fail(EXIT_FAILED, "%s: cannot be written (%s)", a->json,
					 strerror(errno));
		a->out = (struct json){.out = json, .pretty = true};
		json_open(&a->out, NULL, '[');
	}
	if (a->png && n == 1 && strcmp(inputs[0], ALL_GENERATORS))
		a->options.samples = SIM_PLOT_SAMPLES;
	err = simulate_all(a, inputs, n);
	if (json)
		json_close(&a->out, ']');
	if (json == stdout)
		failed = fflush(json);
	else if (json)
		failed = fclose(json);
	if (failed && !err)
		err = error_set(EIO, "%s: cannot be written", a->json);
	fflush(stdout); /* gnuplot may have something to say */
	if (!err && a->png)
		err = sim_plot_draw(&a->plot, a->png);
	sim_plot_free(&a->plot);
	if (err)
		return tool_fail_last(EXIT_FAILED);
	if (a->below)
		return tool_fail(EXIT_FAILED, "%u of the runs were below the minimum", a->below);
	return 0;
}

int sim_main(int argc, char **argv)
{
	struct arguments a = {
		.options = {.key = SIM_REGION,
			    .params = {.history_size = 32, .history_split = 8},
			    .limbo_percent = 3,
			    .share_percent = 50,
			    .latency_ns = 20000,
			    .service_ns = 1000,
			    .think_ns = 1000},
		.policies = DEFAULT_POLICIES,
		.accesses = INPUT_ACCESSES,
		.seed = INPUT_SEED,
	};
	struct command_line line = {
		.usage = "sim [OPTION...] INPUT...",
		.about =
			"Runs prefetch policies over a trace (leap-trace(5)) or a generator, in a model of "
			"memory and\nlink; the input 'all' means every generator.",
		.flags = sim_flags,
		.nflags = sizeof(sim_flags) / sizeof(sim_flags[0]),
		.set = set,
		.context = &a,
	};
	int first, err = flags_parse(&line, argc, argv, &first);

	if (err)
		return err == FLAGS_HELP ? 0 : tool_fail_last(EXIT_USAGE);
	if (a.list) {
		input_print_generators(stdout);
		return 0;
	}
	if (first == argc)
		return tool_fail(EXIT_USAGE, "say what to simulate: a trace file, or a generator "
					     "('leap sim --list' shows them)");
	return run_all(&a, argv + first, argc - first);
}
