/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c - leap probe: what this kernel and this user can do for leap, and what is missing. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libleap/error.h"
#include "tools/flags.h"
#include "tools/human.h"
#include "tools/json.h"
#include "tools/probe.h"
#include "tools/tool.h"

static const char *const state_names[] = {"ok", "note", "limited", "missing"};

static const struct flag probe_flags[] = {
	{"json", FLAG_NONE, NULL, "the same as JSON"},
};

struct finding *report_add(struct report *report, enum finding_state state, const char *group,
			   const char *name, const char *format, ...)
{
	struct finding *f =
		&report->list[report->n < FINDINGS_MAX ? report->n++ : FINDINGS_MAX - 1];
	va_list ap;

	f->state = state;
	f->remedy[0] = '\0';
	snprintf(f->group, sizeof(f->group), "%s", group);
	snprintf(f->name, sizeof(f->name), "%s", name);
	va_start(ap, format);
	vsnprintf(f->what, sizeof(f->what), format, ap);
	va_end(ap);
	return f;
}

void report_remedy(struct finding *finding, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(finding->remedy, sizeof(finding->remedy), format, ap);
	va_end(ap);
}

static int set(void *context, const char *name, const char *value)
{
	*(bool *)context = true;
	return 0;
}

static void print_text(const struct report *report, const struct probe_costs *costs)
{
	static const char *const marks[] = {"+", " ", "~", "!"};
	const char *group = "";
	char a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES];

	for (unsigned i = 0; i < report->n; i++) {
		const struct finding *f = &report->list[i];

		if (strcmp(group, f->group))
			printf("%s%s\n", *group ? "\n" : "", f->group);
		group = f->group;
		printf("  %s %-16s %s\n", marks[f->state], f->name, f->what);
		if (f->remedy[0])
			printf("    %-16s -> %s\n", "", f->remedy);
	}
	printf("\nfault costs (median, with one UFFDIO_COPY)\n");
	if (costs->block_ns)
		printf("    block %s, busy %s, inline %s\n", human_time(costs->block_ns, a),
		       human_time(costs->busy_ns, b),
		       costs->inline_ns ? human_time(costs->inline_ns, c) : "not measured");
	if (costs->block_ns)
		printf("    auto takes front end %s (%s) and mover %s\n", costs->frontend,
		       costs->why, costs->mover);
	else
		printf("    not measured: %s\n", costs->why);
}

static void json_cost(struct json *json, const char *key, uint64_t ns)
{
	if (ns)
		json_u64(json, key, ns);
	else
		json_null(json, key);
}

static void print_json(const struct report *report, const struct probe_costs *costs, bool usable)
{
	struct json json = {.out = stdout, .pretty = true};

	json_open(&json, NULL, '{');
	json_bool(&json, "usable", usable);
	json_open(&json, "findings", '[');
	for (unsigned i = 0; i < report->n; i++) {
		const struct finding *f = &report->list[i];

		json_open(&json, NULL, '{');
		json_text(&json, "group", f->group);
		json_text(&json, "name", f->name);
		json_text(&json, "state", state_names[f->state]);
		json_text(&json, "what", f->what);
		if (f->remedy[0])
			json_text(&json, "remedy", f->remedy);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	json_open(&json, "fault_cost_ns", '{');
	json_cost(&json, "block", costs->block_ns);
	json_cost(&json, "busy", costs->busy_ns);
	json_cost(&json, "inline", costs->inline_ns);
	json_close(&json, '}');
	json_open(&json, "auto", '{');
	json_text(&json, "frontend", costs->frontend);
	json_text(&json, "mover", costs->mover);
	json_text(&json, "why", costs->why);
	json_close(&json, '}');
	json_close(&json, '}');
}

int probe_main(int argc, char **argv)
{
	static struct report report;
	struct probe_costs costs;
	bool json = false, usable = true;
	struct command_line line = {
		.usage = "probe [--json]",
		.about =
			"Shows what this kernel and this user can do for leap, what is missing, and "
			"the command that grants\nit ('!': leap run does not work without it, '~': it "
			"works with less). Exit status 1 when something\nneeded is missing.",
		.flags = probe_flags,
		.nflags = sizeof(probe_flags) / sizeof(probe_flags[0]),
		.set = set,
		.context = &json,
	};
	int first, err = flags_parse(&line, argc, argv, &first);

	if (err == FLAGS_HELP)
		return 0;
	if (!err && first < argc)
		err = error_set(EINVAL, "'%s' is not expected; see 'leap probe --help'",
				argv[first]);
	if (err)
		return tool_fail_last(EXIT_USAGE);
	probe_host(&report);
	probe_costs(&costs);
	for (unsigned i = 0; i < report.n; i++)
		usable = usable && report.list[i].state != FINDING_MISSING;
	if (json)
		print_json(&report, &costs, usable);
	else
		print_text(&report, &costs);
	return usable ? 0 : EXIT_FAILED;
}
