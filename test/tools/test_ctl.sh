#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leap ctl: options of a running process read and changed; donors added and removed under it.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

ctl() { expect "$1" "$2" "$leap" ctl "${@:3}"; }
figure() { "$leap" stat --once --json "$1" | python3 -c "import json, sys; print(json.load(sys.stdin)['$2'])"; }

ctl 2 'no process is named'
ctl 2 "'x' is not a process id" x
ctl 2 "'0' is not a process id" 0 local
ctl 2 "'soon' is not a time" --timeout soon 1
ctl 1 'process 1 is not under Leap, or not of this user' 1 local
ctl 0 '^Usage: leap ctl' --help

start "$leap" run --local 48M "$LEAP_TEST_BIN/hold" 96
holder=$pid
until_true 20 grep -q filled "$work/program.out" || fail "hold did not fill: $(cat "$work/program.err")"

ctl 0 '^local=48M$' "$holder" local
ctl 0 '^history_size=32$' "$holder" history-size=32 history_size
ctl 0 '^io_uring=on$' "$holder"
[ "$(wc -l <"$work/out")" = "$("$leap" run --help | grep -c '^  --[a-z-]*[ [][^ ]')" ] ||
	fail "leap ctl PID does not show every option"
ctl 0 - "$holder" local=24M
ctl 0 '^local=24M$' "$holder" local
smaller() { [ "$(figure "$holder" local_bytes)" -le $((25 << 20)) ]; }
until_true 20 smaller || fail "the limit fell, the local memory did not: $(figure "$holder" local_bytes)"
[ $(($(figure "$holder" limit_bytes) >> 12)) -ge $((6144 - 1)) ] || fail "the limit shown is $(figure "$holder" limit_bytes)"
ctl 0 '^prefetch=none$' "$holder" prefetch=none prefetch
ctl 0 - "$holder" prefetch=majority window_max=64 prefetching=off prefetching=on

# what is refused changes nothing
ctl 1 'below the minimum; give at least 8M' "$holder" local=1K
ctl 1 'frontend can only be given when the session is opened' "$holder" frontend=busy
ctl 1 "no option 'locol'; did you mean 'local'" "$holder" locol=1G
ctl 1 "no option 'locol'" "$holder" locol
ctl 1 "there is no policy 'x'; take one of" "$holder" prefetch=x
ctl 1 'below the minimum' "$holder" local=32M local=1K local=40M
ctl 0 '^local=32M$' "$holder" local

# donors come and go
start_donor --listen tcp://127.0.0.1:0 --memory 512M --log-level error
ctl 1 'connection refused' "$holder" donor-add=tcp://127.0.0.1:1
ctl 1 'port "0x" is not a number' "$holder" donor-add=tcp://127.0.0.1:0x
ctl 0 - "$holder" "donor-add=$donor_uri"
two_alive() { [ "$(figure "$holder" donors_alive)" = 2 ]; }
until_true 10 two_alive || fail "the new donor is not shown"
ctl 1 'is not a donor of this session' "$holder" donor-remove=tcp://127.0.0.1:1
ctl 0 - "$holder" donor-remove=loop:
only_tcp() {
	"$leap" stat --once --json "$holder" | python3 -c '
import json, sys
alive = [d for d in json.load(sys.stdin)["donors"] if d["alive"]]
sys.exit(not (len(alive) == 1 and "tcp" in alive[0]["donor"] and alive[0]["written_bytes"] > 50 << 20))'
}
until_true 20 only_tcp || fail "the pages did not move to the other donor"
ctl 1 'it is the only donor' "$holder" "donor-remove=$donor_uri"

# everything home, and out again
ctl 0 - "$holder" remote=off
home() { [ "$(figure "$holder" remote_bytes)" = 0 ]; }
until_true 10 home || fail "remote=off left $(figure "$holder" remote_bytes) bytes remote"
ctl 0 - "$holder" remote=on
away() { [ "$(figure "$holder" remote_bytes)" -gt $((50 << 20)) ]; }
until_true 20 away || fail "remote=on evicts nothing"

# a process that is stopped does not answer, and says so in time
kill -STOP "$holder"
ctl 1 "process $holder did not answer within 300ms: it is stopped" --timeout 300ms "$holder" local
kill -CONT "$holder"
ctl 0 '^local=32M$' "$holder" local

# a donor that is slow goes for long: the program forks and maps meanwhile, and other requests are answered
other_uri=$donor_uri
start_donor --listen tcp://127.0.0.1:0 --memory 1G
slow=faulty:delay-us=100000:$donor_uri
ctl 0 - "$holder" "donor-add=$slow"
ctl 0 - "$holder" "donor-remove=$other_uri"
ctl 0 - "$holder" "donor-add=$other_uri"
"$leap" ctl --timeout 100s "$holder" "donor-remove=$slow" >"$work/slow" 2>&1 &
remover=$!
started+=("$remover")
sleep 0.3
kill -USR1 "$holder"
until_true 20 grep -q forked "$work/program.out" || fail "no fork while a donor goes"
ctl 0 '^local=32M$' "$holder" local
ctl 1 'another change is under way' "$holder" "donor-add=loop:"
kill -0 "$remover" || fail "the slow donor was gone before: $(cat "$work/slow")"

# all the while the program read what it had written
kill -TERM "$holder"
wait "$holder"
status=$?
if [ $status != 0 ] || ! grep -q 'right to the end' "$work/program.out"; then
	fail "hold ended with $status: $(cat "$work/program.err")"
fi
ctl 1 "process $holder is not under Leap" "$holder" local
summary
