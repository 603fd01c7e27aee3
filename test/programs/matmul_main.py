# SPDX-License-Identifier: Apache-2.0
"""matmul_main.py N OUTPUT: C = A B for N x N matrices; writes C's checksum to OUTPUT.

The entries are small whole numbers, so every sum is exact and the result does not depend on the order in which the
library adds."""
import hashlib
import sys

import numpy

n = int(sys.argv[1])
random = numpy.random.RandomState(1)
a = numpy.empty((n, n))
b = numpy.empty((n, n))
for matrix in (a, b):
    for row in matrix:
        row[:] = random.randint(-1000, 1001, n)
c = a @ b
digest = hashlib.sha256()
for row in c:
    digest.update(row)
# Freivalds' check: A (B x) = C x for a random x, exact in whole numbers
x = random.randint(0, 2, n).astype(float)
if not numpy.array_equal(a @ (b @ x), c @ x):
    sys.exit("matmul: the product is wrong")
with open(sys.argv[2], "w") as output:
    output.write("%s %r\n" % (digest.hexdigest(), c[n // 2, n // 2]))
