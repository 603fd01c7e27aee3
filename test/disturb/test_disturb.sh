#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test_disturb.sh: the disturber disturbs, passes its command's status on, and puts back what it changed, also when it is killed.
set -u
disturb=$(dirname "$0")/disturb.py
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
	echo "FAILED: $*" >&2
	failures=$((failures + 1))
}

# What only root can change, and nobody else changes now.
settings() {
	[ "$(id -u)" = 0 ] || return 0
	cat /sys/kernel/mm/transparent_hugepage/enabled \
		/sys/kernel/mm/transparent_hugepage/khugepaged/{scan_sleep_millisecs,alloc_sleep_millisecs,pages_to_scan} \
		/sys/kernel/mm/ksm/{run,sleep_millisecs,pages_to_scan} 2>/dev/null
	grep -o "^[^ ]*leap-disturb[^ ]*" /proc/swaps
	find /var/tmp -maxdepth 1 -name "leap-disturb-*"
}

# until_same: waits until all is as before, which takes the time of swapoff.
until_same() {
	local _
	for _ in $(seq 100); do
		settings | cmp -s - "$work/before" && return
		sleep 0.1
	done
	fail "$1: the settings are not as before"
	settings | diff "$work/before" - >&2
}

settings >"$work/before"
"$disturb" -- sh -c 'sleep 2; exit 7' 2>"$work/said"
[ $? = 7 ] || fail "the command's status is not passed on"
grep '^disturb:' "$work/said" || fail "it does not say what it did: $(cat "$work/said")"
grep -q 'another disturber' "$work/said" && {
	echo "skipped: another disturber is at work"
	exit 77
}
until_same "after its end"
if [ "$(id -u)" = 0 ]; then
	grep -q '^disturb: .*migration.*: [1-9][0-9]* pages migrated' "$work/said" || fail "nothing was migrated"
else
	grep -q 'left out: .*migration' "$work/said" || fail "what is not allowed is not named"
fi

# Both ways to die: by a signal that it hears, and by one that it does not.
for signal in TERM KILL; do
	sleep 60 &
	victim=$!
	"$disturb" --ready --pid $victim >"$work/ready" 2>/dev/null &
	pid=$!
	for _ in $(seq 300); do
		[ -s "$work/ready" ] && break
		sleep 0.1
	done
	[ -s "$work/ready" ] || fail "it did not get ready"
	if [ "$(id -u)" = 0 ]; then
		settings | cmp -s - "$work/before" && fail "no setting was changed"
	fi
	kill -$signal $pid
	wait $pid 2>/dev/null
	until_same "after SIG$signal"
	kill $victim
	wait $victim 2>/dev/null
done
echo "$failures failures"
[ $failures = 0 ]
