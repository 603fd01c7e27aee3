# SPDX-License-Identifier: Apache-2.0
# bash: pipelines, substitutions, functions, arrays, background jobs, traps, here documents
f() { local n=$1; [ $n -le 0 ] && { echo 0; return; }; echo $(($(f $((n - 1))) + n)); }
f 25
declare -A map
for i in $(seq 1 20000); do map[k$((i * 7 % 1009))]+=$i; done
for k in "${!map[@]}"; do echo "$k ${#map[$k]}"; done | sort | md5sum
for i in $(seq 1 60); do (echo $i | cat | sed 's/$/!/') ; done | tail -1
for i in 1 2 3 4; do (sleep 0.0$i; exit $i) & done
s=0; for j in $(jobs -p); do wait $j; s=$((s + $?)); done; echo $s
diff <(seq 1 1000) <(seq 1 1001) | head -3
trap 'echo got it' USR1; kill -USR1 $$
x=$(seq 1 100000); echo ${#x}
while read -r a b; do s=$((s + a)); done < <(seq 1 5000); echo $s
cat <<EOT | wc -c
$(seq 1 10000)
EOT
exec 5>five; echo five >&5; exec 5>&-; cat five
