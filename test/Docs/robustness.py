# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Looks up each test that docs/Robustness.md names, as `FILE` and then parts of names."""

import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
text = " ".join((root / "docs/Robustness.md").read_text().split())
named = re.findall(r"`(test/(?:Python|Unit)/[\w/]+\.(?:py|cpp))` ((?:\w+, )*\w+)", text)
assert len(named) > 30, "the page is not as this test reads it"
wrong = []
for file, parts in named:
    source = (root / file).read_text() if (root / file).exists() else ""
    tests = re.findall(r"^def (test_\w+)", source, re.M) or re.findall(r"^TEST(?:_F)?\((\w+,\s*\w+)\)", source, re.M)
    wrong += [f"{file}: {part}" for part in parts.split(", ") if not any(part in test for test in tests)]
# A file that is named without a test shows nothing.
files = re.findall(r"`(test/(?:Python|Unit)/[^`]+)`", text)
assert len(files) == len(named), set(files) - {file for file, _ in named}
sys.exit("\n".join(wrong) or 0)
