# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products with few tiles and a long k, whose parts are summed by blocks of their own, run by the emulator.

test/Codegen/GPU/split-k.mlir shows that such products are split. Parts of k are
not whole here, nor tiles; where n is a multiple of 4, wgmma's are stored by TMA.
"""

import bf16
import nn_reference as reference
import numpy as np
import pytest

import pst

pytestmark = pytest.mark.usefixtures("recorded_checks")

WAYS = {
    "wgmma": ("bf16", {"gpu_arch": "sm_90a"}),
    "mma": ("bf16", {"gpu_arch": "sm_80"}),
    "tf32": ("f32", {"gpu_arch": "sm_80", "precision": "tf32"}),
    "fma": ("f32", {"gpu_arch": "sm_80"}),
}


def operands(way, *shapes):
    """Arrays that the way multiplies without rounding them."""
    arrays = [reference.random(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    return arrays if way == "fma" else [bf16.rounded(array) for array in arrays]


def emulate(way, body, arguments, results):
    kind, options = WAYS[way]
    text = bf16.function(body, arguments, results)
    function = pst.compile(text, target="emulated", **options)
    return reference.call(function, *(value for _, value, _ in arguments))


@pytest.mark.parametrize(
    "way, form, m, n, k, result",
    [
        ("wgmma", "NT", 136, 72, 2056, "f32"),
        ("wgmma", "NT", 256, 264, 3080, "bf16"),
        ("wgmma", "NN", 131, 256, 1032, "bf16"),
        ("wgmma", "TN", 128, 72, 1201, "f32"),
        ("wgmma", "TN", 120, 56, 5000, "bf16"),
        ("wgmma", "NT", 37, 61, 2056, "f32"),
        ("mma", "NT", 70, 130, 2050, "f32"),
        ("mma", "NN", 64, 61, 1087, "bf16"),
        ("mma", "TN", 136, 72, 1600, "bf16"),
        ("tf32", "TN", 65, 67, 1601, "f32"),
        ("fma", "NT", 37, 53, 1300, "f32"),
        ("fma", "TN", 130, 70, 9001, "f32"),
    ],
)
def test_product(way, form, m, n, k, result):
    a, b = operands(way, (m, k), (k, n))
    expected, size = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    flags = {"NT": "transpose_rhs", "NN": "", "TN": "transpose_lhs"}[form]
    a = np.ascontiguousarray(a.T) if form == "TN" else a
    b = np.ascontiguousarray(b.T) if form == "NT" else b
    kind = WAYS[way][0]
    types = [bf16.tensor(shape, element) for shape, element in ((a.shape, kind), (b.shape, kind), ((m, n), result))]
    (c,) = emulate(
        way,
        f"%c = nn.matmul %a, %b {{{flags}}} : {types[0]}, {types[1]} -> {types[2]}",
        [("a", a, kind == "bf16"), ("b", b, kind == "bf16")],
        [("c", (m, n), result == "bf16")],
    )
    bf16.close(c, expected, result == "bf16", arithmetic=1e-6, size=size)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tokens, n", [(37, 74), (128, 24)])
def test_epilogue(way, tokens, n):
    """Bias and activation come after the sum of the parts."""
    k = 1608
    x, w = operands(way, (tokens, k), (n, k))
    bias = reference.random(n, seed=2)
    kind = WAYS[way][0]
    xt, wt, yt = (bf16.tensor(shape, kind) for shape in (x.shape, w.shape, (tokens, n)))
    (y,) = emulate(
        way,
        f"%u = nn.linear %x, %w bias(%b : tensor<{n}xf32>) : {xt}, {wt} -> {yt}\n%y = nn.activation relu %u : {yt}",
        [("x", x, kind == "bf16"), ("w", w, kind == "bf16"), ("b", bias, False)],
        [("y", (tokens, n), kind == "bf16")],
    )
    size = np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(bias)
    expected = np.maximum(x.astype(np.float64) @ w.T + bias, 0.0)
    bf16.close(y, expected, kind == "bf16", arithmetic=1e-6, size=size)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tokens, rows, columns, rank", [(1603, 72, 136, 3), (2048, 128, 64, 8)])
def test_lowrank_accumulate(way, tokens, rows, columns, rank):
    """Parts of the tokens give partials as tiles do: G = dY^T X, dU = G V^T, dV = U^T G."""
    dy, x = operands(way, (tokens, rows), (tokens, columns))
    w, u, v = (
        reference.random(*shape, seed=seed)
        for seed, shape in enumerate([(rows, columns), (rows, rank), (rank, columns)], 2)
    )
    kind = WAYS[way][0]
    types = [bf16.tensor(matrix.shape, "f32") for matrix in (w, u, v)]
    text = "pst.criterion @sum(%w: dense, %uv: lowrank) {\n%s = arith.addf %w, %uv : f32\npst.yield weight %s\n}\n"
    text += bf16.function(
        f"%du, %dv = pst.lowrank_accumulate %dy, %x, @sum(%w, %u, %v) wrt [1, 2] : {bf16.tensor(dy.shape, kind)}, "
        f"{bf16.tensor(x.shape, kind)}, ({', '.join(types)}) -> {types[1]}, {types[2]}",
        [("dy", dy, kind == "bf16"), ("x", x, kind == "bf16"), ("w", w, False), ("u", u, False), ("v", v, False)],
        [("du", u.shape, False), ("dv", v.shape, False)],
    )
    function = pst.compile(text, target="emulated", **WAYS[way][1])
    du, dv = reference.call(function, dy, x, w, u, v)
    g, size = dy.T.astype(np.float64) @ x, np.abs(dy).T.astype(np.float64) @ np.abs(x)
    bf16.close(du, g @ v.T, narrow=False, arithmetic=1e-6, size=size @ np.abs(v).T)
    bf16.close(dv, u.T @ g, narrow=False, arithmetic=1e-6, size=np.abs(u).T @ size)
