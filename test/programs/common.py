# SPDX-License-Identifier: Apache-2.0
"""What the real programs share: where things are, the input made from the kernel's sources, a checking
client's keys and values, waiting for programs."""
import hashlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time

MIB = 1 << 20
SOURCES = pathlib.Path("/usr/src/linux-source-6.1.tar.xz")
VALUE_BYTES = 1024
BATCH = 64


class Failure(Exception):
    """A run went wrong; the text is the verdict."""


def tail(path, lines=15):
    try:
        return "\n".join(pathlib.Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


class Settings:
    """Paths and parameters of a whole invocation."""

    def __init__(self, options):
        build = options.build.resolve()
        self.bin = build / "bin"
        self.sampler = build / "test" / "programs" / "rss-sample"
        self.work = build / "programs"
        self.data = self.work / "data"
        self.size = options.size
        self.share = options.share
        self.transports = [] if options.transport == "native" else options.transport.split(",")
        if options.donors:
            self.transports = [options.donors.partition(":")[0]]
        self.donors = options.donors
        self.timeout = options.timeout
        self.leap_flags = options.leap
        self.disturb = options.disturb
        self.data.mkdir(parents=True, exist_ok=True)
        self.run_dir = pathlib.Path(tempfile.mkdtemp(prefix="leap-run-"))  # short: it holds sockets

    def env(self, more=None):
        env = dict(os.environ, LC_ALL="C", LEAP_RUN_DIR=str(self.run_dir))
        env.update(more or {})
        return env

    def pick(self, sizes):
        return sizes[self.size]

    def missing(self):
        programs = [self.bin / "leap", self.bin / "leap-donor"] if self.transports else []
        for path in programs + [self.sampler]:
            if not os.access(path, os.X_OK):
                return path
        return None

    def clean(self):
        shutil.rmtree(self.run_dir, ignore_errors=True)


class Batch:
    """A program that reads files, writes self.output and ends. Subclasses give name, prepare(), command()."""

    environment = {}
    stdout = None
    good_codes = (0,)

    def __init__(self, settings):
        self.settings = settings
        self.output = settings.work / (self.name + ".out")

    def prepare(self):
        pass

    def drive(self, process, deadline):
        process.wait(timeout=max(deadline - time.monotonic(), 1))
        if process.returncode:
            return None
        if not self.output.exists() or not self.output.stat().st_size:
            raise Failure("there is no output")
        return file_checksum(self.output)


class Server:
    """A server that a checking client fills and reads back. Subclasses give name, command() with self.port,
    connect() -> client with put_many() and get_many()."""

    environment = {}
    stdout = None
    good_codes = (0, -9, -15)
    sizes = {"tiny": 6 * MIB, "small": 52 * MIB, "full": 512 * MIB}

    def __init__(self, settings):
        self.settings = settings
        self.output = settings.work / (self.name + ".out")
        self.items = settings.pick(self.sizes) // VALUE_BYTES
        self.port = 0

    def prepare(self):
        pass

    def describe(self):
        return "%d values of %d bytes set, then all read back in random order and compared" % (
            self.items, VALUE_BYTES)

    def free_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        return self.port

    def open(self, process, deadline):
        """A connection to the server once it listens."""
        while time.monotonic() < deadline and process.poll() is None:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=1)
            except OSError:
                time.sleep(0.02)
                continue
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        raise Failure("the server does not listen")

    def drive(self, process, deadline):
        with self.open(process, deadline) as connection:
            client = self.connect(connection)
            try:
                checksum = self.fill_and_check(client, deadline)
            except (OSError, EOFError) as error:
                raise Failure("the server's connection broke: %s" % (error or type(error).__name__))
            self.shut_down(client, process)
        return checksum

    def fill_and_check(self, client, deadline):
        for first in range(0, self.items, BATCH):
            client.put_many([item(i) for i in range(first, min(first + BATCH, self.items))])
            self.check_time(deadline)
        order = list(range(self.items))
        random.Random(1).shuffle(order)
        digest = hashlib.sha256()
        for first in range(0, self.items, BATCH):
            batch = [item(i) for i in order[first:first + BATCH]]
            for (key, expected), value in zip(batch, client.get_many([key for key, _ in batch])):
                if value != expected:
                    raise Failure("wrong value of %s: %s" % (key.decode(), show_difference(value, expected)))
                digest.update(value)
            self.check_time(deadline)
        return digest.hexdigest()

    def check_time(self, deadline):
        if time.monotonic() > deadline:
            raise Failure("did not end within %d s" % self.settings.timeout)

    def shut_down(self, client, process):
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            raise Failure("the server does not stop at SIGTERM")


def item(index):
    """Key and value of an index; the value follows from the key alone."""
    key = b"key:%08d" % index
    return key, hashlib.shake_128(key).digest(VALUE_BYTES)


def show_difference(value, expected):
    if value is None:
        return "missing"
    if len(value) != len(expected):
        return "%d bytes instead of %d" % (len(value), len(expected))
    at = next(i for i in range(len(value)) if value[i] != expected[i])
    zeroes = " (all zeroes)" if not any(value) else ""
    return "differs from byte %d on%s" % (at, zeroes)


def file_checksum(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(4 * MIB):
            digest.update(block)
    return digest.hexdigest()


def source_members():
    """(name, content) of each file in the packaged kernel sources."""
    if not SOURCES.exists():
        raise Failure("%s is missing: install linux-source-6.1 (scripts/deps test)" % SOURCES)
    with subprocess.Popen(["xz", "-dc", "-T0", str(SOURCES)], stdout=subprocess.PIPE) as unpack:
        try:
            with tarfile.open(fileobj=unpack.stdout, mode="r|", bufsize=MIB) as archive:
                for member in archive:
                    if member.isfile():
                        yield member.name, archive.extractfile(member).read()
        finally:
            unpack.kill()


def make_once(path, write):
    """Makes a file of input by write(file) unless an earlier run did."""
    if path.exists():
        return path
    print("# making %s" % path.name, flush=True)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        write(file)
    part.rename(path)
    return path


def source_text(settings, size):
    """A file of size bytes of the sources' text, cut at a line's end."""

    def write(file):
        left = size
        for _, content in source_members():
            if b"\0" in content:
                continue
            if content and not content.endswith(b"\n"):
                content += b"\n"
            if len(content) > left:
                content = content[:content.rfind(b"\n", 0, left) + 1]
                left = len(content)
            file.write(content)
            left -= len(content)
            if left <= 0:
                return
        raise Failure("the sources have less than %d bytes of text" % size)

    return make_once(settings.data / ("text-%d.txt" % size), write)


def source_archive(settings, size):
    """The first size bytes of the sources' tar."""

    def write(file):
        with subprocess.Popen(["xz", "-dc", "-T0", str(SOURCES)], stdout=subprocess.PIPE) as unpack:
            left = size
            while left and (block := unpack.stdout.read(min(left, MIB))):
                file.write(block)
                left -= len(block)
            unpack.kill()
        if left:
            raise Failure("the sources have less than %d bytes" % size)

    if not SOURCES.exists():
        raise Failure("%s is missing: install linux-source-6.1 (scripts/deps test)" % SOURCES)
    return make_once(settings.data / ("sources-%d.tar" % size), write)
