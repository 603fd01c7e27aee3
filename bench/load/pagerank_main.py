# SPDX-License-Identifier: Apache-2.0
"""pagerank_main.py VERTICES EDGES OUTPUT: the hundred highest ranks of a graph by preferential attachment."""
import random
import sys

import igraph

vertices, edges = int(sys.argv[1]), int(sys.argv[2])
random.seed(1)  # igraph's source, too
graph = igraph.Graph.Barabasi(vertices, edges)
ranks = graph.pagerank()
with open(sys.argv[3], "w") as output:
    for v in sorted(range(vertices), key=lambda v: (-ranks[v], v))[:100]:
        output.write("%d %.9e\n" % (v, ranks[v]))
