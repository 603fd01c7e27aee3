# SPDX-License-Identifier: Apache-2.0
"""PageRank of a generated power-law graph (igraph)."""
import pathlib

from common import Batch

VERTICES = {"tiny": 20000, "small": 300000, "full": 1500000}
EDGES_PER_VERTEX = 8
MAIN = pathlib.Path(__file__).resolve().parent / "pagerank_main.py"


class Program(Batch):
    name = "pagerank"

    def describe(self):
        return "igraph: PageRank of a preferential-attachment graph of %d vertices, %d edges each" % (
            self.settings.pick(VERTICES), EDGES_PER_VERTEX)

    def command(self):
        return ["/usr/bin/python3", str(MAIN), str(self.settings.pick(VERTICES)),
                str(EDGES_PER_VERTEX), str(self.output)]
