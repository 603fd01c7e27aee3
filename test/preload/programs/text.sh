# SPDX-License-Identifier: Apache-2.0
# sort, awk, join, uniq, grep on some megabytes of text
set -e
seq 1 150000 | awk '{ x = ($1 * 7919) % 400009; printf "%d %s%d line %d\n", x, "key", x % 1000, $1 }' >text
sort -S 40M text | md5sum
sort -S 40M -n -k1,1 -r text | md5sum
sort -k2,2 text | uniq -c -f 3 | md5sum
awk '{ n[$2]++; sum[$2] += $1; all[NR] = $0 } END { for (k in n) print k, n[k], sum[k] | "sort"; close("sort")
	for (i = NR; i > 0; i -= 1000) print all[i] }' text | md5sum
grep -c 'key7[0-9]* line' text
sort text | sed 's/line/LINE/; s/key\([0-9]*\)/\1/' | tr a-z A-Z | rev | md5sum
