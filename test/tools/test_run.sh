#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# leap run: options, what it hands on, and what bad input and bad luck get before the program starts.
# shellcheck source-path=SCRIPTDIR disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

run() { expect "$1" "$2" "$leap" run "${@:3}"; }
program=(touch "$work/started")
printf '#!/bin/sh\ntrue\n' >"$work/shell-script"
chmod 755 "$work/shell-script"

# what goes through
run 0 '^hello$' -- echo hello
run 0 '^hello$' --local 64M echo hello
run 0 '^--local$' -- echo --local
run 7 - -- sh -c 'exit 7'
run 0 - --check echo hello
run 0 '^Usage: leap run' --help
run 0 'LEAP_LOCAL=33%' --local 33% -- env
run 0 'LEAP_ON_LOSS=abort' --on-loss=abort -- env
run 0 'LEAP_FOLLOW_EXEC=on' --follow-exec env
run 0 'LEAP_FOLLOW_EXEC=off' --follow-exec off env
run 0 'LEAP_FOLLOW_EXEC=off' --follow-exec=off env
expect 0 '^LEAP_LOCAL=20%' env LEAP_LOCAL=20% "$leap" run env
expect 0 '^LEAP_LOCAL=30%' env LEAP_LOCAL=nonsense "$leap" run --local 30% env
# the library goes in front of what is preloaded already, and only once
cp "$LEAP_TEST_BIN/../../lib/libleap.so.0" "$work/other.so" || fail "no library to preload"
expect 0 "^LD_PRELOAD=[^:]*/libleap_preload.so:$work/other.so$" \
	env LD_PRELOAD="$work/other.so" "$leap" run --follow-exec env
expect 0 "^LD_PRELOAD=[^:]*/libleap_preload.so:$work/other.so$" \
	env LD_PRELOAD="/nowhere/libleap_preload.so:$work/other.so" "$leap" run --follow-exec env
# programs that it starts run without leap, unless told otherwise
run 0 - -- sh -c "env | grep LD_PRELOAD; true"
run 0 'LD_PRELOAD=.*libleap_preload.so' --follow-exec -- sh -c "env | grep LD_PRELOAD"

# options
run 125 'local: a limit of 4K is below the minimum; give at least 8M' --local 4K true
run 125 "local: '12x' cannot be understood; write a size" --local 12x true
run 125 'local: a share of 0% is out of bounds' --local 0% true
run 125 "no option 'lokal'; did you mean 'local'" --lokal 1G true
run 125 "no option 'frobnicate'" --frobnicate true
run 125 '--local needs a value' --local
run 125 '--check takes no value' --check=1 true
run 125 "recycle: 'maybe' cannot be understood; write on or off" --recycle=maybe true
run 125 "no policy 'clairvoyant'; take one of" --prefetch clairvoyant true
run 125 'history_split \(64\) is larger than history_size' --history-split 64 true
run 125 'log_file: cannot write .*No such file' --log-file "$work/no/such/log" true
run 125 'no program is named'
expect 125 "LEAP_LOCAL: .*'nonsense' cannot be understood" env LEAP_LOCAL=nonsense "$leap" run true

# programs
run 127 "no program 'no-such-program'" no-such-program
run 127 'no program /no/such/program' /no/such/program
run 127 "name is empty" ''
run 126 'is a directory' /tmp
printf 'text' >"$work/text"
run 126 'not executable for this user; .chmod \+x' "$work/text"
run 126 'statically linked; .*use a dynamically linked build' "$LEAP_TEST_BIN/static"
printf '#!/no/such/interpreter\n' >"$work/script"
chmod 755 "$work/script"
run 126 'interpreter /no/such/interpreter is missing' "$work/script"
printf '#!%s\n' "$LEAP_TEST_BIN/static" >"$work/script"
run 126 'statically linked' "$work/script"
run 0 'warning: .* is a script for sh: the programs that it starts run without Leap' "$work/shell-script"
run 0 - --follow-exec "$work/shell-script"
# the kernel's 32-bit and foreign images
{ printf '\177ELF\001\001\001'; head -c 200 /dev/zero; } >"$work/elf32"
chmod 755 "$work/elf32"
run 126 'not a 64-bit x86 program' "$work/elf32"
# env(1) in a script's first line is looked through: the interpreter itself is managed
mkdir "$work/path"
cat >"$work/path/show" <<'EOF'
#!/usr/bin/env -S sh -u
grep -c libleap_preload /proc/$$/maps
echo "$0 $*"
EOF
chmod 755 "$work/path/show"
expect 0 "^[1-9]" env PATH="$work/path:$PATH" "$leap" run show a b
expect 0 "path/show a b$" env PATH="$work/path:$PATH" "$leap" run show a b
if [ "$(id -u)" = 0 ]; then
	cp /bin/true "$work/setuid"
	chown 65534 "$work/setuid"
	chmod 4755 "$work/setuid"
	run 126 'set-uid; the system ignores LD_PRELOAD' "$work/setuid"
fi

