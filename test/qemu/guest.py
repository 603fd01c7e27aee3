# SPDX-License-Identifier: Apache-2.0
"""Runs tests inside the emulated machine, one at a time, each in a process and with a time limit of its own.

    guest.py ROOT BUILD FACTOR OUTPUT [NAME,...]

Limits are multiplied by FACTOR. OUTPUT 1: what passes shows its output, too.

Standard output is a stream of lines for the host: `plan N`, then for each test `start NAME LIMIT`, `say TEXT` any
number of times, and `pass|fail|skip NAME SECONDS REASON`; at last `end`. A test's whole output is told when it
fails, its figures (lines that it marks) always.
"""
import os
import pathlib
import signal
import sys
import time
import traceback

import tests

LINES_MAX = 100
PASS, FAIL, SKIP = 0, 1, 77


def tell(*words):
    print(*words, flush=True)


def others():
    """Processes besides this one and the first; kernel threads have no memory map."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (1, os.getpid()):
            try:
                if (entry / "cmdline").read_bytes():
                    yield entry
            except OSError:
                pass


def show_processes():
    """Where everything stands that still runs: the first thing to know about a hang."""
    for process in others():
        try:
            tell("say   process", process.name, (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100])
            for thread in sorted((process / "task").iterdir()):
                state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
                stack = [line.split("] ")[-1].split("+")[0] for line in (thread / "stack").read_text().splitlines()]
                tell("say     ", thread.name, (thread / "comm").read_text().strip(), state, " < ".join(stack[:6]))
        except OSError:
            pass


def kill_others():
    for _ in range(50):
        left = list(others())
        for process in left:
            try:
                os.kill(int(process.name), signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        if not left:
            return
        time.sleep(0.02)


def child(test, output):
    """The test's own process. Its end says how it went; the reason is its last line."""
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    scratch = pathlib.Path("/tmp/scratch")
    os.makedirs(scratch, exist_ok=True)
    os.chdir(scratch)
    try:
        test.function(*test.arguments)
        code, reason = PASS, ""
    except tests.Skip as skip:
        code, reason = SKIP, str(skip)
    except tests.Failure as failure:
        code, reason = FAIL, str(failure)
    except BaseException as problem:  # pylint: disable=broad-except
        code, reason = FAIL, "%s: %s" % (type(problem).__name__, problem)
        traceback.print_exc()
    sys.stdout.flush()
    lines = reason.splitlines() or [""]
    os.write(1, "".join("\n" + line for line in lines[1:] + lines[:1]).encode())
    os._exit(code)


def run(test, all_output):
    """How the test went, in what time, and why."""
    output = "/tmp/output"
    start = time.monotonic()
    pid = os.fork()
    if not pid:
        child(test, output)
    ended = None
    while time.monotonic() - start < test.limit and ended is None:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            ended = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.05)
    took = time.monotonic() - start
    lines = pathlib.Path(output).read_text(errors="replace").splitlines() or [""]
    reason = lines.pop()
    how = {PASS: "pass", SKIP: "skip"}.get(ended, "fail")
    if how == "fail" or all_output:
        if ended is None:
            lines.append(reason)
            reason = "did not end in %d s" % test.limit
        elif ended not in (PASS, FAIL, SKIP):
            lines.append(reason)
            reason = "its process ended with %d" % ended
        for line in lines[-LINES_MAX:]:
            tell("say", line)
        if ended is None:
            show_processes()
    else:
        for line in lines:
            if line.startswith("figure: "):
                tell("say", line[8:])
    kill_others()
    return how, took, reason


def main(root, build, factor, output, names=""):
    chosen = tests.choose(tests.every(pathlib.Path(root), pathlib.Path(build)), [n for n in names.split(",") if n])
    tell("plan", len(chosen))
    failed = 0
    for test in chosen:
        test.limit *= int(factor)
    for test in chosen:
        tell("start", test.name, test.limit)
        print("guest:", test.name, file=sys.stderr, flush=True)
        how, took, reason = run(test, output == "1")
        failed += how == "fail"
        tell(how, test.name, "%.1f" % took, reason)
    tell("end")
    return 1 if failed else 0


sys.exit(main(*sys.argv[1:]))
