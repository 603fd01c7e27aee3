#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# no_rdma.sh SOURCE: builds leap and leap-donor as on a machine without rdma-core (pkg-config does not find it), and
# sees that rdma:// is answered with one clear sentence, and that all else is as ever.
set -eu
source=$1
tmp=$(mktemp -d)
donor=
trap '[ -z "$donor" ] || kill "$donor" 2>/dev/null || true; rm -rf "$tmp"' EXIT
export LEAP_RUN_DIR="$tmp/run"

mkdir "$tmp/pc"
pkg-config --variable pc_path pkg-config | tr : '\n' | while read -r directory; do
	for file in "$directory"/*.pc; do
		case $file in
		*/libibverbs.pc | */librdmacm.pc | */cmocka.pc | */"*.pc") ;;
		*) ln -sf "$file" "$tmp/pc/" ;;
		esac
	done
done
export PKG_CONFIG_LIBDIR="$tmp/pc"
unset PKG_CONFIG_PATH
if ! cmake -S "$source" -B "$tmp/build" -DCMAKE_BUILD_TYPE=Debug >"$tmp/log" 2>&1 ||
	! cmake --build "$tmp/build" --target leap leap-donor leap_preload -j2 >>"$tmp/log" 2>&1; then
	tail -n 40 "$tmp/log"
	exit 1
fi
bin=$tmp/build/bin

# says STATUS PATTERN COMMAND...: it ends with the status, and prints one line, which matches
says() {
	status=0
	wanted=$1
	pattern=$2
	shift 2
	out=$("$@" 2>&1 </dev/null) || status=$?
	echo "$*: $status: $out"
	[ "$status" = "$wanted" ] || { echo "status $wanted was expected"; exit 1; }
	[ "$(echo "$out" | wc -l)" = 1 ] || { echo "one line was expected"; exit 1; }
	echo "$out" | grep -qE "$pattern" || { echo "not matched: $pattern"; exit 1; }
}

grep -q 'rdma-core is not there' "$tmp/log" || { echo "configuring does not say that rdma-core is missing"; exit 1; }
says 125 'donor rdma://127\.0\.0\.1.*built without RDMA; build it with libibverbs-dev and librdmacm-dev installed, or use tcp://' \
	"$bin/leap" run --donors rdma://127.0.0.1:9400 -- true
says 1 'cannot listen on rdma 127\.0\.0\.1 port 9400: this leap-donor was built without RDMA; .* or listen on tcp://' \
	"$bin/leap-donor" --listen rdma://127.0.0.1:9400
"$bin/leap" probe | grep -E 'rdma .*this build has no RDMA' || { echo "leap probe does not say so"; exit 1; }

# auto:// and the short form take TCP
"$bin/leap-donor" --listen tcp://127.0.0.1:0 --memory 256M 2>"$tmp/donor.log" &
donor=$!
for _ in $(seq 100); do
	grep -q 'ready on' "$tmp/donor.log" && break
	sleep 0.1
done
port=$(sed -n 's/.*ready on tcp:.*:\([0-9]*\)$/\1/p' "$tmp/donor.log")
out=$("$bin/leap" run --donors "auto://127.0.0.1:$port" --log-level info -- echo served 2>"$tmp/err")
if [ "$out" != served ] || ! grep -E 'tcp is taken, because: .*built without RDMA' "$tmp/err"; then
	cat "$tmp/err" "$tmp/donor.log"
	exit 1
fi
