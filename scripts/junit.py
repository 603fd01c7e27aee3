# SPDX-License-Identifier: Apache-2.0
"""junit.py FILE PREFIX: reads what ctest --output-junit wrote; prints pass, fail or skip, a tab and the name of each
test, and writes the output of those that failed to PREFIX + name + .out."""
import sys
import xml.etree.ElementTree as tree

for case in tree.parse(sys.argv[1]).getroot().iter("testcase"):
    name, status = case.get("name"), case.get("status")
    if case.find("skipped") is not None or status in ("disabled", "notrun") and case.find("failure") is None:
        kind = "skip"
    else:
        kind = "pass" if status == "run" and case.find("failure") is None else "fail"
    if kind == "fail":
        failure = case.find("failure")
        with open(sys.argv[2] + name + ".out", "w", encoding="utf-8", errors="replace") as out:
            out.write(case.findtext("system-out") or "")
            if failure is not None and failure.get("message"):
                out.write("\nctest: %s\n" % failure.get("message"))
    print(kind, name, sep="\t")
