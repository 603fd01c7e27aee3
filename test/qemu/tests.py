# SPDX-License-Identifier: Apache-2.0
"""The tests of the emulated machine: what runs there, and with which time limit.

Names on a command line choose by their beginning. A test is a function that returns, or raises Failure or Skip.
"""
import re
import subprocess
import time

import rdma_tests
from common import Donor, Failure, Here, Skip, Test  # noqa: F401

# Of the small programs those that take seconds here and differ by kernel or mover; the others run on any machine.
PRELOAD = "malloc map remap protect lock brk signals exec loaded ends users".split()
PRELOAD_SOME = ("malloc", "exec")


# --- what runs over any kernel --------------------------------------------------------------------------------

def probe(here):
    text = here.run(here.bin("leap"), "probe")
    if not re.search(r"^auto takes front end \w+ .*mover wp|^ *auto takes .* mover wp", text, re.MULTILINE):
        raise Failure("the probe does not say that mover wp is taken")


def contract(here, subject, **more):
    text = here.run(here.test("test_contract"), subject, LEAP_DONOR=here.bin("leap-donor"), LEAP_TEST_SLOW="4",
                    LEAP_TEST_LESS="4", **more)
    if not re.search(r"PASSED +\] +[1-9]", text):
        raise Failure("no test passed")


def stress(here, donors, *more):
    text = here.run(here.test("stress"), "--mb", "24", "--local", "8M", "--seconds", "4", "--seed", "1", *more, "deadline=60s",
                    "donors=" + donors)
    figures = re.search(r"(\d+) faults .*: (\d+) checked accesses, .*: right", text, re.DOTALL)
    if not figures or not int(figures.group(1)):
        raise Failure("no figures, no faults, or wrong pages")
    print("figure: %s faults, %s checked accesses" % figures.groups())


def stress_local(here, where):
    with Donor(here, "tcp://127.0.0.1:0", "shm:stress") as donor:
        stress(here, {"loop": "loop:", "shm": "shm:stress", "tcp": donor.tcp()}[where])


def preload(here, name, combination):
    here.run("python3", "-B", str(here.root / "test/preload/run"), "--build", str(here.build), "--only", combination,
             here.test("preload_" + name))


def program(here, name, share, *where):
    options = ["--size", "tiny", "--share", str(share), "--build", str(here.build), "--leap=--deadline=60s", *where]
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
    found += [Test("contract_" + subject.replace(" ", "_"), 120, contract, here, subject, deep=deep)
              for subject, deep in (("loop", True), ("shm", True), ("tcp io_uring", False))]
    found += [Test("stress_" + where, 60, stress_local, here, where, deep=where == "loop") for where in ("loop", "shm", "tcp")]
    found += [Test("program_%s_tcp" % name, 90, program, here, name, 50, "--transport", "tcp", deep=True)
              for name in ("sort", "sqlite", "redis")]
    found += rdma_tests.every(here, stress, program)
    found += [Test("preload_" + name, 60, preload, here, name, "shm-wp", deep=name not in PRELOAD_SOME) for name in PRELOAD]
    return found


def choose(found, names, deep=False):
    """Those whose names begin with one of the names; without names all, or all but the deep ones."""
    if names:
        return [test for test in found if any(test.name.startswith(name) for name in names)]
    return [test for test in found if deep or not test.deep]
