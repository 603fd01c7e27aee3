#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leap probe: for this user, and for one who may less.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

# $1: what must be true of the JSON in $work/out
judge() {
	checks=$((checks + 1))
	python3 - "$work/out" "$1" >"$work/why" 2>&1 <<'EOF' || fail "not so: $1: $(tail -n 1 "$work/why")"
import json, sys
report = json.load(open(sys.argv[1]))
state = {f["group"] + "/" + f["name"]: f["state"] for f in report["findings"]}
remedy = {f["group"] + "/" + f["name"]: f.get("remedy", "") for f in report["findings"]}
cost, auto = report["fault_cost_ns"], report["auto"]
sys.exit(not eval(sys.argv[2]))
EOF
}

expect 2 "'x' is not expected" "$leap" probe x
expect 0 '^Usage: leap probe' "$leap" probe --help
expect 0 'auto takes front end (busy|block) .* and mover (move|wp)' "$leap" probe
expect 0 '!' "$leap" probe --json
judge 'report["usable"] is True'
judge 'state["leap/preload"] == state["leap/donor"] == "ok"'
judge 'all(200 < cost[k] < 10**7 for k in ("block", "busy", "inline"))'
judge 'auto["frontend"] in ("busy", "block") and auto["mover"] in ("move", "wp")'
judge 'auto["mover"] == "wp" or state["userfaultfd/move"] == "ok"'
judge 'not any(remedy[k] for k in state if state[k] == "ok")'

"$LEAP_TEST_BIN/forbid" 1 true
if [ $? != 77 ]; then
	expect 1 '!' "$LEAP_TEST_BIN/forbid" 1 "$leap" probe --json
	judge 'report["usable"] is False and state["userfaultfd/access"] == "missing"'
	judge 'remedy["userfaultfd/access"] and auto["frontend"] == "none" and cost["block"] is None'
	expect 1 '^ +! access' "$LEAP_TEST_BIN/forbid" 1 "$leap" probe
	expect 1 '!' "$LEAP_TEST_BIN/forbid" 38 "$leap" probe --json
	judge '"5.7" in remedy["userfaultfd/access"]'
fi
if [ "$(id -u)" = 0 ] && [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 0 ]; then
	mkdir -p "$work/copy/bin"
	cp "$leap" "$work/copy/bin"
	chmod -R a+rX "$work"
	nobody() { expect "$1" "$2" setpriv --reuid 65534 --regid 65534 --clear-groups "${@:3}"; }
	LEAP_RUN_DIR=/nowhere nobody 1 '!' "$work/copy/bin/leap" probe --json
	judge 'state["userfaultfd/access"] == "missing" and "vm.unprivileged_userfaultfd=1" in remedy["userfaultfd/access"]'
	judge 'state["userfaultfd/user-mode-only"] == "ok" and state["leap/preload"] == "missing"'
	judge 'state["leap/run-directory"] == "limited"'
fi
expect 1 '!' bash -c "ulimit -n 30; exec '$leap' probe --json"
judge 'state["limits/open-files"] == "missing" and "ulimit -n" in remedy["limits/open-files"]'
summary
