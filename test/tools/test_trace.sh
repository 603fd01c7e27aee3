#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Recording traces (option trace), and leap trace.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

run() { expect "$1" "$2" "$leap" run --local 8M "${@:3}"; }
# text FILE: the trace in the text form, into $work/text
text() { expect 0 - "$leap" trace convert --text "$1" "$work/text"; }
# count PATTERN: lines of $work/text
count() { grep -Ec -- "$1" "$work/text"; }
check() {
	checks=$((checks + 1))
	"${@:2}" || fail "$1"
}

# a file that cannot be is one sentence, and nothing is started
run 125 'trace: cannot create /no/such/f .*no such directory' --trace /no/such/f touch "$work/started"
run 125 'trace: cannot create .*it is a directory' --trace "$work" touch "$work/started"
run 125 'is not a regular file' --trace /dev/null touch "$work/started"
check "it was started all the same" test ! -e "$work/started"

# a program that needs more than it may have: every kind of record, the same output as without
seq 1 300000 | sort -R --random-source=<(yes) >"$work/lines"
sort -S 64M "$work/lines" >"$work/expected"
run 0 - --trace "$work/sort.lpt" --prefetch majority -- sort -S 64M -o "$work/sorted" "$work/lines"
check "sort went wrong while it was recorded" cmp -s "$work/expected" "$work/sorted"
text "$work/sort.lpt"
check "no header" test "$(count '^kind=FAULT page_shift=12 flags=11 .* dropped=0$')" = 1
check "no region" test "$(count '^region,0,0,0x[0-9a-f]*,[0-9]+,reserved$')" = 1
for kind in 0,[01] 0,[23] 4,0 10,0 12,0; do
	check "no record of op and flags $kind" test "$(count ",$kind\$")" -gt 0
done
check "thread ids are missing" test "$(count '^[0-9]+,0x[0-9a-f]+,0,0,0,')" = 0
check "times go back" awk -F, 'NF == 6 && $1 ~ /^[0-9]+$/ { if ($1 < last) exit 1; last = $1 }' "$work/text"

# each process has a file of its own with %p
run 0 '^300000$' --trace "$work/own-%p.lpt" --follow-exec -- sh -c "sort -S 64M '$work/lines' | wc -l; true"
check "not a file a process: $(ls "$work"/own-*.lpt)" test "$(find "$work" -name 'own-*.lpt' | wc -l)" = 3

# a forked child faults on the same pages, but does not write into its parent's file
cat >"$work/fork.py" <<'EOF'
import os
pages = 6000
data = bytearray(pages << 12)
for i in range(pages):
    data[i << 12] = i & 255
child = os.fork()
for i in range(pages):
    assert data[i << 12] == i & 255
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for i in range(pages):
    assert data[i << 12] == i & 255
print(os.getpid())
EOF
run 0 '^[0-9]+$' --trace "$work/fork.lpt" -- "$(python3 -c 'import sys; print(sys.executable)')" "$work/fork.py"
parent=$(cat "$work/out")
text "$work/fork.lpt"
check "another process is in the trace" test "$(awk -F, 'NF == 6 && $5 < 4 { print $3 }' "$work/text" | sort -u)" = "$parent"

# killed: what was recorded can be read, and says that it was cut off
start "$leap" run --local 8M --trace "$work/killed.lpt" -- "$LEAP_TEST_BIN/hold" 64
grown() { [ "$(stat -c %s "$work/killed.lpt" 2>/dev/null || echo 0)" -gt 100000 ]; }
check "nothing is written while it runs" until_true 20 grown
expect 125 'another process is recording into' "$leap" run --trace "$work/killed.lpt" true
kill -KILL "$pid"
wait "$pid" 2>/dev/null
text "$work/killed.lpt"
check "does not say that it was cut off" test "$(count '^kind=FAULT page_shift=12 flags=43 ')" = 1
check "has no records" test "$(count ',0,2$|,0,3$')" -gt 0
# how many fault threads there were is kept, in both forms; no trace has thousands
printf 'kind=FAULT shards=3\n0,0x1000,7,1,0,0\n' >"$work/shards.txt"
expect 0 - "$leap" trace convert "$work/shards.txt" "$work/shards.lpt"
text "$work/shards.lpt"
check "the number of fault threads is lost" test "$(count '^shards=3$')" = 1
printf '\377\377' | dd of="$work/shards.lpt" bs=1 seek=56 conv=notrunc status=none
expect 1 'recorded by 65535 fault threads, it says; no more than 256' "$leap" trace convert --text "$work/shards.lpt" "$work/text"

summary
