# SPDX-License-Identifier: Apache-2.0
"""An OLTP mix on an SQL database in memory: see oltp_main.py."""
import pathlib

from common import Batch

MAIN = pathlib.Path(__file__).resolve().parent / "oltp_main.py"
SIZES = {"tiny": (1, 300, 500), "small": (2, 3000, 8000), "full": (8, 3000, 100000)}


class Program(Batch):
    name = "oltp"

    def describe(self):
        return "SQLite in memory: %d warehouses, %d customers a district, %d transactions" % self.settings.pick(SIZES)

    def command(self):
        return ["/usr/bin/python3", str(MAIN), *map(str, self.settings.pick(SIZES)),
                str(self.output)]
