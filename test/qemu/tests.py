# SPDX-License-Identifier: Apache-2.0
"""The tests of the emulated machine: what runs there, and with which time limit.

Names on a command line choose by their beginning. A test is a function that returns, or raises Failure or Skip.
"""
import os
import pathlib
import re
import subprocess
import time

# Of the small programs those that take seconds here and differ by kernel or mover; the others run on any machine.
PRELOAD = "malloc map remap protect lock brk signals exec loaded ends users".split()


class Failure(Exception):
    """The reason in one line; further lines are output."""


class Skip(Exception):
    """Why the test cannot be run."""


class Test:
    def __init__(self, name, limit, function, *arguments):
        self.name, self.limit, self.function, self.arguments = name, limit, function, arguments


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
        """Output and errors of a command that has to end with a status."""
        said = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, env=self.env(**more)) as process:
            for line in process.stdout:  # at once, so that it is there when this one is killed
                print(line, end="", flush=True)
                said.append(line)
        if expect is not None and process.returncode != expect:
            raise Failure("%s ended with status %d" % (pathlib.Path(command[0]).name, process.returncode))
        return "".join(said)


class Donor:
    """A donor daemon; with it ends its memory."""

    def __init__(self, here, *listen, memory="1G"):
        self.log = pathlib.Path("/tmp/donor-%d.log" % time.monotonic_ns())
        command = [here.bin("leap-donor"), "--memory", memory]
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


# --- what runs over any kernel --------------------------------------------------------------------------------

def probe(here):
    text = here.run(here.bin("leap"), "probe")
    if not re.search(r"^auto takes front end \w+ .*mover wp|^ *auto takes .* mover wp", text, re.MULTILINE):
        raise Failure("the probe does not say that mover wp is taken")


def contract(here, subject):
    text = here.run(here.test("test_contract"), subject, LEAP_DONOR=here.bin("leap-donor"))
    if not re.search(r"PASSED +\] +[1-9]", text):
        raise Failure("no test passed")


def stress(here, where, *more):
    donors = "loop:"
    with Donor(here, "tcp://127.0.0.1:0", "shm:stress") as donor:
        if where != "loop":
            donors = donor.tcp() if where == "tcp" else "shm:stress"
        text = here.run(here.test("stress"), "--mb", "24", "--local", "8M", "--seconds", "4", "--seed", "1", "donors=" + donors,
                        *more)
    figures = re.search(r"(\d+) page operations, (\d+) faults .*?(\d+) wp.*: right", text)
    if not figures:
        raise Failure("no figures, or wrong ones")
    print("figure: %s page operations, %s faults, %s of them wp" % figures.groups())
    if not int(figures.group(2)):
        raise Failure("nothing faulted")


def preload(here, name, combination):
    here.run("python3", "-B", str(here.root / "test/preload/run"), "--build", str(here.build), "--only", combination,
             here.test("preload_" + name))


def program(here, name, share, *where):
    options = ["--size", "tiny", "--share", str(share), "--build", str(here.build), *where]
    text = here.run("python3", "-B", str(here.root / "test/programs/run"), *options, name)
    for line in text.splitlines():
        if line.startswith(name):
            print("figure:", line)


# --- the device -----------------------------------------------------------------------------------------------

def verbs_device(here):
    text = here.run("ibv_devinfo", "-d", "rxe0")
    if "PORT_ACTIVE" not in text:
        raise Failure("the port of rxe0 is not active")


def verbs_rping(here):
    with subprocess.Popen(["rping", "-s", "-a", "192.168.0.12", "-C", "20"], stdin=subprocess.DEVNULL) as server:
        time.sleep(0.5)
        here.run("rping", "-c", "-a", "192.168.0.12", "-C", "20")
        if server.wait():
            raise Failure("the rping server ended with status %d" % server.returncode)


def verbs_read(here):
    with subprocess.Popen(["ib_read_lat", "-d", "rxe0", "-s", "4096", "-n", "50"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL) as server:
        time.sleep(1)
        here.run("ib_read_lat", "-d", "rxe0", "-s", "4096", "-n", "50", "192.168.0.1")
        if server.wait():
            raise Failure("the ib_read_lat server ended with status %d" % server.returncode)


# --- the list -------------------------------------------------------------------------------------------------

def every(root, build):
    here = Here(root, build)
    found = [Test("verbs_device", 20, verbs_device, here), Test("verbs_rping", 30, verbs_rping, here),
             Test("verbs_read", 30, verbs_read, here), Test("probe", 30, probe, here)]
    found += [Test("contract_" + subject.replace(" ", "_"), 60, contract, here, subject)
              for subject in ("loop", "shm", "tcp io_uring", "tcp sockets IPv6")]
    found += [Test("stress_" + where, 60, stress, here, where) for where in ("loop", "shm", "tcp")]
    found += [Test("program_%s_tcp" % name, 90, program, here, name, 50, "--transport", "tcp") for name in ("sort", "sqlite", "redis")]
    found += [Test("preload_" + name, 60, preload, here, name, "shm-wp") for name in PRELOAD]
    return found


def choose(found, names):
    """Those whose names begin with one of the names; all without names."""
    return [test for test in found if not names or any(test.name.startswith(name) for name in names)]
