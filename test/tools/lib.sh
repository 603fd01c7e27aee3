# SPDX-License-Identifier: Apache-2.0
# lib.sh - what the tests of the `leap` program share. Sourced with $LEAP_BIN (directory of the programs) and
# $LEAP_TEST_BIN (directory of test helpers) set. Everything a test starts is ended when it exits.
# shellcheck shell=bash disable=SC2034
set -u
: "${LEAP_BIN:?}" "${LEAP_TEST_BIN:?}"
leap=$LEAP_BIN/leap
work=$(mktemp -d "${TMPDIR:-/tmp}/leap-test.XXXXXX") || exit 1
export LEAP_RUN_DIR=$work/run
mkdir -m 700 "$LEAP_RUN_DIR"
for variable in $(compgen -e LEAP_); do
	case $variable in LEAP_RUN_DIR | LEAP_BIN | LEAP_TEST_BIN | LEAP_SOURCE) ;; *) unset "$variable" ;; esac
done
unset LD_PRELOAD
started=()
failures=0
checks=0

finish() {
	local pid
	for pid in "${started[@]}"; do
		kill -CONT "$pid" 2>/dev/null
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap finish EXIT

fail() {
	echo "FAILED: $*" >&2
	failures=$((failures + 1))
}

# expect STATUS PATTERN COMMAND...: the exit status, and an extended regular expression that the output (both
# streams) must match; PATTERN - : no output at all; ! : whatever. No more than one line may go to stderr when it fails.
expect() {
	local status=$1 pattern=$2 got
	shift 2
	checks=$((checks + 1))
	timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null
	got=$?
	cat "$work/out" "$work/err" >"$work/both"
	if [ $got != "$status" ]; then
		fail "status $got, not $status: $*"
		sed 's/^/    /' "$work/both" >&2
	elif [ "$pattern" = - ]; then
		[ ! -s "$work/both" ] || fail "said something: $*: $(head -n 3 "$work/both")"
	elif [ "$pattern" != '!' ] && ! grep -Eq -- "$pattern" "$work/both"; then
		fail "no /$pattern/ from: $*"
		sed 's/^/    /' "$work/both" >&2
	elif [ $got != 0 ] && [ "$(wc -l <"$work/err")" -gt 1 ]; then
		fail "more than one sentence: $*"
		sed 's/^/    /' "$work/err" >&2
	fi
}

# until_true SECONDS COMMAND...: tries again until it succeeds.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			return 1
		fi
		sleep 0.05
	done
}

# start_donor OPTION...: sets $donor_pid and $donor_uri (the first address).
start_donor() {
	: >"$work/donor.log"
	"$LEAP_BIN/leap-donor" "$@" 2>"$work/donor.log" &
	donor_pid=$!
	started+=("$donor_pid")
	if ! until_true 10 grep -q 'ready on' "$work/donor.log"; then
		cat "$work/donor.log" >&2
		fail "the donor did not start: $*"
	fi
	donor_uri=$(sed -n 's/.*ready on \([^ ]*\).*/\1/p' "$work/donor.log")
}

# start COMMAND...: in the background; sets $pid.
start() {
	: >"$work/program.out"
	"$@" >"$work/program.out" 2>"$work/program.err" &
	pid=$!
	started+=("$pid")
}

# stop PID: ends one and waits.
stop() {
	kill "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

summary() {
	if [ $checks = 0 ]; then
		fail "nothing was checked"
	fi
	echo "$checks checks, $failures failures"
	[ $failures = 0 ]
}
