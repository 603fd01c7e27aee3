# SPDX-License-Identifier: Apache-2.0
# perl: hashes, strings, sorting, forks
command -v perl >/dev/null || { echo skipped; exit; }
exec perl -e '
my (%h, @a); my $x = 1;
for my $i (1 .. 200000) { $x = ($x * 16807) % 2147483647; $h{$x % 50000} .= chr(97 + $x % 26); push @a, $x; }
my $sum = 0; $sum = ($sum * 31 + length($h{$_}) + ord($h{$_})) % 1000000007 for sort { $a <=> $b } keys %h;
print "$sum\n";
@a = sort { $a <=> $b } @a; print "$a[0] $a[100000] $a[-1]\n";
my $s = join(",", @a); $s =~ s/(\d)(\d)/$2$1/g; print length($s), " ", unpack("%32C*", $s), "\n";
for my $c (1 .. 3) { my $pid = fork(); if (!$pid) { my $t = 0; $t += $_ for @a; exit($t % 200 + $c); } waitpid($pid, 0); print $? >> 8, "\n"; }
my @g = map { [ ($_) x 100 ] } 1 .. 5000; my $t = 0; $t += $$_[50] for @g; print "$t\n";
'
