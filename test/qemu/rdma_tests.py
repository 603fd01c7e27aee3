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


SHOWN = re.compile(r"rdma 192\.168\.0\.1[234]:\d+ rxe0 port 1 MTU (\d+), (\d+) QPs, (\d+) reads each, (\d+)K registered")
LOGGED = re.compile(r"client 1: rdma over rxe0 port 1, MTU (\d+), (now|ends, at most): (\d+) QPs, (\d+) outstanding reads each, "
                    r"(\d+)M registered")


def shown(text):
    """(MTU, QPs, reads, registered KiB) of each donor."""
    found = [tuple(map(int, match.groups())) for match in SHOWN.finditer(text)]
    if len(found) != len(HOSTS):
        raise Failure("leap stat does not name device, port, MTU, QPs, reads and registered memory of %d donors" % len(HOSTS))
    return found


def logged(donor, when):
    """(MTU, QPs, reads, registered MiB) of the donor's client, once its log says so."""
    for _ in range(50):
        found = [match.groups() for match in LOGGED.finditer(donor.text()) if match.group(2) == when]
        if found:
            return tuple(int(value) for i, value in enumerate(found[-1]) if i != 1)
        time.sleep(0.2)
    raise Failure("a donor's log has no line '%s' with device, port, MTU, QPs, reads and registered memory" % when)


def registered_kib(here, pid):
    """What the kernel says that a process has registered."""
    text = here.run("rdma", "resource", "show", "mr")
    return sum(int(size) for size, owner in re.findall(r"mrlen (\d+) .*pid (\d+) ", text) if int(owner) == pid) >> 10


def figures(here):
    """leap stat and the donors' logs say the same as the device's own tools."""
    started = donors(here)
    program = None
    try:
        program = reader(here)
        text, parsed = shown(stat(here, text=True)), stat(here)
        if shown("\n".join(donor["donor"] for donor in parsed["donors"])) != text:
            raise Failure("text and JSON of leap stat differ")
        mtu = int(re.search(r"active_mtu:\s+(\d+)", here.run("ibv_devinfo", "-d", "rxe0")).group(1))
        qps = len(re.findall(r"type RC", here.run("rdma", "resource", "show", "qp")))
        if any(donor[0] != mtu for donor in text) or 2 * sum(donor[1] for donor in text) != qps:
            raise Failure("the device has MTU %d and %d QPs at both ends, leap stat says %s" % (mtu, qps, text))
        kib = registered_kib(here, parsed["pid"])
        if sum(donor[3] for donor in text) != kib:
            raise Failure("the program has registered %dK, leap stat says %s" % (kib, text))
        for donor in started:
            donor.process.send_signal(signal.SIGUSR1)
        now = [logged(donor, "now") for donor in started]
        if [donor[:3] for donor in now] != [donor[:3] for donor in text]:
            raise Failure("leap stat says %s, the donors' logs %s" % (text, now))
        if any(donor[2] != 16 or donor[3] % 64 for donor in now) or not any(donor[3] for donor in now):
            raise Failure("wrong numbers of reads, or of registered slabs: %s" % now)
        program.communicate("\n", timeout=60)
        ended = [logged(donor, "ends, at most") for donor in started]
        if any(after[:3] != before[:3] or after[3] < before[3] for before, after in zip(now, ended)):
            raise Failure("the donors' logs say %s, and at the end %s" % (now, ended))
    except subprocess.TimeoutExpired as late:
        raise Failure("the program hangs") from late
    finally:
        if program:
            program.kill()
        stop(started)
    print("figure: MTU, QPs, reads, registered: %s K by the program, %s M by the donors" % (text, [donor[3] for donor in now]))


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
             Test("rdma_dead_donor", 90, dead_donor, here), Test("rdma_figures", 90, figures, here)]
    found += [Test("rdma_" + name, 90, over, here, HOSTS, program, name, 25, "--donors", DONORS)
              for name in ("sort", "sqlite", "redis")]
    return found
