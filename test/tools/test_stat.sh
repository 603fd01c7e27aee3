#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leap stat: a live process seen as lines, JSON, CSV and on a terminal.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

expect 1 'no process of this user publishes figures in .*/run; start one' "$leap" stat --once
expect 1 "process 1 does not publish figures" "$leap" stat 1
expect 2 "'x' is not a process id" "$leap" stat x
expect 2 "'1s2' is not a time" "$leap" stat --interval 1s2
expect 2 "'1ms' is not a time of 10ms or more" "$leap" stat --interval 1ms
expect 2 "'0' is not a number of samples" "$leap" stat --count 0
expect 2 "no flag '--frob'" "$leap" stat --frob
expect 0 '^Usage: leap stat' "$leap" stat --help

start_donor --listen shm:pool --memory 512M --log-level error
start "$leap" run --local 24M --donors shm:pool "$LEAP_TEST_BIN/hold" 96
holder=$pid
until_true 20 grep -q filled "$work/program.out" || fail "hold did not fill: $(cat "$work/program.err")"
# figures are published ten times a second
all_held() { "$leap" stat --once --json "$holder" | grep -Eq '"held_bytes": (10[0-9]{7}|[2-9][0-9]{8}),'; }
until_true 10 all_held || fail "what was written does not show"

# one object a process and sample
expect 0 '!' "$leap" stat --json --count 3 --interval 100ms "$holder"
cp "$work/out" "$work/samples"
checks=$((checks + 1))
python3 - "$work/samples" "$holder" >"$work/why" 2>&1 <<'EOF' || fail "JSON samples: $(tail -n 1 "$work/why")"
import json, sys
samples = [json.loads(line) for line in open(sys.argv[1])]
assert len(samples) == 3, len(samples)
for s in samples:
    assert s["pid"] == int(sys.argv[2]) and s["program"] == "hold", (s["pid"], s["program"])
    assert abs(s["limit_bytes"] - (24 << 20)) <= 4096, s["limit_bytes"]
    assert 0 < s["local_bytes"] <= (24 << 20) * 1.1, s["local_bytes"]
    # all of it is somewhere; a page on its way may be counted twice or not at all
    assert s["held_bytes"] >= 96 << 20, s["held_bytes"]
    assert s["remote_bytes"] > 60 << 20, s["remote_bytes"]
    assert s["rss_anon_bytes"] > 8 << 20, s["rss_anon_bytes"]
    assert s["frontend"] in ("busy", "block", "inline") and s["mover"] in ("move", "wp")
    d, = s["donors"]
    assert d["alive"] and d["slabs"] >= 1 and d["written_bytes"] > 60 << 20 and "shm" in d["donor"], d
    l = s["fault_latency_ns"]
    assert 0 < l["p50"] <= l["p90"] <= l["p99"] <= l["p99.9"] <= l["max"], l
    assert s["interval_s"] > 0 and s["faults_per_s"] > 0, s
for a, b in zip(samples, samples[1:]):
    for name in ("time", "faults", "read", "prefetched", "evicted"):
        assert b[name] >= a[name], name
assert 0.05 < samples[1]["interval_s"] < 5, samples[1]["interval_s"]
assert samples[2]["read"] > samples[0]["read"]
EOF

expect 0 '!' "$leap" stat --csv --count 2 --interval 50ms
checks=$((checks + 1))
python3 - "$work/out" >"$work/why" 2>&1 <<'EOF' || fail "CSV: $(tail -n 1 "$work/why")"
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
assert len(rows) == 2, len(rows)
assert all(None not in r and None not in r.values() for r in rows), "ragged"
assert float(rows[1]["time"]) > float(rows[0]["time"]) > 1.6e9
assert rows[0]["program"] == "hold" and abs(int(rows[0]["limit_bytes"]) - (24 << 20)) <= 4096
EOF

expect 0 '^ *PID PROGRAM' "$leap" stat --once
expect 0 "^ *$holder hold +2[0-9]M +24M" "$leap" stat --once
expect 0 "^ *$holder hold" "$leap" stat --once "$holder"
expect 0 '^ +donor .*shm.* alive, +[1-9][0-9]* slabs' "$leap" stat --once "$holder"
# on a terminal: drawn anew, with donors
expect 0 'donor .*shm.*alive' script -qec "'$leap' stat --count 2 --interval 100ms" "$work/typescript"
grep -q $'\033\\[H' "$work/typescript" || fail "a terminal is not redrawn"

# two at a time
start "$leap" run --local 16M "$LEAP_TEST_BIN/hold" 32 1000
second=$pid
both() { [ "$("$leap" stat --once --json | wc -l)" = 2 ]; }
until_true 20 both || fail "two processes are not both seen"

# named processes are watched until they end
"$leap" stat --json --interval 50ms "$holder" >"$work/until" 2>&1 &
watcher=$!
started+=("$watcher")
until_true 10 test -s "$work/until" || fail "no sample"
kill -TERM "$holder"
wait "$holder"
status=$?
[ $status = 0 ] || fail "hold ended with $status"
wait "$watcher"
status=$?
[ $status = 0 ] || fail "leap stat ended with $status when its process had ended"
gone() { [ "$("$leap" stat --once --json | wc -l)" = 1 ]; }
until_true 20 gone || fail "a process that ended is still shown"

# what a killed process leaves is no process, and is swept
kill -KILL "$second"
wait "$second" 2>/dev/null
[ -e "$LEAP_RUN_DIR/$second.stats" ] || fail "no figures to be left"
expect 1 'no process of this user' "$leap" stat --once
[ ! -e "$LEAP_RUN_DIR/$second.stats" ] || fail "a dead process's figures stay"
# children that end without the C library's end take their files along
expect 0 '^done$' "$leap" run --local 16M /usr/bin/python3 -c '
import os
for how in range(6):
    pid = os.fork()
    if not pid and how % 2:
        os.execv("/bin/true", ["true"])
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
print("done")'
left=$(find "$LEAP_RUN_DIR" -name '[0-9]*' | wc -l)
[ "$left" = 0 ] || fail "$left files of processes that ended stay"
# what another was killed over is swept by the next
start "$leap" run --local 16M "$LEAP_TEST_BIN/hold" 32 1000
until_true 20 test -e "$LEAP_RUN_DIR/$pid.stats" || fail "no figures"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
expect 0 - "$leap" run --local 16M /bin/true
[ ! -e "$LEAP_RUN_DIR/$pid.stats" ] || fail "a killed process's figures stay when another starts"
# rubbish in the run directory is no process either
head -c 5000 /dev/urandom >"$LEAP_RUN_DIR/$$.stats"
expect 1 'no process of this user' "$leap" stat --once
expect 1 "is not a page of figures" "$leap" stat $$
summary
