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
data = [bytes([n % 251]) * (256 << 10) for n in range(96)]
print("filled", flush=True)
sys.stdin.readline()
print("right" if all(d == bytes([n % 251]) * (256 << 10) for n, d in enumerate(data)) else "wrong", flush=True)
"""


# Fills memory, changes it in another order, and prints what it has come to.
DIGEST = """
import hashlib, sys
data = [bytearray(bytes([n % 251]) * (256 << 10)) for n in range(160)]
for n in range(0, 160 * 64, 7):
    page = n * 4096 % (160 * (256 << 10))
    data[page >> 18][page & 0x3ffff] = n & 255
print(hashlib.blake2b(b"".join(hashlib.blake2b(d).digest() for d in data)).hexdigest(), flush=True)
sys.stdin.readline()
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
                    LEAP_TEST_LESS="4", LEAP_TEST_RDMA=HOSTS[0][0])
    passed = re.search(r"PASSED +\] +(\d+)", text)
    if not passed or int(passed.group(1)) < 20:
        raise Failure("the contract tests were not run")


def stat(here, text=False):
    """What `leap stat` says of the one program that runs: parsed JSON, or lines for people."""
    time.sleep(1)  # it publishes some times a second
    said = subprocess.run([here.bin("leap"), "stat", "--once", *([] if text else ["--json"])], stdout=subprocess.PIPE, text=True,
                          env=here.env(), check=True).stdout
    return said if text else json.loads(said.splitlines()[0])


