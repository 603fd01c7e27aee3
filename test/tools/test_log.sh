#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Where the pager's sentences go, and that nobody waits for them.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
words=$LEAP_TEST_BIN/words
cd "$work" || exit 1

# a program that closes its stderr, or all that it does not know, and opens a file of its own
start_donor --listen tcp://127.0.0.1:0 --memory 1G
expect 0 '^own file: 0 bytes$' "$leap" run --local 8M --donors "$donor_uri" -- "$words" reopen 2 "$donor_pid"
start_donor --listen tcp://127.0.0.1:0 --memory 1G
expect 0 '^own file: 0 bytes$' "$leap" run --local 8M --log-file "$work/said" --donors "$donor_uri" -- "$words" reopen 3 "$donor_pid"
grep -q 'is lost' "$work/said" || fail "nothing in the log file: $(cat "$work/said")"
# a file as stderr: the sentence is there, whatever the program has for a 2
start_donor --listen tcp://127.0.0.1:0 --memory 1G
"$leap" run --local 8M --donors "$donor_uri" -- "$words" reopen 2 "$donor_pid" 2>"$work/said.err" >/dev/null
grep -q 'is lost' "$work/said.err" || fail "nothing on the stderr of the start: $(cat "$work/said.err")"

# a thread of the program holds the lock of the pipe, or of the file, that the sentence goes to
locked() {
	checks=$((checks + 1))
	rm -f result
	start_donor --listen tcp://127.0.0.1:0 --memory 1G
	"$leap" run --local 8M --donors "$donor_uri" -- "$words" locked "$donor_pid" 2>&1 | cat >"$work/stream"
	grep -q '^write ended' result || fail "$1: the write did not end"
}
locked pipe
checks=$((checks + 1))
rm -f result
start_donor --listen tcp://127.0.0.1:0 --memory 1G
"$leap" run --local 8M --donors "$donor_uri" -- "$words" locked "$donor_pid" >"$work/stream" 2>&1
grep -q '^write ended' result || fail "file: the write did not end"

# the reader of a pipe waits for its end, not for that of a program that gave the pipe up
checks=$((checks + 1))
{ "$leap" run --local 8M -- "$words" gone 20000 2>&1 >/dev/null & } | cat
kill "$(cat pid)" || fail "the pager keeps a pipe that its program gave up"
summary
