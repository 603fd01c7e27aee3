#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kernel_core.sh CC: compiles the majority core with the flags of Linux 6.1's build and warnings as errors, without any header but
# linux/types.h, and looks into the object: no undefined symbol, no floating point. What must not pass is tried, too.
set -uo pipefail
cc=$1
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

flags="-std=gnu11 -nostdinc -ffreestanding -D__KERNEL__ -Werror -Wall -Wextra -Wno-unused-parameter -Wundef -Wstrict-prototypes
	-Wmissing-prototypes -Wdeclaration-after-statement -Wvla -Wno-trigraphs -Wno-format-security -Wno-sign-compare
	-Wno-pointer-sign -fno-strict-aliasing -fno-common -fshort-wchar -fno-PIE -fno-delete-null-pointer-checks
	-fno-stack-protector -fno-strict-overflow -fno-asynchronous-unwind-tables"
case $(uname -m) in
x86_64) flags+=" -m64 -mno-sse -mno-mmx -mno-sse2 -mno-3dnow -mno-avx -mno-80387 -mno-red-zone -mcmodel=kernel -fcf-protection=none" ;;
aarch64) flags+=" -mgeneral-regs-only -mabi=lp64" ;;
esac

say() {
	echo "$1"
	failed=1
}

# 0 if kernel_core.c compiles and its object needs nothing.
compiles() {
	# shellcheck disable=SC2086 # flags are words
	"$cc" $flags "$@" -I"$here/kernel" -I"$here/../.." -c "$here/kernel_core.c" -o "$dir/core.o" 2>"$dir/log" || return 1
	[ -z "$(nm -u "$dir/core.o")" ]
}

for level in -O2 -Os -O0; do
	compiles "$level" || {
		cat "$dir/log"
		nm -u "$dir/core.o"
		say "$cc $level: the core does not build as a kernel builds it"
	}
	[ "$(nm "$dir/core.o" | grep -c ' T core_')" = 6 ] || say "$cc $level: not all of the core was compiled"
done
compiles -O2 -include string.h && say "a libc header was found"
compiles -O2 -DWITH_LIBC && say "a call of memset() was not seen"
compiles -O2 -DWITH_FLOAT && say "floating point was not seen"
compiles -O2 -DWITH_WARNING && say "an undefined macro in #if was not seen"
others=$(sed -n 's/^# *include *//p' "$here/../../libleap/prefetch/majority_core.h" | grep -vE '^<(linux/types|stdbool|stdint)\.h>$')
[ -z "$others" ] || say "the core is to be one file, but includes $others"
exit "$failed"
