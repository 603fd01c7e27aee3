#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leap trace record, view and convert.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

count() { grep -Ec -- "$1" "$work/text"; }
check() {
	checks=$((checks + 1))
	"${@:2}" || fail "$1"
}
seq 1 300000 | sort -R --random-source=<(yes) >"$work/lines"

# record is run --trace; view tells what is in it
expect 125 'say: leap trace record -o FILE' "$leap" trace record sort -o "$work/sorted"
expect 125 'cannot create /no/such/f' "$leap" trace record -o /no/such/f true
expect 127 'there is no program .no-such-program' "$leap" trace record -o "$work/rec.lpt" no-such-program
expect 0 - "$leap" trace record -o "$work/rec.lpt" --local 8M --prefetch majority -- sort -S 64M -o "$work/sorted" "$work/lines"
expect 0 - "$leap" trace convert --text "$work/rec.lpt" "$work/text"
expect 0 'a trace of faults$' "$leap" trace view "$work/rec.lpt"
cp "$work/out" "$work/view"
# touches BIT OPS: how many records have the bit of flags set and one of the ops
touches() {
	awk -F, -v bit="$1" -v ops="$2" \
		'NF == 6 && $1 + 0 > 0 && index(ops, $5) && int($6 / bit) % 2 { n++ } END { print n + 0 }' "$work/text"
}
pages() { awk -F, -v op="$1" 'NF == 6 && $5 == op { n += $3 } END { print n }' "$work/text"; }
counter() { echo $(($(sed -n "s/^[0-9]*,\(0x[0-9a-f]*\),$1,0,15,0\$/\1/p" "$work/text"))); }
# shows LABEL NUMBER: a line of the summary
shows() { check "'$1' is not $2 in: $(grep -F "$1" "$work/view")" grep -Eq "^ +$1 +$2( |\$)" "$work/view"; }
shows 'records' "$(count '^[0-9]+,0x')"
shows 'records lost while recording' 0
shows 'first touches of new pages' "$(touches 2 0)"
shows 'markers: a window is being used' "$(touches 8 012)"
shows 'writes among them' "$(touches 1 0123)"
shows 'prefetched' "$(pages 5)"
shows 'evicted' "$(pages 4)"
shows 'hits' "$(counter 6)"
shows 'misses' "$(counter 3)"
expect 0 '^ +\+10 +999 +100.0%$' "$leap" trace view --accesses 1000 stride-10
expect 2 'leap trace view has no --text' "$leap" trace view --text "$work/rec.lpt"
expect 2 'leap trace convert has no --png' "$leap" trace convert --png x a b
expect 2 'say: leap trace view INPUT' "$leap" trace
expect 1 'cannot be opened' "$leap" trace view "$work/none.lpt"
if command -v gnuplot >/dev/null; then
	expect 0 'a trace of faults$' "$leap" trace view --png "$work/it's.png" "$work/rec.lpt"
	check "no picture" test "$(head -c 4 "$work/it's.png" | tail -c 3)" = PNG
fi
mkdir "$work/bin"
ln -s "$(command -v sh)" "$work/bin/sh"
PATH_BEFORE=$PATH
PATH=$work/bin "$leap" trace view --png "$work/not.png" "$work/rec.lpt" >/dev/null 2>"$work/err"
check "without gnuplot" test $? = 1
PATH=$PATH_BEFORE
check "without gnuplot: $(cat "$work/err")" grep -q 'gnuplot is not there' "$work/err"

# forms of other programs, in and out
cat >"$work/lackey" <<'END'
==7== Lackey, an example Valgrind tool
I  0023C790,2
 L 1ffeffe7e0,8
 S 1ffeffe7f8,8
 M 0421c7cc,4
END
cat >"$work/fltrace" <<'END'
tstamp,ip,addr,pages,flags,tid,trace
12.5,0,7f0000003000,1,0,77,7f1|7f2|7f3
12.75,0,7f0000004000,1,33,78,
END
cat >"$work/champsim" <<'END'
3, 40, d41f2ff8, 401c63, 0
9, 55, d41f3008, 401c63, 1
END
printf '# pages\n5\n0x6\n' >"$work/pages"
# reads FORM EXPECTED: the records that $work/FORM is read as, with a blank behind each
reads() {
	expect 0 - "$leap" trace convert --from "$1" --text "$work/$1" "$work/text"
	check "$1 is read as $(grep -E '^[0-9]+,0x' "$work/text" | tr '\n' ' ')" \
		test "$(grep -E '^[0-9]+,0x' "$work/text" | tr '\n' ' ')" = "$2"
}
reads lackey '0,0x1ffeffe,0,0,0,1 0,0x421c,0,0,0,1 '
reads fltrace '12500000000,0x7f0000003,77,0,0,0 12750000000,0x7f0000004,78,0,0,1 '
reads champsim '40,0xd41f2,0,0,0,0 55,0xd41f3,0,0,0,0 '
reads pages '0,0x5,0,0,0,0 0,0x6,0,0,0,0 '
expect 0 - "$leap" trace convert --accesses 500 --to pages ladder "$work/there"
for form in pages fltrace lackey champsim; do
	expect 0 - "$leap" trace convert --accesses 500 --to $form ladder "$work/$form"
	expect 0 - "$leap" trace convert --from $form "$work/$form" "$work/binary"
	expect 0 - "$leap" trace convert --to pages "$work/binary" "$work/back"
	check "$form: not the same there and back" cmp -s "$work/there" "$work/back"
	echo 'no, such thing' >>"$work/$form"
	expect 1 "line [0-9]+: not of the form '$form'" "$leap" trace convert --from $form "$work/$form" "$work/back"
done
expect 2 "no form 'x'; there are pages, fltrace" "$leap" trace convert --from x a b
summary
