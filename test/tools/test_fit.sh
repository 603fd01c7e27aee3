#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A live run's trace, simulated with the policy it ran with, has the runtime's own hits and misses within 2 points: donors that
# answer at once and others, markers and cache, one fault thread and two.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

policies='none nextn stride readahead vma-readahead majority streams adaptive'
seq 1 300000 | sort -R --random-source=<(yes) >"$work/lines"

# fit NAME POLICY [OPTION...]: compares $work/trace with its simulation
fit() {
	checks=$((checks + 1))
	"$leap" sim --model runtime --policy "$2" "${@:3}" --json="$work/json" "$work/trace" >/dev/null 2>"$work/why" &&
		"$leap" trace convert --text "$work/trace" "$work/text" 2>>"$work/why" &&
		python3 - "$1" "$2" "$work/json" "$work/text" 2>>"$work/why" <<'EOF' || fail "$1, $2: $(tail -n 1 "$work/why")"
import json, sys
name, policy, report, text = sys.argv[1:]
run = json.load(open(report))[0]["policies"][0]
counted = {}
lost = None
for line in open(text):
    if line.startswith("kind="):
        lost = dict(word.split("=") for word in line.split())["dropped"]
    words = line.strip().split(",")
    if len(words) == 6 and words[4] == "15":
        counted[int(words[2])] = int(words[1], 16)
misses, hits = counted[3], counted[6]
assert lost == "0", "records were lost: " + lost
assert misses > 1000, "the program hardly faulted"
assert hits > 0 or policy == "none", "nothing was prefetched"
points = [100 * (run[what] - own) / (hits + misses) for what, own in (("hits", hits), ("misses", misses))]
print(f"{name:11} {policy:14} runtime {hits:7} hits {misses:7} misses   simulator {run['hits']:7} hits "
      f"{run['misses']:7} misses   points {points[0]:+6.2f} {points[1]:+6.2f}")
assert max(map(abs, points)) <= 2, f"{points[0]:+.2f} points of hits, {points[1]:+.2f} of misses"
EOF
}

# the evictor may be late by 8 MiB (SLACK_PAGES in fault.c): what is less over the limit need not leave before the run is over
start_donor --listen tcp://127.0.0.1:0 --memory 256M --log-level error
for policy in $policies; do
	for transport in loop tcp; do
		donor=loop:
		[ $transport = loop ] || donor=$donor_uri
		expect 0 - "$leap" run --donors "$donor" --local 8M --fault-threads 1 --prefetch "$policy" \
			--trace "$work/trace" -- sort -S 64M -o "$work/sorted" "$work/lines"
		fit "sort $transport" "$policy"
		for hits in marker cache; do
			expect 0 '!' "$leap" bench micro --size 32M --local 8M --transport $transport --op read \
				--fault-threads 1 --prefetch "$policy" --trace "$work/trace" --hits $hits
			fit "$hits $transport" "$policy" --hits $hits
		done
	done
done
for policy in stride readahead majority; do
	expect 0 - "$leap" run --local 8M --fault-threads 1 --prefetch "$policy" --history-key stream --trace "$work/trace" -- \
		sort -S 64M -o "$work/sorted" "$work/lines"
	fit stream "$policy" --history-key stream
done
# two fault threads, each with stripes of its own
for transport in loop tcp; do
	expect 0 '!' "$leap" bench micro --size 320M --local 100M --transport $transport --op read --pattern seq,random \
		--accesses 30000 --threads 2 --fault-threads 2 --prefetch adaptive --trace "$work/trace"
	fit "two $transport" adaptive
done
summary
