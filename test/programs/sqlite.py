# SPDX-License-Identifier: Apache-2.0
"""The sqlite3 shell with a database in memory: loads the sources' lines, indexes and queries them."""
import csv
import io

from common import MIB, Batch, make_once, source_members

QUERIES = """\
PRAGMA temp_store = MEMORY;
CREATE INDEX by_file ON line(file);
CREATE INDEX by_length ON line(length(text));
SELECT count(*), sum(length(text)), sum(number) FROM line;
SELECT file, count(*) AS n FROM line GROUP BY file ORDER BY n DESC, file LIMIT 50;
SELECT length(text) AS l, count(*) FROM line GROUP BY l ORDER BY l;
SELECT text, count(*) AS n FROM line WHERE length(text) > 20 GROUP BY text ORDER BY n DESC, text LIMIT 200;
SELECT count(*) FROM line WHERE text LIKE '%struct%';
SELECT a.file, b.text FROM line a JOIN line b ON b.rowid = a.rowid + 1
  WHERE a.text LIKE 'static int %' ORDER BY a.file, b.text LIMIT 500;
SELECT sum(length(text)) FROM line WHERE file IN (SELECT file FROM line GROUP BY file HAVING count(*) BETWEEN 100 AND 500);
"""


class Program(Batch):
    name = "sqlite"
    sizes = {"tiny": 4 * MIB, "small": 30 * MIB, "full": 300 * MIB}

    def __init__(self, settings):
        super().__init__(settings)
        self.stdout = self.output

    def describe(self):
        return "sqlite3 :memory: loads %d MiB of source lines and queries them" % (
            self.settings.pick(self.sizes) // MIB)

    def prepare(self):
        size = self.settings.pick(self.sizes)

        def write(file):
            rows = 0
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            for name, content in source_members():
                if b"\0" in content:
                    continue
                buffer = io.StringIO()
                writer = csv.writer(buffer)
                for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
                    writer.writerow((name, number, line))
                text.write(buffer.getvalue())
                rows += 1
                if file.tell() >= size:
                    break
            text.detach()

        self.rows = make_once(self.settings.data / ("lines-%d.csv" % size), write)
        self.script = self.settings.data / ("sqlite-%d.sql" % size)
        self.script.write_text("CREATE TABLE line(file TEXT, number INTEGER, text TEXT);\n"
                               ".import --csv %s line\n" % self.rows + QUERIES)

    def command(self):
        return ["sqlite3", "-bail", ":memory:", ".read %s" % self.script]
