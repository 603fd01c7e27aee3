# SPDX-License-Identifier: Apache-2.0
"""redis-server, filled and read back by a client that knows what each value must be."""
from common import Failure, Server


class Client:
    def __init__(self, connection):
        self.connection = connection
        self.file = connection.makefile("rb", 1 << 16)

    def send(self, commands):
        parts = []
        for words in commands:
            parts.append(b"*%d\r\n" % len(words))
            for word in words:
                parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.connection.sendall(b"".join(parts))

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("connection closed")
        if line[:1] == b"-":
            raise Failure("redis answers: " + line[1:].decode(errors="replace").strip())
        if line[:1] != b"$":
            return line[1:-2]
        size = int(line[1:])
        if size < 0:
            return None
        value = self.file.read(size + 2)
        if len(value) != size + 2:
            raise EOFError("connection closed")
        return value[:-2]

    def put_many(self, items):
        self.send([(b"SET", key, value) for key, value in items])
        for key, _ in items:
            if self.reply() != b"OK":
                raise Failure("SET %s was refused" % key.decode())

    def get_many(self, keys):
        self.send([(b"GET", key) for key in keys])
        return [self.reply() for _ in keys]


class Program(Server):
    name = "redis"
    good_codes = (0,)

    def command(self):
        return ["redis-server", "--port", str(self.free_port()), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--daemonize", "no", "--loglevel", "warning"]

    def connect(self, connection):
        return Client(connection)
