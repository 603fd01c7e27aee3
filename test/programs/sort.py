# SPDX-License-Identifier: Apache-2.0
"""GNU sort of real text, all in memory."""
from common import MIB, Batch, source_text


class Program(Batch):
    name = "sort"
    sizes = {"tiny": 4 * MIB, "small": 100 * MIB, "full": 1024 * MIB}

    def describe(self):
        return "GNU sort of %d MiB of source text in memory" % (self.settings.pick(self.sizes) // MIB)

    def prepare(self):
        self.input = source_text(self.settings, self.settings.pick(self.sizes))

    def command(self):
        # -S: room for the text and for one line record of 32 bytes for every few bytes of it
        return ["sort", "--parallel=1", "-S", "%dM" % (6 * self.settings.pick(self.sizes) // MIB), "-o", str(self.output),
                str(self.input)]
