# SPDX-License-Identifier: Apache-2.0
"""zstd at a high level with a long window."""
from common import MIB, Batch, source_archive


class Program(Batch):
    name = "zstd"
    sizes = {"tiny": MIB, "small": 3 * MIB, "full": 200 * MIB}

    def describe(self):
        return "zstd -19 --long=27 of %d MiB of the sources' tar" % (self.settings.pick(self.sizes) // MIB)

    def prepare(self):
        self.input = source_archive(self.settings, self.settings.pick(self.sizes))

    def command(self):
        return ["zstd", "-19", "--long=27", "-T1", "-q", "-f", "-o", str(self.output), str(self.input)]
