#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the kernel busy with a program's pages: migration, huge pages, KSM, swap, a busy CPU.

    test/disturb/disturb.py [--seconds N] [--only LIST] [--without LIST] [--seed N] --pid PID
    test/disturb/disturb.py [...] -- COMMAND [ARGUMENT...]

Disturbs PID and all its descendants, or COMMAND, until it ends, for at most N seconds (300). With COMMAND the exit status is that of
COMMAND. What this machine or user does not allow is left out, and the last line on stderr names it and says
what was done. Machine-wide settings are put back however this ends, also when it is killed: two processes know the
settings of before, and the one that is left restores them. One disturber at a time changes them.

    migration   compaction of all memory every 5 to 30 ms
    numa        the program's pages go from node to node
    thp         huge pages for all, khugepaged without pause, MADV_COLLAPSE
    ksm         all of COMMAND's memory may be merged; KSM merges without pause, and takes all apart now and then
    swap        a swap file of 128 MiB, MADV_PAGEOUT and MADV_WILLNEED on the program's pages
    busy        a CPU is taken away half of the time
"""
import argparse
import ctypes
import fcntl
import os
import pathlib
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

MM = pathlib.Path("/sys/kernel/mm")
THP = MM / "transparent_hugepage"
KSM = MM / "ksm"
COMPACT = pathlib.Path("/proc/sys/vm/compact_memory")
LOCK = "\0leap-disturb"  # the name of a socket: whoever is bound to it may change settings
READY_S = 30
SWAP_BYTES = 128 << 20
PAGE = 4096
PIECE = 1 << 20  # at most so much is advised by one call
SYS_MIGRATE_PAGES, SYS_PROCESS_MADVISE = 256, 440
MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE = 3, 20, 21, 25
PR_SET_PDEATHSIG, PR_SET_MEMORY_MERGE = 1, 67
PAGEMAP_SCAN = 0xC0606610
PAGE_IS_PRESENT = 1 << 3
SCAN_MOST = 512
COUNTERS = {"pgmigrate_success": "pages migrated", "thp_collapse_alloc": "huge pages collapsed",
            "pswpout": "pages swapped out", "pswpin": "in"}

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class LeftOut(Exception):
    """This machine, or this user, does not allow it; the text says why."""


def chosen(path):
    """A setting's value; of "always [madvise] never" what is in brackets."""
    text = path.read_text().strip()
    return text[text.index("[") + 1:text.index("]")] if "[" in text else text


# --- the program's pages ------------------------------------------------------------------------------------------


def family(pid):
    """The process and all that descend from it, without this disturber."""
    found, left = [], [pid]
    while left:
        one = left.pop()
        try:
            for task in pathlib.Path("/proc/%d/task" % one).iterdir():
                left += map(int, (task / "children").read_text().split())
            if one not in Disturber.own:
                found.append(one)
        except OSError:
            pass
    return found


def anonymous_maps(pid):
    """(start, end) of the private writable mappings without a file."""
    for line in pathlib.Path("/proc/%d/maps" % pid).read_text().splitlines():
        words = line.split()
        if words[1] == "rw-p" and (len(words) < 6 or words[5] == "[heap]"):
            yield tuple(int(x, 16) for x in words[0].split("-"))


def present(pid, start, end):
    """Some runs of present pages; all of the range where the kernel cannot tell them (before Linux 6.7)."""
    runs = (ctypes.c_uint64 * (3 * SCAN_MOST))()
    arg = bytearray(struct.pack("<QQQQQQQQQQQQ", 96, 0, start, end, 0, ctypes.addressof(runs), SCAN_MOST, 0, 0,
                                PAGE_IS_PRESENT, 0, PAGE_IS_PRESENT))
    with open("/proc/%d/pagemap" % pid, "rb") as pagemap:
        try:
            n = fcntl.ioctl(pagemap, PAGEMAP_SCAN, arg, True)
        except OSError:
            return [(start, end)]
    return [(runs[3 * i], runs[3 * i + 1]) for i in range(n)]


def advise(pid, start, length, advice):
    """process_madvise(); returns whether the kernel took it."""
    iov = struct.pack("<QQ", start, length)
    fd = os.pidfd_open(pid)
    try:
        return libc.syscall(SYS_PROCESS_MADVISE, fd, iov, 1, advice, 0) > 0
    finally:
        os.close(fd)


