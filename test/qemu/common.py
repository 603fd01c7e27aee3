# SPDX-License-Identifier: Apache-2.0
"""What the tests share: how they end early, where things are, donors."""
import os
import pathlib
import re
import subprocess
import time


class Failure(Exception):
    """The reason in one line; further lines are output."""


class Skip(Exception):
    """Why the test cannot be run."""


class Test:
    """deep: it takes long and says little that the others do not; run when it is named, or with --all."""

    def __init__(self, name, limit, function, *arguments, deep=False):
        self.name, self.limit, self.function, self.arguments, self.deep = name, limit, function, arguments, deep


class Here:
    """Where things are, and how programs are run."""

    def __init__(self, root, build):
        self.root, self.build = root, build

    def bin(self, name):
        return str(self.build / "bin" / name)

    def test(self, name):
        return str(self.build / "test" / "bin" / name)

    def env(self, **more):
        return dict(os.environ, LEAP_RUN_DIR="/run/leap", **more)

    def run(self, *command, expect=0, **more):
        """Output and errors of a command that has to end with a status. Each line is shown with its time."""
        said = []
        start = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, env=self.env(**more)) as process:
            for line in process.stdout:  # at once, so that it is there when this one is killed
                print("%5.1f %s" % (time.monotonic() - start, line), end="", flush=True)
                said.append(line)
        if expect is not None and process.returncode != expect:
            raise Failure("%s ended with status %d" % (pathlib.Path(command[0]).name, process.returncode))
        return "".join(said)


class Donor:
    """A donor daemon; with it ends its memory."""

    def __init__(self, here, *listen, memory="1G", arguments=()):
        self.log = pathlib.Path("/tmp/donor-%d.log" % time.monotonic_ns())
        command = [here.bin("leap-donor"), *arguments, "--memory", memory]
        for address in listen:
            command += ["--listen", address]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=here.env())
        self.ready = self._wait("ready on", 30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        print(self.text(), end="")

    def text(self):
        return self.log.read_text(errors="replace")

    def _wait(self, what, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            over = self.process.poll() is not None
            for line in self.text().splitlines():
                if what in line:
                    return line
            if over:
                raise Failure("the donor ended: " + self.text().strip())
            time.sleep(0.02)
        raise Failure("the donor did not say '%s' in %d s: %s" % (what, seconds, self.text()))

    def tcp(self):
        return re.search(r"tcp://[^\s,;)]+", self.ready).group(0)
