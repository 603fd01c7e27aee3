#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Policy replay: the second run of a program that jumps about, but always in the same way, covers more than majority does.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

expect 125 'cannot read the trace /no/such/trace .*no such file' "$leap" run --prefetch replay:/no/such/trace true
expect 125 'is not a trace in the binary form' "$leap" run --prefetch "replay:$0" true
expect 125 'which trace is to be replayed' "$leap" run --prefetch replay true
expect 1 'cannot read the trace' "$leap" sim --policy replay:/no/such/trace random

cat >"$work/jumps.py" <<'EOF'
import random
pages = 6000
data = bytearray(pages << 12)
for page in range(pages):
    data[page << 12] = page & 255
order = list(range(pages))
random.Random(1).shuffle(order)
for _ in range(3):
    for page in order:
        assert data[page << 12] == page & 255
print("right")
EOF
cat >"$work/coverage.py" <<'EOF'
import sys
counted = {}
for line in open(sys.argv[1]):
    words = line.strip().split(",")
    if len(words) == 6 and words[4] == "15":
        counted[int(words[2])] = int(words[1], 16)
print(100 * counted[6] // (counted[3] + counted[6]))
EOF
python=$(python3 -c 'import sys; print(sys.executable)')

# jumps POLICY FILE: the program, recorded; its coverage in per cent is $coverage
jumps() {
	expect 0 '^right$' env PYTHONHASHSEED=0 "$leap" run --local 12M --fault-threads 1 --prefetch "$1" --trace "$2" -- \
		"$python" "$work/jumps.py"
	"$leap" trace convert --text "$2" "$work/text" || fail "no trace of a run with $1"
	coverage=$(python3 "$work/coverage.py" "$work/text")
	echo "$1: $coverage % of what was not local was prefetched"
}
jumps none "$work/none.lpt"
checks=$((checks + 1))
[ "$coverage" = 0 ] || fail "something was prefetched without a policy"
jumps majority "$work/majority.lpt"
majority=$coverage
jumps "replay:$work/none.lpt" "$work/replay.lpt"
checks=$((checks + 2))
[ "$coverage" -ge $((majority + 30)) ] || fail "replay covers $coverage %, majority $majority %"
[ "$coverage" -ge 50 ] || fail "replay covers $coverage %"

# the simulator runs it, too, and shows its name
expect 0 '^ +none +replay$' "$leap" sim --model runtime --policy "none,replay:$work/none.lpt" "$work/none.lpt"
expect 1 'below the minimum' "$leap" sim --policy majority --min-coverage 50 "$work/none.lpt"
expect 0 '!' "$leap" sim --model runtime --policy "replay:$work/none.lpt" --min-coverage 50 "$work/none.lpt"

# a policy that is changed in a running program opens its trace where the program does not see it: open() gives the lowest number
cat >"$work/lowest.py" <<'EOF'
import os
import sys
flag = sys.argv[1]
first = os.open("/dev/null", os.O_RDONLY)
os.close(first)
other = rounds = 0
while rounds % 1000 or os.path.exists(flag):
    fd = os.open("/dev/null", os.O_RDONLY)
    other += fd != first
    os.close(fd)
    rounds += 1
print("other:", other)
EOF
touch "$work/on"
start_donor --listen tcp://127.0.0.1:0 --memory 256M
start "$leap" run --donor "$donor_uri" --local 32M -- "$python" "$work/lowest.py" "$work/on"
until_true 20 "$leap" ctl "$pid" local || fail "the program did not start"
for _ in $(seq 100); do
	"$leap" ctl "$pid" prefetch="replay:$work/none.lpt" || fail "the policy was not taken"
done
rm "$work/on"
wait "$pid"
expect 0 '^other: 0$' cat "$work/program.out"
stop "$donor_pid"
summary
