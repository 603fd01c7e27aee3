#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test.sh BUILD LIBDIR: installs BUILD under a fresh directory, moves it, and builds a C and a C++ program against
# it, through pkg-config (shared and static) and through find_package(Leap). Runs them, and the installed leap.
set -eu
build=$1
libdir=$2
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export LEAP_RUN_DIR="$tmp/run"

DESTDIR="$tmp/first" cmake --install "$build" --prefix /opt/leap >"$tmp/install.log" || {
	cat "$tmp/install.log"
	exit 1
}
mv "$tmp/first/opt/leap" "$tmp/leap" # a package must work where it is put
prefix=$tmp/leap
for file in bin/leap bin/leap-donor "$libdir/libleap.so" "$libdir/libleap.a" "$libdir/libleap_preload.so" \
	include/leap.h "$libdir/pkgconfig/leap.pc" "$libdir/cmake/Leap/LeapConfig.cmake" share/man/man8/leap-donor.8; do
	[ -e "$prefix/$file" ] || { echo "not installed: $file"; exit 1; }
done

export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
export LD_LIBRARY_PATH="$prefix/$libdir"
warn="-Wall -Wextra -pedantic -Werror"
cp "$here/consumer.c" "$tmp/consumer.cpp"

echo "pkg-config, C:"
# shellcheck disable=SC2046,SC2086
cc $warn -std=c11 -o "$tmp/c" "$here/consumer.c" $(pkg-config --cflags --libs leap)
"$tmp/c"
echo "pkg-config, C, static:"
# shellcheck disable=SC2046,SC2086
cc $warn -std=c11 -o "$tmp/static" "$here/consumer.c" $(pkg-config --cflags leap) "$prefix/$libdir/libleap.a" \
	$(pkg-config --static --libs liburing liblz4) -pthread
(unset LD_LIBRARY_PATH; "$tmp/static")
echo "pkg-config, C++:"
# shellcheck disable=SC2046,SC2086
c++ $warn -std=c++17 -o "$tmp/cxx" "$tmp/consumer.cpp" $(pkg-config --cflags --libs leap)
"$tmp/cxx"

echo "find_package:"
mkdir "$tmp/project"
cp "$here/consumer.c" "$tmp/consumer.cpp" "$tmp/project/"
cp "$here/consumer.txt" "$tmp/project/CMakeLists.txt"
cmake -S "$tmp/project" -B "$tmp/project/build" -DCMAKE_PREFIX_PATH="$prefix" >"$tmp/cmake.log" 2>&1 &&
	cmake --build "$tmp/project/build" >>"$tmp/cmake.log" 2>&1 || {
	cat "$tmp/cmake.log"
	exit 1
}
for program in consumer_c consumer_static consumer_cxx; do
	"$tmp/project/build/$program"
done

echo "only public names:"
nm -D --defined-only "$prefix/$libdir/libleap.so" | awk '$2 ~ /[TDBRW]/ && $3 !~ /^leap_/ { print; bad = 1 } END { exit bad }'
echo "installed leap run:"
out=$("$prefix/bin/leap" run --local 16M -- sh -c 'echo managed')
[ "$out" = managed ] || { echo "leap run printed: $out"; exit 1; }
