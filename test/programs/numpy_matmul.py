# SPDX-License-Identifier: Apache-2.0
"""Python with NumPy multiplying matrices."""
import pathlib

from common import MIB, Batch

MATMUL = pathlib.Path(__file__).resolve().parent / "matmul_main.py"


class Program(Batch):
    name = "numpy_matmul"
    sizes = {"tiny": 900, "small": 2100, "full": 6720}
    environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

    def describe(self):
        n = self.settings.pick(self.sizes)
        return "NumPy product of two %d x %d matrices, %d MiB in all" % (n, n, 3 * n * n * 8 // MIB)

    def command(self):
        return ["/usr/bin/python3", str(MATMUL), str(self.settings.pick(self.sizes)), str(self.output)]
