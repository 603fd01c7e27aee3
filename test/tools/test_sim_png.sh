#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leap sim --png: the data that gnuplot gets, the pictures that it draws, and what is said when there can be none.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

check() {
	checks=$((checks + 1))
	"${@:2}" || fail "$1"
}

# In place of gnuplot: keeps what it is told.
mkdir "$work/bin" "$work/none"
printf '#!/bin/sh\necho "$@" >%s\nexec cat >%s\n' "'$work/words'" "'$work/script'" >"$work/bin/gnuplot"
chmod +x "$work/bin/gnuplot"
ln -s "$(command -v sh)" "$work/none/sh"
told() { expect 0 '^Coverage' env PATH="$work/bin:$PATH" "$leap" sim --png "$work/told.png" "$@"; }
# data BLOCK: the lines of that block of data
data() { awk -v name="\$$1" '$1 == name && $2 == "<<" { on = 1; next } $1 == "END" { on = 0 } on' "$work/script"; }
blocks() { grep -o '^\$[a-z]*[0-9]* <<' "$work/script" | tr -d '$<\n'; }
# is BLOCK COLUMN FROM VALUE: from line FROM of the block on, the column is the value, in at least 100 lines
is() {
	check "$1: column $2 is not $4: $(data "$1" | sed -n "$3,\$p" | cut -d' ' -f"$2" | sort | uniq -c | head -n 4 | tr '\n' ' ')" \
		awk -v column="$2" -v from="$3" -v value="$4" \
		'NR >= from { n++; if ($column != value) bad = 1 } END { exit bad || n < 100 }' <(data "$1")
}

# what policies believe, and where they are
told --hits cache --policy majority sequential
is samples0 2 3 8
is samples0 3 3 1
told --hits cache --policy majority,nextn stride-10
is samples0 2 3 8
is samples0 3 3 10
is samples1 2 1 8
is samples1 3 1 1
told --hits cache --policy majority backward
is samples0 3 3 -1
told --hits cache --history-key stream --policy majority alternating-2
is samples0 3 5 1
told --model runtime --hits cache --policy majority stride-10
is samples0 3 3 10
check "windows of the runtime's model" awk '$2 == 8 { n++ } $2 > 8 { bad = 1 } END { exit bad || n < 0.99 * NR }' <(data samples0)

# samples are even over the trace, and no more than are wanted; the last is the end
told --accesses 1000003 --policy nextn sequential
check "$(data samples0 | wc -l) samples" test "$(data samples0 | wc -l)" -le 2001 -a "$(data samples0 | wc -l)" -ge 1990
check "uneven" awk 'NR > 2 && last && $1 - before != step && $1 < 1000003 { bad = 1 } NR > 1 { step = $1 - before; last = 1 } { before = $1 }
	END { exit bad || before != 1000003 }' <(data samples0)

# the points are the figures of the table
told --policy none,nextn,majority,oracle --json="$work/json" csr
check "blocks: $(blocks)" test "$(blocks)" = 'points0 points1 samples1 points2 samples2 points3 '
/usr/bin/python3 - "$work/json" >"$work/wanted" <<'END'
import json, sys
for i, p in enumerate(json.load(open(sys.argv[1]))[0]["policies"]):
    if p["added_pages"]:
        print(i, "%.2f %.2f" % (p["accuracy_percent"], p["coverage_percent"]))
END
for k in 0 1 2 3; do
	data points$k | awk -v k=$k '{ printf "%d %.2f %.2f\n", k, $1, $2 }'
done >"$work/points"
check "$(diff "$work/wanted" "$work/points")" cmp -s "$work/wanted" "$work/points"
check "what brought nothing is not told" grep -q "label 'brought nothing'" "$work/script"
told --policy nextn,oracle all
check "not a point for each input" test "$(data points0 | wc -l)" = "$("$leap" sim --list | wc -l)"
check "windows of many inputs: $(blocks)" test "$(blocks)" = 'points0 points1 '
told --policy nextn sequential csr
check "names of few inputs" grep -q "^set label ''\.'csr'" "$work/script"
check "gnuplot with a user's settings: $(cat "$work/words")" grep -qx -- -d "$work/words"

# a recorded trace, with a name that gnuplot could take for something else
seq 1 200000 | sort -R --random-source=<(yes) >"$work/lines"
trace="$work/it's \`a\` \"\$b\".lpt"
expect 0 - "$leap" trace record -o "$trace" --local 8M -- sort -S 64M -o "$work/sorted" "$work/lines"
told --model runtime --policy majority,adaptive "$trace"
check "no samples of a recorded trace" test "$(data samples1 | wc -l)" -ge 10
check "not in seconds" grep -q "xlabel 'seconds'" "$work/script"

# pictures
# drawn COMMAND...: draws $work/p.png, and gnuplot has nothing to say
drawn() {
	rm -f "$work/it's p.png"
	expect 0 '^Coverage' "$leap" sim --png "$work/it's p.png" "$@"
	check "gnuplot: $(cat "$work/err"): $*" test ! -s "$work/err"
	check "no picture: $*" test "$(head -c 4 "$work/it's p.png" | tail -c 3)" = PNG
}
if command -v gnuplot >/dev/null; then
	drawn sequential
	drawn changing-stride --hits cache
	drawn all
	drawn sequential csr noise-30
	drawn --policy none csr
	drawn --policy none,oracle csr noise-50
	drawn --accesses 1 csr
	drawn --model runtime --policy none,majority,streams,adaptive "$trace"
fi

# what can go wrong
expect 1 '/no/such/p.png: cannot be written \(No such' "$leap" sim --png /no/such/p.png csr
expect 1 "$work: cannot be written \(Is a dir" "$leap" sim --png "$work" csr
expect 1 '/no/such/p.png: cannot be written' "$leap" trace view --png /no/such/p.png csr
expect 1 'gnuplot is not there' env PATH="$work/none" "$leap" sim --png "$work/not.png" csr
check "a file without a picture" test ! -e "$work/not.png"
printf '#!/bin/sh\nexit 3\n' >"$work/bin/gnuplot"
expect 1 "gnuplot could not draw $work/told.png" env PATH="$work/bin:$PATH" "$leap" sim --png "$work/told.png" csr
expect 2 'png' "$leap" sim --png
summary
