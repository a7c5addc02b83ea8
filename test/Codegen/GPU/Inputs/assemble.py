# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Assembles PTX with ptxas, and fails on what would be slow or wrong without a word at run time.

    assemble.py CHIP FILE.ptx

Prints one line for each kernel: its name, registers, bytes of shared memory.
"""

import re
import subprocess
import sys
import tempfile

# setmaxnreg ignored; wgmma serialised, or its registers moved; and their like.
WARNINGS = ("C7508", "C7510", "C7511", "C7517", "C7519", "C7602")


def main(chip, path):
    with open(path) as file:
        text = file.read()
    problems = [f"calls from outside: {line}" for line in re.findall(r"\.extern \.func.*", text)]
    # Contracted by ptxas, a score would no longer be the CPU's.
    problems += [f"not rounded by itself: {line}" for line in re.findall(r"\b(?:add|sub|mul|fma)(?:\.ftz)?\.f(?:32|64)\b.*", text)]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        run = subprocess.run(["ptxas", f"-arch={chip}", "-v", path, "-o", cubin.name], capture_output=True, text=True)
    log = run.stdout + run.stderr
    if run.returncode:
        problems.append("ptxas failed")
    problems += [f"ptxas says {code}" for code in WARNINGS if code in log]
    name, lines = "", []
    for line in log.splitlines():
        if found := re.search(r"Compiling entry function '(\S+)'", line):
            name = found[1]
        if (found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)) and found[1] + found[2] != "00":
            problems.append(f"{name} spills: {line.strip()}")
        if found := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            lines.append(f"{name}: {found[1]} registers, {shared[1] if shared else 0} bytes shared")
    print("\n".join(sorted(lines)))
    if problems:
        sys.exit("\n".join([log, *problems]))
    if not lines:
        sys.exit("no kernel in " + path)


main(*sys.argv[1:])