# donors
run 125 'connection refused; is leap-donor running there' --donors tcp://127.0.0.1:1 "${program[@]}"
run 125 'connect to donor shm:nobody.*no socket; is leap-donor running on this machine' --donors shm:nobody "${program[@]}"
run 125 'write tcp://host:port, with two slashes' --donors tcp:host "${program[@]}"
run 125 'port "99999" is not a number from 1 to 65535' --donors tcp://host:99999 "${program[@]}"
run 125 'no transport "smoke"; known are' --donors smoke://host "${program[@]}"
run 125 '2 donors are announced, but 1 listed' --donors tcp://2,127.0.0.1:1 "${program[@]}"
run 125 'no-such-host.invalid' --donors tcp://no-such-host.invalid:9400 "${program[@]}"
odd() {
	start "$LEAP_TEST_BIN/odd_donor" "$1"
	until_true 10 test -s "$work/program.out" || fail "odd_donor $1 did not start"
	uri=tcp://127.0.0.1:$(cat "$work/program.out")
}
odd version
run 125 'donor version 2' --donors "$uri" "${program[@]}"
odd web
run 125 "$uri" --donors "$uri" "${program[@]}"
odd closes
run 125 "$uri" --donors "$uri" "${program[@]}"
odd silent
run 125 "$uri.*(deadline|answer|within)" --deadline 300ms --donors "$uri" "${program[@]}"

# a donor that is full: its only slab is taken by another program
start_donor --listen tcp://127.0.0.1:0 --memory 64M --log-level error
start "$leap" run --local 8M --donors "$donor_uri" "$LEAP_TEST_BIN/hold" 40 1000
holder=$pid
until_true 20 grep -q filled "$work/program.out" || fail "hold did not fill: $(cat "$work/program.err")"
full() { "$leap" run --check --donors "$donor_uri" true 2>&1 | grep -q 'is full'; }
until_true 20 full || fail "the donor is never full"
run 125 'donor tcp://.* is full: nothing can be borrowed; start another donor, or give this one more memory' --donors "$donor_uri" "${program[@]}"
run 125 'all donors are full, tcp://' --donors "$donor_uri,$donor_uri" "${program[@]}"
run 0 'warning: donor tcp://.* is full' --check --donors "$donor_uri,loop:" "${program[@]}"
stop "$holder"
free() { "$leap" run --check --donors "$donor_uri" true; }
until_true 20 free || fail "the donor stays full after its client has gone"
run 0 '^right$' --donors "$donor_uri" -- echo right
stop "$donor_pid"
run 125 'connection refused' --donors "$donor_uri" "${program[@]}"

# limits
expect 125 'limit on open files is 20, .*ulimit -n 1024' bash -c "ulimit -n 20; exec '$leap' run ${program[*]}"
expect 125 'limit of [0-9]+ MiB \(ulimit -v\); raise it, or give a smaller --heap-reserve' \
	bash -c "ulimit -v 8000000; exec '$leap' run ${program[*]}"
run 125 'neither UFFDIO_MOVE nor write-protection: Linux 5.7 or later' --uffd-features 0x0 "${program[@]}"
run 125 'mover=move needs UFFDIO_MOVE' --uffd-features 0x1 --mover move "${program[@]}"
run 125 'mover=wp needs write-protection' --uffd-features 0x10000 --mover wp "${program[@]}"

# userfaultfd
"$LEAP_TEST_BIN/forbid" 1 true
if [ $? != 77 ]; then
	expect 125 'userfaultfd is not allowed here .*sysctl vm.unprivileged_userfaultfd=1' \
		"$LEAP_TEST_BIN/forbid" 1 "$leap" run "${program[@]}"
	expect 125 'this kernel has no userfaultfd: it needs Linux 5.7' \
		"$LEAP_TEST_BIN/forbid" 38 "$leap" run "${program[@]}"
fi
if [ "$(id -u)" = 0 ] && [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 0 ]; then
	mkdir -p "$work/copy/bin" "$work/copy/lib"
	cp "$leap" "$work/copy/bin" && cp "$LEAP_BIN/../lib/libleap_preload.so" "$work/copy/lib"
	chmod -R a+rX "$work" "$work/copy"
	expect 125 'faults inside system calls.*setfacl -m u:65534:rw /dev/userfaultfd' \
		setpriv --reuid 65534 --regid 65534 --clear-groups "$work/copy/bin/leap" run true
	# installed without its library
	rm "$work/copy/lib/libleap_preload.so"
	expect 125 'cannot find libleap_preload.so' "$work/copy/bin/leap" run true
fi

# none of the failures started the program
[ ! -e "$work/started" ] || fail "a program was started all the same"
for bad in '--local 4K' '--donors tcp://127.0.0.1:1' '--uffd-features 0x0' '--prefetch x'; do
	# shellcheck disable=SC2086
	run 125 '!' $bad "${program[@]}"
done
[ ! -e "$work/started" ] || fail "a program was started all the same"
run 0 - "${program[@]}"
[ -e "$work/started" ] || fail "the program was not started"
expect 125 'front end inline is for programs that use the library' "$leap" run --frontend inline /bin/true
expect 125 'front end inline is for programs that use the library' env LEAP_FRONTEND=inline LD_PRELOAD="$LEAP_BIN/../lib/libleap_preload.so" /bin/true
summary
