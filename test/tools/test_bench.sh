#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leap bench micro: bad arguments, table, JSON, the donors it starts and ends.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

bench() { expect "$1" "$2" "$leap" bench micro "${@:3}"; }
expect 2 'say what to measure' "$leap" bench
expect 2 "no benchmark 'macro'" "$leap" bench macro
bench 0 '^Usage: leap bench micro' --help
bench 2 "'1M' is not a size of 16M or more" --size 1M
bench 2 "'scribble' is neither read nor write" --op scribble
bench 2 "'' is neither read nor write" --op read,
bench 2 "no pattern 'zigzag'" --pattern seq,zigzag
bench 2 "no pattern 'stride1x'" --pattern stride1x
bench 2 'exponent is above 0' --pattern zipf0
bench 2 "'smoke' is none of loop, shm, tcp" --transport smoke
bench 2 "'0' is not a number from 1 to 64" --threads 0
bench 2 "'x' is not expected" x
bench 2 'local: a limit of 1K is below the minimum' --local 1K
bench 1 'connection refused' --size 16M --donors tcp://127.0.0.1:1
bench 1 'too little for a region' --size 8T

bench 0 '^shm +write +stride10 +[0-9.]+ +[0-9.]+ ' --size 32M --local 40%
for transport in loop shm tcp; do
	[ "$(grep -c "^$transport  *\(read\|write\) " "$work/out")" = 8 ] || fail "not 8 rows for $transport"
done
[ "$(grep -c 'all 8192 pages verified' "$work/out")" = 3 ] || fail "not every run is verified"

bench 0 '!' --size 32M --local 8M --transport shm,tcp --pattern seq,stride7,zipf0.5 --op read --threads 2 \
	--accesses 5000 --json --frontend block --window-max 64
checks=$((checks + 1))
python3 - "$work/out" >"$work/why" 2>&1 <<'EOF' || fail "JSON: $(tail -n 1 "$work/why")"
import json, sys
report = json.load(open(sys.argv[1]))
assert report["pages"] == 8192 and report["threads"] == 2
assert report["options"]["window_max"] == "64" and report["options"]["local"] == "8M"
assert [r["transport"] for r in report["runs"]] == ["shm", "tcp"]
for run in report["runs"]:
    assert run["frontend"] == "block" and run["mover"] in ("move", "wp"), run["frontend"]
    assert run["pages_verified"] == 8192 and run["pages_wrong"] == 0
    assert [(r["op"], r["pattern"]) for r in run["rows"]] == [
        ("read", "seq"), ("read", "stride7"), ("read", "zipf0.5")]
    for row in run["rows"]:
        l = row["latency_us"]
        assert row["accesses"] == 5000 and row["wrong"] == 0
        assert 0 <= l["p50"] <= l["p90"] <= l["p99"] <= l["p99.9"] <= l["max"], l
        assert 0 < l["avg"] <= row["total_us"] <= row["seconds"] * 2e6 / 5000 + 0.01, (l, row)
    assert run["rows"][0]["faults"] > 0 and run["rows"][0]["pages_read"] > 0
EOF

# a table and a file of JSON; a donor that somebody else runs; flags come before variables
start_donor --listen shm:pool --memory 256M --log-level error
LEAP_MOVER=wp bench 0 'donors shm:pool, front end .*, mover wp,' --size 16M --donors shm:pool --op read --pattern random --json="$work/json"
python3 -m json.tool "$work/json" >/dev/null || fail "the file is no JSON"
LEAP_MOVER=wp bench 0 'mover (move|wp), prefetch none' --size 16M --donors loop: --mover auto --prefetch none --op read --pattern random --no-verify
grep -q verified "$work/out" && fail "verified all the same"
bench 1 'cannot write /no/such/file' --size 16M --transport loop --op read --pattern seq --json=/no/such/file

# nothing it started is left, even when it is killed
no_children() { ! pgrep -f "leap-donor --listen shm:@bench-$1 " >/dev/null; }
"$leap" bench micro --size 256M --transport shm >/dev/null 2>&1 &
bench_pid=$!
started+=("$bench_pid")
begun() { ! no_children "$bench_pid"; }
until_true 10 begun || fail "no donor was started"
kill -KILL "$bench_pid"
wait "$bench_pid" 2>/dev/null
until_true 10 no_children "$bench_pid" || fail "the donor outlives a killed bench"
summary
