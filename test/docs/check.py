#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check.py BUILD: compares README.md with the tree and with the programs in BUILD.

Every link and path must exist, every command and flag must be known to the program it is given to, every stage of
scripts/test that is named must be one, and every directory of the tree must stand in the source map. The manual pages must be free
of warnings and tell of each other by the right section.
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve()
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
IN_GUEST = ("modprobe", "rdma", "ulimit")  # run by test/qemu
wrong = []
checks = 0


def check(good, sentence):
    global checks
    checks += 1
    if not good:
        wrong.append(sentence)


def output(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                          timeout=60).stdout


def fenced():
    """Commands of the sh blocks, comments cut off."""
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S):
        for line in block.splitlines():
            line = re.sub(r"\s#.*", "", line).strip().rstrip("&").strip()
            if line:
                yield from line.split(" && ")


def spans():
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"```.*?```", "", TEXT, flags=re.S))


help_texts = {}


def flags_of(program, command=None):
    """The --flags that a program, or a command of leap, has by its own help."""
    key = (program, command)
    if key not in help_texts:
        words = [BUILD / "bin" / program] + (command.split() if command else []) + ["--help"]
        help_texts[key] = set(re.findall(r"--[a-z][a-z-]*", output(*words)))
    return help_texts[key]


def check_flags(words, known, shown):
    for word in words:
        if word == "--":
            break
        if word.startswith("--"):
            check(word.split("=")[0] in known, "%s: there is no flag %s" % (shown, word))


def check_command(line):
    words = line.split()
    program = words[0]
    if program.startswith("build/bin/"):
        program = program[len("build/bin/"):]
        check((BUILD / "bin" / program).exists(), "%s is not built" % program)
    if program == "leap":
        commands = re.findall(r"^  ([a-z]+) ", output(BUILD / "bin" / "leap", "--help"), re.M)
        check(words[1] in commands, "leap has no command %s" % words[1])
        command = "bench micro" if words[1] == "bench" else words[1]
        known = flags_of("leap", command)
        if words[1] == "bench":
            known = known | flags_of("leap", "run")
        check_flags(words[2:], known, line)
    elif program == "leap-donor":
        check_flags(words[1:], flags_of("leap-donor"), line)
    elif "/" in program:
        check_script(words, line)
    elif program == "cmake":
        if "--preset" in words:
            name = words[words.index("--preset") + 1]
            check('"name": "%s"' % name in (ROOT / "CMakePresets.json").read_text(), "there is no preset " + name)
    elif program not in IN_GUEST:
        check(shutil.which(program) is not None, "%s: there is no program %s" % (line, program))


def check_script(words, line):
    path = ROOT / words[0]
    check(path.exists() and path.stat().st_mode & 0o111, "%s cannot be run" % words[0])
    if words[0] == "scripts/test":
        known = output(path, "list").split() + ["quick", "all", "list", "NAME"]
        for word in words[1:]:
            check(word in known, "%s: there is no stage %s" % (line, word))
    elif words[0] == "scripts/deps":
        for word in words[1:]:
            check(word in ("build", "test", "lint", "qemu"), "%s: there is no set %s" % (line, word))
    elif words[0] == "test/programs/run":
        known = output(path, "--help")
        for word in words[1:]:
            check(re.search(r"(?<![\w-])%s(?![\w-])" % re.escape(word), known), "%s: %s is unknown" % (line, word))


def check_span(span):
    if re.match(r"(leap|leap-donor|scripts/\w+|test/programs/run|cmake|man|build/bin/\S+) \S", span):
        check_command(span)
    elif re.fullmatch(r"--[a-z][a-z-]*", span):
        check(span in flags_of("leap", "run"), "leap run has no option %s" % span)
    elif re.fullmatch(r"[\w.-]+(/[\w.-]+)+", span) and not span.startswith("build/"):
        check((ROOT / span).exists(), "there is no %s" % span)
    elif re.fullmatch(r"leap_\w+\(\)", span):
        check(span[:-1] in (ROOT / "include/leap.h").read_text(), "leap.h has no %s" % span)


def check_map():
    table = TEXT.split("## Source map")[1].split("\n## ")[0]
    named = {pathlib.PurePath(link).parts[0] for link in re.findall(r"\]\(([^)]+)\)", table)}
    for path in sorted(ROOT.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and not path.name.startswith("build") and any(path.iterdir()):
            check(path.name in named, "the source map lacks %s/" % path.name)


def check_manuals():
    pages = {path.stem: path.suffix[1:] for path in (ROOT / "man").iterdir()}
    for path in sorted((ROOT / "man").iterdir()):
        if shutil.which("man"):
            result = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", str(path)], capture_output=True, text=True,
                                    env={"LC_ALL": "C.UTF-8", "MANWIDTH": "100", "PATH": "/usr/bin:/bin"}, check=False,
                                    timeout=60)
            check(not result.stderr, "%s: %s" % (path.name, result.stderr[:300]))
        text = re.sub(r"\\f.|[\\]", "", path.read_text(encoding="utf-8"))
        for name, section in re.findall(r"\b(leap(?:-donor|-trace)?)[ ]?\((\d)\)", text):
            check(pages.get(name) == section, "%s names %s(%s)" % (path.name, name, section))


for link in re.findall(r"\]\(([^)]+)\)", TEXT):
    check((ROOT / link).exists(), "the link to %s leads nowhere" % link)
for command_line in fenced():
    check_command(command_line)
for code_span in spans():
    check_span(code_span)
check_map()
check_manuals()
for sentence in wrong:
    print("README or manual: " + sentence)
print("%d checks, %d wrong" % (checks, len(wrong)))
sys.exit(1 if wrong or checks < 50 else 0)
