# SPDX-License-Identifier: Apache-2.0
"""memcached, filled and read back by a client that knows what each value must be."""
from common import MIB, VALUE_BYTES, Failure, Server


class Client:
    def __init__(self, connection):
        self.connection = connection
        self.file = connection.makefile("rb", 1 << 16)

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("connection closed")
        return line[:-2]

    def put_many(self, items):
        self.connection.sendall(b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value) for key, value in items))
        for key, _ in items:
            answer = self.line()
            if answer != b"STORED":
                raise Failure("set %s: memcached answers %s" % (key.decode(), answer.decode(errors="replace")))

    def get_many(self, keys):
        self.connection.sendall(b"get " + b" ".join(keys) + b"\r\n")
        values = {}
        while (line := self.line()) != b"END":
            word, key, _, size = line.split()
            if word != b"VALUE":
                raise Failure("memcached answers %s" % line.decode(errors="replace"))
            values[key] = self.file.read(int(size) + 2)[:-2]
        return [values.get(key) for key in keys]


class Program(Server):
    name = "memcached"

    def command(self):
        # -M: an error rather than silent eviction, should the memory not suffice
        memory = self.items * (VALUE_BYTES + 512) // MIB + 64
        return ["memcached", "-l", "127.0.0.1", "-p", str(self.free_port()), "-U", "0", "-u", "root", "-t", "2", "-M", "-m",
                str(memory)]

    def connect(self, connection):
        return Client(connection)
