# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What shows that tests of emulated products would notice: their kernels with one thing wrong at a time.

The kernel's IR is printed, changed as text, and run in a process of its own,
for the emulator ends the program when it sees what the PTX ISA forbids.
"""

import os
import pathlib
import re
import subprocess
import sys

import bf16
import nn_reference as reference
import numpy as np
import pytest

RUN = """
import sys
import numpy as np
import pst
folder = sys.argv[1]
function = pst.compile(open(folder + "/kernel.mlir").read(), target="emulated", cache=False)
a, b, expected = (np.load(f"{folder}/{name}.npy") for name in ("a", "b", "expected"))
for _ in range(2):  # late, then eager
    error = np.abs(function(a, b) - expected).max()
    if not error < 1e-3:
        sys.exit(f"wrong by {error}")
"""


def drop(pattern, number=0):
    """The IR without the number-th op that the pattern matches."""

    def change(text):
        lines = text.splitlines()
        found = [i for i, line in enumerate(lines) if re.search(pattern, line)]
        del lines[found[number]]
        return "\n".join(lines)

    return change


def replace(pattern, by):
    def change(text):
        changed, count = re.subn(pattern, by, text, count=1)
        assert count == 1
        return changed

    return change


def print_product(folder, arch, m, n, k):
    """Leaves A B^T of bf16 in a folder: the kernel's IR, arguments and result."""
    tool = pathlib.Path(os.environ.get("PST_BUILD_DIR", ".")) / "bin" / "pst-compile"
    if not tool.exists():
        pytest.skip("pst-compile is not built (PST_BUILD_DIR)")
    a, b = (bf16.rounded(reference.random(*shape, seed=seed)) for seed, shape in enumerate([(m, k), (n, k)]))
    np.save(folder / "a.npy", a)
    np.save(folder / "b.npy", b)
    np.save(folder / "expected.npy", a.astype(np.float64) @ b.T)
    types = [bf16.tensor(shape, "bf16") for shape in (a.shape, b.shape)]
    text = bf16.function(
        f"%c = nn.matmul %a, %b {{transpose_rhs}} : {types[0]}, {types[1]} -> tensor<{m}x{n}xf32>",
        [("a", a, True), ("b", b, True)],
        [("c", (m, n), False)],
    )
    (folder / "product.mlir").write_text(text)
    options = ["--target=emulated", f"--gpu-arch={arch}", "--emit=kernels"]
    subprocess.run(
        [tool, folder / "product.mlir", *options, "-o", folder / "right.mlir"],
        check=True,
    )
    return folder


def check(folder, change, message):
    """Runs the changed kernel: the message is to be seen, or, if it is None, the right result."""
    (folder / "kernel.mlir").write_text(change((folder / "right.mlir").read_text()))
    run = subprocess.run(
        [sys.executable, "-c", RUN, folder],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    if message is None:
        assert run.returncode == 0, run.stderr
    else:
        assert run.returncode != 0
        assert message in run.stderr
