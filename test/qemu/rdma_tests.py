# SPDX-License-Identifier: Apache-2.0
"""The tests over a soft-RoCE device. They are skipped while leap-donor says that it was built without RDMA."""
import json
import os
import re
import signal
import subprocess
import time

from common import Donor, Failure, Skip, Test

HOSTS = (("192.168.0.12", 9400), ("192.168.0.13", 9402), ("192.168.0.14", 9400))
DONORS = "rdma://3," + ",".join("%s:%d" % host for host in HOSTS)
ONE = "rdma://%s:%d" % HOSTS[0]
CYCLES = 50
NOT_BUILT = re.compile(r"built without RDMA|is no address: use tcp")

# Fills memory, waits for a word, and reads all of it again.
READER = """
import sys
data = [bytes([n % 251]) * (256 << 10) for n in range(160)]
print("filled", flush=True)
sys.stdin.readline()
print("right" if all(d == bytes([n % 251]) * (256 << 10) for n, d in enumerate(data)) else "wrong", flush=True)
"""


def donors(here, hosts=HOSTS):
    """One donor an address, or why not."""
    started = []
    try:
        for host, port in hosts:
            started.append(Donor(here, "rdma://%s:%d" % (host, port), memory="256M"))
    except Failure as failure:
        stop(started)
        if NOT_BUILT.search(str(failure)):
            raise Skip("leap-donor was built without RDMA") from failure
        raise
    return started


def stop(started):
    for donor in started:
        donor.__exit__()


def over(here, hosts, function, *arguments):
    started = donors(here, hosts)
    try:
        function(here, *arguments)
    finally:
        stop(started)


def contract(here):
    stop(donors(here, HOSTS[:1]))  # skips
    text = here.run(here.test("test_contract"), "rdma", LEAP_DONOR=here.bin("leap-donor"), LEAP_TEST_SLOW="4",
                    LEAP_TEST_RDMA=HOSTS[0][0])
    passed = re.search(r"PASSED +\] +(\d+)", text)
    if not passed or int(passed.group(1)) < 20:
        raise Failure("the contract tests were not run")


def stat(here, text=False):
    """What `leap stat` says of the one program that runs: parsed JSON, or lines for people."""
    said = subprocess.run([here.bin("leap"), "stat", "--once", *([] if text else ["--json"])], stdout=subprocess.PIPE, text=True,
                          env=here.env(), check=True).stdout
    return said if text else json.loads(said.splitlines()[0])


def reader(here):
    """A program whose memory is nearly all on the donors; it has been filled, and waits for a word."""
    process = subprocess.Popen([here.bin("leap"), "run", "--local", "8M", "--donors", DONORS, "--deadline", "60s", "--", "python3", "-c",
                                READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=here.env())
    line = process.stdout.readline()
    if line.strip() != "filled":
        process.kill()
        raise Failure("the program did not begin: %s %s" % (line, process.stderr.read()))
    return process


def fullest(here):
    """Index of the donor that has been written the most: the only one that need have pages."""
    best = max(stat(here)["donors"], key=lambda donor: donor["written_bytes"])
    if not best["written_bytes"]:
        raise Failure("no donor has been written to")
    return next(i for i, (host, port) in enumerate(HOSTS) if "%s:%d" % (host, port) in best["donor"])


def dead_donor(here):
    started = donors(here)
    program = None
    try:
        program = reader(here)
        victim = fullest(here)
        os.kill(started[victim].process.pid, signal.SIGKILL)
        out, said = program.communicate("\n", timeout=60)
    except subprocess.TimeoutExpired as late:
        raise Failure("the program hangs after a donor's death") from late
    finally:
        if program:
            program.kill()
        stop(started)
    print(out, said)
    if "right" in out or "wrong" in out:
        raise Failure("the program did not see the loss: it printed " + out.strip())
    if not re.search(r"donor \S*%s\S* is lost" % re.escape("%s:%d" % HOSTS[victim]), said):
        raise Failure("no sentence names the lost donor")
    if not re.search(r"page at \S+ is lost: .*the program gets (aborted|SIGBUS)", said):
        raise Failure("no sentence says that a page is lost")
    if program.returncode not in (-signal.SIGABRT, -signal.SIGBUS, 128 + signal.SIGABRT, 128 + signal.SIGBUS):
        raise Failure("the program ended with %d, not by SIGABRT or SIGBUS" % program.returncode)
    print("figure: donor %d of three, which had most pages, died; the program ended with %d" % (victim + 1, program.returncode))


def resources(here):
    """What the device holds, as `rdma resource` counts it."""
    text = here.run("rdma", "resource", "show")
    return dict(re.findall(r"\b(pd|cq|qp|cm_id|mr|ctx|srq) (\d+)", text))


def settled(here, wanted):
    """Waits until the counts are as wanted; what they are."""
    for _ in range(50):
        now = resources(here)
        if now == wanted:
            break
        time.sleep(0.2)
    return now


def cycles(here):
    started = donors(here, HOSTS[:1])
    try:
        here.run(here.test("rdma_client"), "cycles", "2", ONE)
        time.sleep(2)
        before = resources(here)
        if not before:
            raise Failure("rdma resource counts nothing")
        here.run(here.test("rdma_client"), "cycles", str(CYCLES), ONE)
        after = settled(here, before)
    finally:
        stop(started)
    if after != before:
        raise Failure("before %d cycles %s, after them %s" % (CYCLES, before, after))
    print("figure: %d cycles, before and after: %s" % (CYCLES, " ".join("%s %s" % i for i in before.items())))


def stolen(here):
    over(here, HOSTS[:1], lambda h: h.run(h.test("rdma_client"), "stolen", ONE))


def every(here, stress, program):
    """stress(here, donors) and program(here, name, share, ...) are what runs over the other transports, too."""
    found = [Test("rdma_contract", 60, contract, here),
             Test("rdma_stress", 60, over, here, HOSTS[:1], stress, ONE),
             Test("rdma_stolen_key", 60, stolen, here), Test("rdma_cycles", 90, cycles, here),
             Test("rdma_dead_donor", 90, dead_donor, here)]
    found += [Test("rdma_" + name, 90, over, here, HOSTS, program, name, 25, "--donors", DONORS)
              for name in ("sort", "sqlite", "redis")]
    return found