def begin(here, local, code, uris=DONORS):
    """A Python program that prints a line and waits for a word: the process, and the line."""
    process = subprocess.Popen([here.bin("leap"), "run", "--local", local, "--donors", uris, "--deadline", "60s", "--", "python3", "-c",
                                code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here.env())
    line = process.stdout.readline().strip()
    if not line:
        process.kill()
        raise Failure("the program did not begin: " + process.stderr.read())
    return process, line


def reader(here):
    """A program whose memory is nearly all on the donors."""
    return begin(here, "8M", READER)[0]


def fullest(here):
    """Index of the donor that has been written the most: the only one that need have pages."""
    best = max(stat(here)["donors"], key=lambda donor: donor["written_bytes"])
    if not best["written_bytes"]:
        raise Failure("no donor has been written to")
    return next(i for i, (host, port) in enumerate(HOSTS) if "%s:%d" % (host, port) in best["donor"])


def quarter(here):
    """A program with a quarter of its memory local, the rest on three donors."""
    native = here.run("python3", "-c", DIGEST).strip()
    started = donors(here)
    program = None
    try:
        program, line = begin(here, "25%", DIGEST)
        figures = stat(here)
        program.communicate("\n", timeout=60)
    finally:
        if program:
            program.kill()
        stop(started)
    print(figures)
    if len(native) != 128 or line != native or program.returncode:
        raise Failure("natively it prints %s, here %s, status %s" % (native, line, program.returncode))
    if not figures["written"] or not figures["read"] or figures["local_bytes"] > figures["limit_bytes"] + (4 << 20):
        raise Failure("nothing was written or read, or too much was local")
    print("figure: local %(local_bytes)d of limit %(limit_bytes)d, %(written)d pages written, %(read)d read" % figures)


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
LOGGED = re.compile(r"client (\d+): rdma over rxe0 port 1, MTU (\d+), (now|ends, at most): (\d+) QPs, (\d+) outstanding reads each, "
                    r"(\d+)M registered")


def shown(text):
    """(MTU, QPs, reads, registered KiB) of each donor."""
    found = [tuple(map(int, match.groups())) for match in SHOWN.finditer(text)]
    if len(found) != len(HOSTS):
        raise Failure("leap stat does not name device, port, MTU, QPs, reads and registered memory of %d donors" % len(HOSTS))
    return found


def logged(donor, when, client=None):
    """(MTU, QPs, reads, registered MiB, number) of the donor's client, once its log says so."""
    for _ in range(50):
        found = [match.groups() for match in LOGGED.finditer(donor.text())
                 if match.group(3) == when and client in (None, int(match.group(1)))]
        if found:
            number, mtu, _, *others = found[-1]
            return tuple(map(int, (mtu, *others, number)))
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
        ended = [logged(donor, "ends, at most", before[4]) for donor, before in zip(started, now)]
        if any(after[:3] != before[:3] or after[3] < before[3] for before, after in zip(now, ended)):
            raise Failure("the donors' logs say %s, and at the end %s" % (now, ended))
    except subprocess.TimeoutExpired as late:
        raise Failure("the program hangs") from late
    finally:
        if program:
            program.kill()
        stop(started)
    print("figure: MTU, QPs, reads, registered: %s K by the program, %s M by the donors" % (text, [donor[3] for donor in now]))


def rejoin(here):
    stop(donors(here, HOSTS[:1]))  # skips
    said = here.run(here.test("rejoin"), HOSTS[0][0], expect=-signal.SIGABRT, LEAP_DONOR=here.bin("leap-donor"), LEAP_TEST_SLOW="4")
    if not re.search(r"is back: it lends.*now the old pages.*the page at \S+ is lost", said, re.DOTALL):
        raise Failure("it did not come back, or nothing was lost")


def short_form(here):
    """`leap-donor IP PORT` takes RDMA where a device has the address, and auto:// what the donor has; both say which."""
    for host, port, took in (HOSTS[0][0], 9400, "rdma"), ("127.0.0.1", 9401, "tcp"):
        with Donor(here, arguments=(host, str(port)), memory="256M") as donor:
            if "%s://%s:%d" % (took, host, port) not in donor.ready:
                raise Failure("leap-donor %s %d does not say that it takes %s: %s" % (host, port, took, donor.ready))
            program, _ = begin(here, "8M", READER, "auto://%s:%d" % (host, port))
            said = stat(here)["donors"][0]["donor"]
            program.kill()
            if not said.startswith("%s %s:%d" % (took, host, port)):
                raise Failure("leap stat does not say that %s was taken: %s" % (took, said))


def move(here):
    """A donor is added to a program that runs, the first one is removed, and then killed: nothing is lost."""
    first, second = ("rdma://%s:%d" % host for host in HOSTS[:2])
    started = donors(here, HOSTS[:2])
    program = None
    try:
        program, _ = begin(here, "8M", READER, first)
        pid = str(stat(here)["pid"])
        here.run(here.bin("leap"), "ctl", pid, "donor-add=" + second)
        here.run(here.bin("leap"), "ctl", pid, "donor-remove=" + first)
        os.kill(started[0].process.pid, signal.SIGKILL)
        out, said = program.communicate("\n", timeout=60)
    except subprocess.TimeoutExpired as late:
        raise Failure("the program hangs") from late
    finally:
        if program:
            program.kill()
        stop(started)
    if out.strip() != "right" or program.returncode:
        raise Failure("the program printed '%s' and ended with %d: %s" % (out.strip(), program.returncode, said))


# Runs what follows as a user who may use the device, but lock 64K of memory only.
UNPRIVILEGED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.execv(sys.argv[1], sys.argv[1:])
"""


def memlock(here):
    """Too low a limit on locked memory: the sentence has the limit, and what is needed."""
    for entry in os.listdir("/dev/infiniband"):
        os.chmod("/dev/infiniband/" + entry, 0o666)
    with Donor(here, ONE, memory="256M"):
        said = here.run("python3", "-c", UNPRIVILEGED, here.test("rdma_client"), "cycles", "1", ONE, expect=1)
    if not re.search(r"the system refuses to lock memory for RDMA: the limit is 64K \(ulimit -l\), this connection needs \d+K", said):
        raise Failure("no sentence names the limit")


def ipv6(here):
    with Donor(here, "rdma://[fd00::12]:9406", memory="256M") as donor:
        if "rdma://[fd00::12]:9406" not in donor.ready:
            raise Failure("it is not ready there: " + donor.ready)
        here.run(here.test("rdma_client"), "cycles", "1", "rdma://[fd00::12]:9406")


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


# --- what README and manual say ---------------------------------------------------------------------------------

def readme_steps(here):
    """The commands of each block of README's section, without comments."""
    section = (here.root / "README.md").read_text().split("\n## Over RDMA\n")[1].split("\n## ")[0]
    return [plain(block) for block in re.findall(r"```sh\n(.*?)```", section, re.S)]


def manual_steps(here):
    """The same of the manual page."""
    section = (here.root / "man/leap-donor.8").read_text().split("\n.SH RDMA\n")[1].split("\n.SH ")[0]
    return [plain(block.replace("\\-", "-")) for block in re.findall(r"\.nf\n(.*?)\.fi", section, re.S)]


def plain(block):
    lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in block.splitlines()]
    return [line for line in lines if line]


