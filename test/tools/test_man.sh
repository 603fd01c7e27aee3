#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# man/leap.1 against what the program says: the same options with the same defaults, every command, every flag.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
page=${LEAP_SOURCE:?}/man/leap.1

# "--name default|live" of each option of the table
from_help() {
	"$leap" run --help | python3 -c '
import re, sys
text = sys.stdin.read().split("Options of the session.")[1]
for block in re.split(r"\n  (?=--)", text)[1:]:
    name = re.match(r"--([a-z-]+)", block).group(1)
    words = " ".join(block.split())
    default = re.search(r"\((?:[a-z|]+; )?(?:default (\S+?)|no default)(; live)?\)$", words)
    assert default, words
    print(name, default.group(1) or "-", "live" if default.group(2) else "")'
}
from_man() {
	python3 - "$page" <<'EOF'
import re, sys
text = open(sys.argv[1]).read().replace("\\-", "-")
text = text.split(".SS Options of the session")[1].split("\n.SH ")[0].split("\n.SS ")[0]
for block in text.split("\n.TP\n")[1:]:
    name = re.match(r'\.BI? "?--([a-z-]+)', block).group(1)
    words = " ".join(block.split())
    default = re.search(r"(?:Default: (\S+?)|No default)(\. Live)?\.$", words)
    assert default, words
    print(name, default.group(1) or "-", "live" if default.group(2) else "")
EOF
}
checks=$((checks + 1))
from_help >"$work/help" || fail "leap run --help cannot be read"
from_man >"$work/man" || fail "man/leap.1 cannot be read"
[ "$(wc -l <"$work/help")" -ge 25 ] || fail "only $(wc -l <"$work/help") options found"
diff "$work/help" "$work/man" >&2 || fail "leap run --help (<) and man/leap.1 (>) differ"

# every command, and every flag of its own
plain=$(sed 's/\\-/-/g' "$page")
for command in $("$leap" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
	checks=$((checks + 1))
	grep -q "^\.SS leap $command" <<<"$plain" || fail "man/leap.1 has no section 'leap $command'"
	help=("$leap" "$command" --help)
	[ "$command" != bench ] || help=("$leap" bench micro --help)
	for flag in $("${help[@]}" | sed '/^Options of the session/,$d' | grep -o '^  --[a-z-]*'); do
		grep -q -e "^\.BI\? \"\?$flag\b" <<<"$plain" || fail "man/leap.1 does not tell of leap $command $flag"
	done
done
if command -v man >/dev/null; then
	checks=$((checks + 1))
	LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings -E UTF-8 -l "$page" 2>"$work/warnings" >/dev/null
	[ ! -s "$work/warnings" ] || fail "man: $(head -n 3 "$work/warnings")"
fi
summary
