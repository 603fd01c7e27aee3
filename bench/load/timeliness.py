# SPDX-License-Identifier: Apache-2.0
"""Timeliness, from the trace of a run (leap-trace(5)): how long before its first touch a page was asked for."""
import array
import struct

HEADER = struct.Struct("<4sHBBQIIQQ8sQQ")
RECORD = struct.Struct("<QQIHBB")
REGION_BYTES = 56
BLOCK_RECORDS = 1 << 16
HIT, LATE_HIT, ISSUE, UNUSED, DROP = 1, 2, 5, 7, 11


def records(path):
    with open(path, "rb") as file:
        magic, version, _, _, count, regions, at = HEADER.unpack(file.read(HEADER.size))[:7]
        if magic != b"LPT1" or version != 1:
            raise ValueError("%s is no trace of a version that is known here" % path)
        file.seek(at or HEADER.size + regions * REGION_BYTES)
        while count > 0:
            block = file.read(min(count, BLOCK_RECORDS) * RECORD.size)
            if not block:
                return
            yield from RECORD.iter_unpack(block[:len(block) // RECORD.size * RECORD.size])
            count -= BLOCK_RECORDS


def waits_ns(path):
    """For each prefetched page that was touched."""
    asked, waits = {}, array.array("q")
    for t, page, pages, _, op, _ in records(path):
        if op == ISSUE:
            for k in range(pages or 1):
                asked[page + k] = t
        elif op in (HIT, LATE_HIT):
            issued = asked.pop(page, None)
            if issued is not None:
                waits.append(t - issued)
        elif op in (UNUSED, DROP):
            for k in range(pages or 1):
                asked.pop(page + k, None)
    return waits


def percentile_ms(path, share):
    """None when no prefetched page was touched."""
    waits = sorted(waits_ns(path))
    return waits[min(int(len(waits) * share), len(waits) - 1)] / 1e6 if waits else None
