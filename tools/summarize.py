#!/usr/bin/env python3
# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Adds up JUnit files: a table, failed and skipped tests by name, and at last
'N passed, N failed, N skipped'. The exit status is 1 if a test failed, or if a
file is missing or holds no test, since then a runner did not run."""

import sys
import xml.etree.ElementTree as tree


def outcomes(path):
    """(outcome, name, reason) of every test in a JUnit file."""
    for case in tree.parse(path).iter("testcase"):
        name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
        kinds = {child.tag: child for child in case}
        if "failure" in kinds or "error" in kinds or case.get("status") == "fail":
            yield "failed", name, ""
        elif "skipped" in kinds or case.get("status") in ("notrun", "disabled"):
            yield "skipped", name, kinds["skipped"].get("message", "") if "skipped" in kinds else ""
        else:
            yield "passed", name, ""


def main(paths):
    total = {"passed": 0, "failed": 0, "skipped": 0}
    lines = []
    for path in paths:
        counts = dict.fromkeys(total, 0)
        try:
            for outcome, name, reason in outcomes(path):
                counts[outcome] += 1
                if outcome != "passed":
                    lines.append(f"{outcome}: {name}" + (f" ({reason})" if reason else ""))
            if not any(counts.values()):
                raise ValueError("no test was run")
        except (OSError, ValueError, tree.ParseError) as error:
            counts["failed"] += 1
            lines.append(f"failed: {path}: {error}")
        print(f"{path}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
        for outcome, count in counts.items():
            total[outcome] += count
    print(*lines, sep="\n" if lines else "")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
