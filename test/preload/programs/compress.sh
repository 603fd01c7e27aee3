# SPDX-License-Identifier: Apache-2.0
# gzip, xz, bzip2, zstd, tar: there and back
set -e
mkdir tree
seq 1 60000 | awk '{ print $1 * $1 % 1000003, "text of line", $1 }' >tree/a
head -c 800000 tree/a | rev >tree/b
for i in 1 2 3 4 5; do mkdir -p tree/d$i; head -c ${i}0000 tree/b >tree/d$i/f; done
tar cf t.tar --sort=name --mtime=@0 --owner=0 --group=0 tree
md5sum <t.tar
for c in 'gzip -n -6' 'xz -1' bzip2 'zstd -q -5'; do
	command -v ${c%% *} >/dev/null || continue
	$c -c <t.tar >t.packed
	md5sum <t.packed
	${c%% *} -dc <t.packed | md5sum
done
mkdir out && tar xf t.tar -C out && (cd out && find . -type f | sort | xargs md5sum)