def advise_some(pid, advices):
    """Some advice for some pages of each mapping of the family."""
    for one in family(pid):
        try:
            maps = list(anonymous_maps(one))
            for start, end in random.sample(maps, min(len(maps), 16)):
                # a random start, or the beginning: reservations are mostly empty
                at = random.choice([start, start + random.randrange((end - start) // PAGE) * PAGE])
                for a, b in random.sample(found := present(one, at, end), min(len(found), 8)):
                    advise(one, a, min(b - a, PIECE), random.choice(advices))
        except OSError:
            pass


def advice_or_leave_out():
    """Asks a process of ours, as the program is."""
    if not hasattr(os, "pidfd_open") or os.geteuid():
        raise LeftOut("only root may advise another process")


# --- enemies -------------------------------------------------------------------------------------------------------
# start() raises LeftOut, or OSError where a setting cannot be written; step() is called over and over, and waits itself.


class Enemy:
    settings = ()  # paths that start() and step() write

    def __init__(self, pid):
        self.pid = pid

    def set(self, path, value):
        path.write_text(str(value))


class Migration(Enemy):
    def start(self):
        with open(COMPACT, "w"):
            pass

    def step(self):
        COMPACT.write_text("1")
        time.sleep(random.uniform(0.005, 0.03))


class Numa(Enemy):
    def start(self):
        advice_or_leave_out()
        self.nodes = [int(p.name[4:]) for p in pathlib.Path("/sys/devices/system/node").glob("node[0-9]*")]
        if len(self.nodes) < 2:
            raise LeftOut("this machine has one node")

    def step(self):
        old, new = random.sample(self.nodes, 2)
        masks = [(ctypes.c_uint64 * 16)(*[1 << n % 64 if n // 64 == i else 0 for i in range(16)]) for n in (old, new)]
        for one in family(self.pid):
            libc.syscall(SYS_MIGRATE_PAGES, one, 1024, masks[0], masks[1])
        time.sleep(random.uniform(0.005, 0.05))


class Thp(Enemy):
    settings = (THP / "enabled", *(THP / "khugepaged" / n for n in ("scan_sleep_millisecs", "alloc_sleep_millisecs",
                                                                    "pages_to_scan")))

    def start(self):
        if not THP.is_dir():
            raise LeftOut("this kernel has no transparent huge pages")
        self.set(THP / "enabled", "always")
        self.set(THP / "khugepaged/alloc_sleep_millisecs", 10)
        self.set(THP / "khugepaged/pages_to_scan", 16384)

    def step(self):
        self.set(THP / "khugepaged/scan_sleep_millisecs", random.choice([1, 10, 100]))
        if not os.geteuid():
            advise_some(self.pid, [MADV_COLLAPSE])
        time.sleep(random.uniform(0.02, 0.1))


class Ksm(Enemy):
    settings = tuple(KSM / n for n in ("sleep_millisecs", "pages_to_scan", "run"))

    def start(self):
        if not KSM.is_dir():
            raise LeftOut("this kernel has no KSM")
        self.set(KSM / "sleep_millisecs", 5)
        self.set(KSM / "pages_to_scan", 1000)
        self.set(KSM / "run", 1)

    def step(self):
        time.sleep(random.uniform(0.5, 2))
        self.set(KSM / "run", 2)  # all apart
        self.set(KSM / "run", 1)


class Swap(Enemy):
    @staticmethod
    def make(path):
        """A swap area as mkswap makes it: version 1, last page, no bad pages, and the signature."""
        with open(path, "wb") as file:
            header = bytearray(PAGE)
            struct.pack_into("<III", header, 1024, 1, SWAP_BYTES // PAGE - 1, 0)
            header[-10:] = b"SWAPSPACE2"
            file.write(header)
            for _ in range(SWAP_BYTES // (1 << 20)):
                file.write(bytes(1 << 20))
            file.truncate(SWAP_BYTES)
            os.fsync(file)

    def start(self):
        advice_or_leave_out()
        path = Disturber.swap_file
        os.chmod(path, 0o600)
        self.make(path)
        if libc.swapon(os.fsencode(path), 0):
            raise LeftOut("swapon %s: %s" % (path, os.strerror(ctypes.get_errno())))

    def step(self):
        advise_some(self.pid, [MADV_PAGEOUT, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLD])
        time.sleep(random.uniform(0.01, 0.1))


class Busy(Enemy):
    def start(self):
        self.process = os.fork()
        if self.process:
            Disturber.own.add(self.process)
            return
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.closerange(3, 1000)
        while True:
            end = time.monotonic() + random.uniform(0.001, 0.02)
            while time.monotonic() < end:
                pass
            time.sleep(random.uniform(0.001, 0.02))

    def step(self):
        time.sleep(1)


ENEMIES = {"busy": Busy, "migration": Migration, "numa": Numa, "thp": Thp, "ksm": Ksm, "swap": Swap}


# --- two processes, one of which restores --------------------------------------------------------------------------


class Disturber:
    own = set()
    swap_file = None

    def __init__(self, names):
        self.names = names
        self.before = {}
        self.left_out = {}
        self.lock = None
        shared = [n for n in names if ENEMIES[n].settings or n == "swap"]
        if shared and not self.take_lock():
            for name in shared:
                self.left_out[name] = "another disturber has the settings" if not os.geteuid() else "only root may"
                names.remove(name)
        for name in names:
            for path in ENEMIES[name].settings:
                if path.exists():
                    self.before[path] = chosen(path)
        if "swap" in names:
            fd, Disturber.swap_file = tempfile.mkstemp(prefix="leap-disturb-", suffix=".swap", dir="/var/tmp")
            os.close(fd)
        self.counters = self.count()

    def take_lock(self):
        """Held until both processes have ended: the worker inherits it."""
        if os.geteuid():
            return False
        self.lock = socket.socket(socket.AF_UNIX)
        try:
            self.lock.bind(LOCK)
        except OSError:
            return False
        return True

    @staticmethod
    def count():
        lines = pathlib.Path("/proc/vmstat").read_text().splitlines()
        return {k: int(v) for k, v in (line.split() for line in lines) if k in COUNTERS}

    def work(self, pid, ready):
        """The worker: disturbs until it is killed. When its keeper dies it restores, and ends."""
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        Disturber.own.add(os.getpid())
        ends = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ends.set())
        started = []
        for name in self.names:
            try:
                enemy = ENEMIES[name](pid)
                enemy.start()
                started.append(enemy)
            except (LeftOut, OSError) as error:
                os.write(ready, ("%s\t%s\n" % (name, error)).encode())
        os.close(ready)
        for enemy in started:
            threading.Thread(target=self.over_and_over, args=(enemy, ends), daemon=True).start()
        while not ends.wait(0.5):
            pass
        time.sleep(0.2)
        self.restore()
        os._exit(0)

    @staticmethod
    def over_and_over(enemy, ends):
        while not ends.is_set():
            try:
                enemy.step()
            except OSError:
                time.sleep(0.1)

    def start(self, pid):
        """Returns when all enemies are at work."""
        told, ready = os.pipe()
        Disturber.own.add(os.getpid())
        self.worker = os.fork()
        if not self.worker:
            os.close(told)
            try:
                self.work(pid, ready)
            finally:
                os._exit(1)
        Disturber.own.add(self.worker)
        os.close(ready)
        text, end = b"", time.monotonic() + READY_S
        while select.select([told], [], [], max(0, end - time.monotonic()))[0] and (part := os.read(told, 4096)):
            text += part
        os.close(told)
        for line in text.decode().splitlines():
            name, _, why = line.partition("\t")
            self.left_out[name] = why

    def stop(self):
        """Ends the worker and restores; returns what was done, as a sentence."""
        try:
            os.kill(self.worker, signal.SIGKILL)
            os.waitpid(self.worker, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        after = self.count()
        did = ", ".join("%d %s" % (after[k] - self.counters[k], what) for k, what in COUNTERS.items() if k in after)
        if KSM / "run" in self.before:
            did += ", %s pages are merged" % (KSM / "pages_sharing").read_text().strip()
        self.restore()
        return "disturb: %s: %s; left out: %s" % (
            ", ".join(n for n in self.names if n not in self.left_out) or "nothing", did,
            ", ".join("%s (%s)" % x for x in self.left_out.items()) or "nothing")

    def restore(self):
        for path, value in self.before.items():
            try:
                if path == KSM / "run" and value == "0":
                    path.write_text("2")  # what was merged comes apart
                path.write_text(value)
            except OSError:
                pass
        if Disturber.swap_file:
            for _ in range(5):
                if not libc.swapoff(os.fsencode(Disturber.swap_file)) or ctypes.get_errno() not in (4, 12):
                    break
                time.sleep(0.2)
            pathlib.Path(Disturber.swap_file).unlink(missing_ok=True)


def merge_memory():
    """In COMMAND before it runs: KSM may merge all of it, and what it starts."""
    libc.prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0)


class Beside:
    """For the tests that are Python: a disturber of this process's descendants beside them."""

    def __init__(self, arguments=()):
        merge_memory()  # inherited
        self.process = subprocess.Popen([sys.executable, __file__, "--pid", str(os.getpid()), "--ready", *arguments],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def stop(self):
        """The sentence that says what was done."""
        self.process.terminate()
        return self.process.communicate()[1].strip()


def end_of(pid, command, seconds, told):
    """Waits until the program ends, or the time is up, or a signal says so. Returns COMMAND's exit status."""
    end = time.monotonic() + seconds
    while not told and time.monotonic() < end:
        if command and command.poll() is not None:
            break
        if not command and not os.path.exists("/proc/%d" % pid):
            break
        time.sleep(0.05)
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--only", default=",".join(ENEMIES))
    parser.add_argument("--without", default="")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--ready", action="store_true", help="write a line to stdout when all are at work")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    options = parser.parse_args(argv)
    options.only, options.without = (list(filter(None, x.split(","))) for x in (options.only, options.without))
    for name in options.only + options.without:
        if name not in ENEMIES:
            parser.error("there is no %s; there are %s" % (name, ", ".join(ENEMIES)))
    options.command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if bool(options.pid) == bool(options.command):
        parser.error("name a process or a command")
    return options


def main(argv):
    options = parse(argv)
    random.seed(options.seed)
    told = []
    command = None
    disturber = Disturber([n for n in options.only if n not in options.without])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: told.append(n))
    try:
        disturber.start(options.pid or os.getpid())
        if options.ready:
            os.write(1, b"ready\n")
        if options.command:
            command = subprocess.Popen(options.command, preexec_fn=merge_memory)
        end_of(options.pid, command, options.seconds, told)
    finally:
        said = disturber.stop()
    print(said, file=sys.stderr, flush=True)
    if not command:
        return 0
    if told:
        command.send_signal(told[0])
    status = command.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
