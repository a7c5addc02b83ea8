# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products of bf16 matrices by TMA and wgmma (sm_90a), run by the emulator.

Which shapes take this way, test/Codegen/GPU/gemm-wgmma.mlir shows: rows of both
operands must begin at multiples of 16 bytes, that is of 8 elements.
"""

import bf16
import nn_reference as reference
import numpy as np
import pytest
from bf16 import emulate

import pst

pytestmark = pytest.mark.usefixtures("recorded_checks")


def check_product(m, n, k, transposed, result):
    a = bf16.rounded(reference.random(m, k))
    b = bf16.rounded(reference.random(k, n, seed=1))
    expected = a.astype(np.float64) @ b
    size = np.abs(a).astype(np.float64) @ np.abs(b)
    a = np.ascontiguousarray(a.T) if "lhs" in transposed else a
    b = np.ascontiguousarray(b.T) if "rhs" in transposed else b
    types = [bf16.tensor(shape, kind) for shape, kind in ((a.shape, "bf16"), (b.shape, "bf16"), ((m, n), result))]
    (c,) = emulate(
        f"%c = nn.matmul %a, %b {{{transposed}}} : {types[0]}, {types[1]} -> {types[2]}",
        [("a", a, True), ("b", b, True)],
        [("c", (m, n), result == "bf16")],
    )
    bf16.close(c, expected, result == "bf16", arithmetic=1e-6, size=size)


# Tiles have 128 rows and here 64 columns, and 64 of k are loaded at once: all
# in part, one, more than one of each.
@pytest.mark.parametrize(
    "transposed, m, n, k",
    [
        ("transpose_rhs", 1, 1, 8),
        ("transpose_rhs", 37, 53, 24),
        ("transpose_rhs", 131, 257, 328),
        ("", 1, 8, 8),
        ("", 129, 136, 72),
        ("", 67, 256, 320),
        ("transpose_lhs", 8, 8, 1),
        ("transpose_lhs", 136, 120, 67),
        ("transpose_lhs", 256, 264, 257),
        ("transpose_lhs, transpose_rhs", 72, 131, 136),
    ],
)
@pytest.mark.parametrize("result", ["f32", "bf16"])
def test_product(transposed, m, n, k, result):
    check_product(m, n, k, transposed, result)


# More tiles than blocks, so that a block's buffers go round over several: with
# tiles of 192 columns, and of 256; and one round of 128.
@pytest.mark.parametrize(
    "transposed, m, n, k",
    [
        ("transpose_rhs", 2053, 2051, 200),
        ("", 2051, 2056, 24),
        ("transpose_lhs", 2056, 2056, 17),
        ("transpose_rhs", 4093, 2041, 136),
        ("", 4093, 2040, 24),
        ("transpose_lhs", 4088, 2040, 17),
        ("transpose_rhs", 1027, 1541, 136),
    ],
)
def test_large_product(transposed, m, n, k):
    check_product(m, n, k, transposed, "f32")


# Stored by TMA in boxes of 64 columns: three and four to a tile, and rows that it cannot store.
@pytest.mark.parametrize("m, n", [(2053, 2056), (4088, 2040), (2051, 2055)])
def test_large_result_of_bf16(m, n):
    check_product(m, n, 24, "transpose_rhs", "bf16")


@pytest.mark.parametrize("tokens, n, m", [(37, 131, 72), (150, 136, 264)])
@pytest.mark.parametrize("result", ["f32", "bf16"])
def test_bias(tokens, n, m, result):
    x, w = bf16.rounded(reference.random(tokens, m)), bf16.rounded(reference.random(n, m, seed=1))
    bias = reference.random(n, seed=2)
    types = [bf16.tensor(shape, kind) for shape, kind in ((x.shape, "bf16"), (w.shape, "bf16"), ((tokens, n), result))]
    (y,) = emulate(
        f"%y = nn.linear %x, %w bias(%b : tensor<{n}xf32>) : {types[0]}, {types[1]} -> {types[2]}",
        [("x", x, True), ("w", w, True), ("b", bias, False)],
        [("y", (tokens, n), result == "bf16")],
    )
    size = np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(bias)
    bf16.close(y, x.astype(np.float64) @ w.T + bias, result == "bf16", arithmetic=1e-6, size=size)


# Tiles that stay in shared memory: of 128 columns, and of 64, several to a block, where they lie in each other's place.
@pytest.mark.parametrize("n, m, tokens", [(1480, 1400, 136), (2056, 1024, 24)])
def test_gradient_of_a_dense_factor(n, m, tokens):
    dy, x = bf16.rounded(reference.random(tokens, n)), bf16.rounded(reference.random(tokens, m, seed=1))
    weight = f"tensor<{n}x{m}xf32>"
    text = f"""pst.criterion @c(%w: dense) {{
      pst.yield weight %w
    }}
    func.func @main(%dy_f32: tensor<{tokens}x{n}xf32>, %x_f32: tensor<{tokens}x{m}xf32>, %w: {weight}) -> {weight} {{
      %dy = arith.truncf %dy_f32 : tensor<{tokens}x{n}xf32> to tensor<{tokens}x{n}xbf16>
      %x = arith.truncf %x_f32 : tensor<{tokens}x{m}xf32> to tensor<{tokens}x{m}xbf16>
      %g = pst.lowrank_accumulate %dy, %x, @c(%w) wrt [0] :
        tensor<{tokens}x{n}xbf16>, tensor<{tokens}x{m}xbf16>, ({weight}) -> {weight}
      return %g : {weight}
    }}"""
    w = reference.random(n, m, seed=2)
    (g,) = reference.call(pst.compile(text, target="emulated"), dy, x, w)
    size = np.abs(dy).astype(np.float64).T @ np.abs(x)
    bf16.close(g, dy.astype(np.float64).T @ x, narrow=False, arithmetic=1e-6, size=size)