def unload(here):
    """As before the first step: no device, no modules of RDMA."""
    here.run("rdma", "link", "delete", "rxe0")
    here.run("modprobe", "-r", "rdma_rxe", "rdma_ucm")
    if [m for m in ("rdma_rxe", "rdma_ucm", "ib_uverbs") if os.path.exists("/sys/module/" + m)]:
        raise Failure("RDMA's modules are still there")


def background(here, command):
    """Starts `leap-donor ... &` and waits until it is ready."""
    with open("/tmp/steps.log", "wb") as log:
        process = subprocess.Popen(["sh", "-ec", "exec " + command.rstrip("& ")], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env=here.env())
    for _ in range(600):
        if "ready on" in open("/tmp/steps.log").read() or process.poll() is not None:
            break
        time.sleep(0.1)
    return process


def steps(here):
    card, soft = readme_steps(here)
    if [card, soft] != manual_steps(here):
        raise Failure("README and leap-donor(8) differ: %s, %s" % ([card, soft], manual_steps(here)))
    os.environ["PATH"] = "%s:%s" % (here.build / "bin", os.environ["PATH"])
    text = "".join("%d %s\n" % (n * 7919 % 100003, "line" * (n % 20)) for n in range(50000))
    with open("big.txt", "w") as file:
        file.write(text)
    unload(here)
    lender = None
    try:
        for command in soft + card:
            print("+", command, flush=True)
            if command.endswith("&"):
                lender = background(here, command)
            else:
                said = here.run("sh", "-ec", command)
                if command == "rdma link" and "ACTIVE" not in said:
                    raise Failure("rdma link shows no active port")
        if sorted(text.splitlines()) != open("sorted.txt").read().splitlines():
            raise Failure("sorted.txt is not the sorted big.txt")
        for _ in range(100):  # it says what it had lent when it has noticed that the program ended
            log = open("/tmp/steps.log").read()
            if re.search(r"[1-9]\d*M registered", log):
                break
            time.sleep(0.1)
        if not re.search(r"client \d+: rdma over rxe0 port 1", log) or not re.search(r"[1-9]\d*M registered", log):
            raise Failure("the donor was not used: " + log)
    finally:
        if lender:
            lender.kill()
        if "rxe0" not in here.run("rdma", "link"):
            for command in soft:
                here.run("sh", "-c", command)
    print("figure: %d commands of README and manual" % len(soft + card))


def device_option(here):
    """The option chooses, and says what is wrong."""
    def borrow(device, expect):
        return here.run(here.bin("leap"), "run", "--donors", ONE, "--rdma-device", device, "--", "python3", "-c",
                        "print('served')", expect=expect)

    started = donors(here, HOSTS[:1])
    try:
        for device in ("rxe0", "rxe0:1"):
            if "served" not in borrow(device, 0):
                raise Failure("the program did not run")
        for device, sentence in (("rxe0:2", "not reached from RDMA device rxe0 port 2"),
                                 ("mlx5_9", "not reached from RDMA device mlx5_9 "),
                                 ("rxe0:x", "'rxe0:x' is not NAME or NAME:PORT")):
            if not re.search(sentence, borrow(device, 125)):
                raise Failure("no sentence for " + device)
        if "device rxe0" not in here.run(here.bin("leap"), "probe"):
            raise Failure("leap probe does not name the device")
    finally:
        stop(started)


def every(here, stress, program):
    """stress(here, donors) and program(here, name, share, ...) are what runs over the other transports, too."""
    found = [Test("rdma_contract", 150, contract, here),
             Test("rdma_stress", 60, over, here, HOSTS[:1], stress, ONE),
             Test("rdma_fork", 60, over, here, HOSTS[:1], stress, ONE, "--fork"),
             Test("rdma_stolen_key", 60, stolen, here), Test("rdma_cycles", 90, cycles, here),
             Test("rdma_dead_donor", 90, dead_donor, here), Test("rdma_move", 60, move, here), Test("rdma_quarter", 90, quarter, here),
             Test("rdma_rejoin", 90, rejoin, here), Test("rdma_figures", 90, figures, here),
             Test("rdma_short_form", 60, short_form, here), Test("rdma_memlock", 30, memlock, here),
             Test("rdma_ipv6", 30, ipv6, here),
             Test("rdma_device_option", 60, device_option, here), Test("rdma_steps", 90, steps, here)]
    found += [Test("rdma_" + name, 90, over, here, HOSTS, program, name, 25, "--donors", DONORS)
              for name in ("sort", "sqlite", "redis")]
    return found
