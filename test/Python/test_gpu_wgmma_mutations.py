# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""That the emulated tests of wgmma would notice: its kernel with one thing wrong at a time.

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

# One tile of 64 columns; the depth goes round the eight buffers and further.
M, N, K = 120, 61, 840

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


def descriptor(change):
    """Changes the constant bits of both operands' descriptors."""

    def change_all(text):
        bits = re.search(r"arith.constant (46116\d{14}) : i64", text)[1]
        return text.replace(bits, str(change(int(bits))))

    return change_all


WAIT = r"nvvm\.mbarrier\.try_wait\.parity"
MUTATIONS = {
    "nothing": (lambda text: text, None),
    "no barrier of the block": (drop(r"gpu\.barrier"), "no initialised barrier"),
    "no fence of initialisations": (drop(r"nvvm\.fence\.mbarrier\.init"), "initialisation was not fenced"),
    "buffers filled before they are empty": (drop(WAIT, 0), ""),
    "the first buffer not waited for": (drop(WAIT, 1), ""),
    "later buffers not waited for": (drop(WAIT, 2), ""),
    "buffers never given back": (drop(r"nvvm\.mbarrier\.arrive %", 0), "all threads of a block wait"),
    "buffers given back before they are read": (drop(r"nvvm\.wgmma\.wait\.group"), "wrong by"),
    "no fence of products": (drop(r"nvvm\.wgmma\.fence"), "without a fence"),
    "products not committed": (drop(r"nvvm\.wgmma\.commit", 1), ""),
    "one operand not loaded": (drop(r"nvvm\.cp\.async\.bulk\.tensor", 1), "all threads of a block wait"),
    "too few bytes announced": (replace(r"arith.constant 24576 : i32", "arith.constant 16384 : i32"), ""),
    "too many registers": (replace(r"increase 232", "increase 240"), "more registers"),
    "another stride": (descriptor(lambda bits: bits - (32 << 32)), "wrong by"),
    "no swizzle": (descriptor(lambda bits: bits & ~(1 << 62)), "128-byte swizzle"),
    "a layout named the other way round": (replace(r"(B\[<bf16>, <one>, )<col>", r"\1<row>"), "wrong by"),
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A folder with the kernel's IR and arguments."""
    tool = pathlib.Path(os.environ.get("PST_BUILD_DIR", ".")) / "bin" / "pst-compile"
    if not tool.exists():
        pytest.skip("pst-compile is not built (PST_BUILD_DIR)")
    folder = tmp_path_factory.mktemp("kernel")
    a, b = (bf16.rounded(reference.random(*shape, seed=seed)) for seed, shape in enumerate([(M, K), (N, K)]))
    np.save(folder / "a.npy", a)
    np.save(folder / "b.npy", b)
    np.save(folder / "expected.npy", a.astype(np.float64) @ b.T)
    types = [bf16.tensor(shape, "bf16") for shape in (a.shape, b.shape)]
    text = bf16.function(
        f"%c = nn.matmul %a, %b {{transpose_rhs}} : {types[0]}, {types[1]} -> tensor<{M}x{N}xf32>",
        [("a", a, True), ("b", b, True)],
        [("c", (M, N), False)],
    )
    (folder / "product.mlir").write_text(text)
    command = [tool, folder / "product.mlir", "--target=emulated", "--emit=kernels", "-o", folder / "right.mlir"]
    subprocess.run(command, check=True)
    return folder


@pytest.mark.parametrize("name", MUTATIONS)
def test_is_noticed(kernel, name):
    change, message = MUTATIONS[name]
    (kernel / "kernel.mlir").write_text(change((kernel / "right.mlir").read_text()))
    run = subprocess.run([sys.executable, "-c", RUN, kernel], check=False, capture_output=True, text=True, env=os.environ)
    if message is None:
        assert run.returncode == 0, run.stderr
    else:
        assert run.returncode != 0
        assert message in run.stderr
