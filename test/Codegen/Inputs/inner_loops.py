# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Reads assembly (x86-64 in AT&T syntax, AArch64) and says of each innermost
loop of one block that multiplies and adds vectors: its function, how many such
instructions, into how many registers, how many with a memory operand, and how
many instructions of the loop move vectors to or from the stack."""

import re
import sys

FMA = re.compile(r"(vfn?m(?:add|sub)\d*ps|fml[as])\s+(.*)")
VECTOR = re.compile(r"%[xyz]mm\d+|\b[qv]\d+\b")


def describe(function, body):
    fmas = [match[2] for line in body if (match := FMA.match(line)) and VECTOR.search(match[2])]
    if not fmas:
        return
    x86 = "%" in fmas[0]
    accumulators = {VECTOR.findall(operands)[-1 if x86 else 0] for operands in fmas}
    from_memory = sum("(" in operands for operands in fmas)
    stack = sum(bool(re.search(r"\(%r[sb]p|\[(sp|x29)\b", line) and VECTOR.search(line)) for line in body)
    print(f"{function}: {len(fmas)} fma, {len(accumulators)} accumulators, {from_memory} from memory, {stack} spilled")


function, label, body = "", None, []
for line in sys.stdin:
    line = line.split("#")[0].split("//")[0].strip()
    if match := re.match(r'"?([A-Za-z_][^":]*)"?:$', line):
        function, label, body = match[1], None, []
    elif match := re.match(r"(\.LBB\w+):$", line):
        label, body = match[1], []
    elif line and not line.startswith("."):
        if label and re.match(rf"(j\w+|b\.\w+|cbn?z|tbn?z)\s.*{re.escape(label)}$", line):
            describe(function, body)
            label = None
        body.append(line)
