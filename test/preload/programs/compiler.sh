# SPDX-License-Identifier: Apache-2.0
# gcc: driver, compiler, assembler and linker, each on little memory
command -v gcc >/dev/null || { echo skipped; exit; }
set -e
awk 'BEGIN { print "#include <stdio.h>"; print "#include <stdlib.h>"; print "#include <string.h>"
	for (i = 0; i < 400; i++) printf "static int f%d(int a, int b) { int s = %d; for (int i = 0; i < a; i++) s += (i * b) ^ s >> %d; return s %% 1000; }\n", i, i, i % 13 + 1
	print "int main(void) { int t = 0;"; for (i = 0; i < 400; i++) printf "t += f%d(%d, %d);\n", i, i % 50 + 1, i
	print "printf(\"%d\\n\", t); return 0; }" }' >p.c
gcc -O2 -g -c p.c -o p.o
objdump -d p.o | md5sum
gcc -O2 p.o -o p
./p
