# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products of f32 on the tensor cores where --precision=tf32 asks for it, run by the emulator against float64.

tf32 has 10 bits of mantissa: an operand that is rounded to nearest errs by at
most 2^-11 of itself, a product of two by 2^-10 and a little. The products
themselves are exact, and summed in f32: against operands rounded here, nothing
but that sum's error is allowed.
"""

import bf16
import nn_reference as reference
import numpy as np
import pytest

import pst

pytestmark = pytest.mark.usefixtures("recorded_checks")

ROUNDING = 2.0**-10 + 2.0**-22
SUM = 1e-6  # of f32


def rounded(array):
    """The nearest numbers of tf32, ties away from zero."""
    bits = array.view(np.uint32).astype(np.uint64) + 0x1000
    return (bits & 0xFFFFE000).astype(np.uint32).view(np.float32)


def emulate(text, arch, *arguments, precision="tf32"):
    return reference.call(pst.compile(text, target="emulated", gpu_arch=arch, precision=precision), *arguments)


def check(actual, product, arrays):
    """`product` of the arrays, to which the first are those that are rounded."""
    size = product(*(np.abs(array).astype(np.float64) for array in arrays))
    exact = product(*(array.astype(np.float64) for array in arrays))
    of_rounded = product(*(rounded(array).astype(np.float64) for array in arrays))
    reference.close(actual, of_rounded, SUM, size=size)
    reference.close(actual, exact, ROUNDING + SUM, size=size)
    return exact, size


def product_text(m, n, k, form):
    flags = {"NT": "transpose_rhs", "NN": "", "TN": "transpose_lhs"}[form]
    a = bf16.tensor((k, m) if form == "TN" else (m, k), "f32")
    b = bf16.tensor((n, k) if form == "NT" else (k, n), "f32")
    c = bf16.tensor((m, n), "f32")
    return f"""func.func @main(%a: {a}, %b: {b}) -> {c} {{
  %c = nn.matmul %a, %b {{{flags}}} : {a}, {b} -> {c}
  return %c : {c}
}}"""


# Rows whose length is a multiple of 4, 2 and 1 elements are copied by 16, 8 and 4 bytes; tiles and steps of k whole
# and not; k shorter than the pipeline.
SHAPES = [(1, 8, 5), (64, 128, 96), (72, 136, 84), (66, 70, 65), (65, 67, 33)]


@pytest.mark.parametrize("m, n, k", SHAPES)
@pytest.mark.parametrize("form", ["NT", "NN", "TN"])
def test_product(m, n, k, form):
    a, b = reference.random(m, k), reference.random(k, n, seed=1)
    arguments = np.ascontiguousarray(a.T) if form == "TN" else a, np.ascontiguousarray(b.T) if form == "NT" else b
    (c,) = emulate(product_text(m, n, k, form), "sm_90a" if form == "NN" else "sm_80", *arguments)
    check(c, np.matmul, (a, b))


@pytest.mark.parametrize("m, n, form", [(1410, 1416, "NN"), (1410, 700, "TN")])
def test_large_tiles(m, n, form):
    """Of 128 x 128 and x 64."""
    test_product(m, n, 20, form)


def test_only_where_asked():
    a, b = reference.random(70, 500), reference.random(500, 60, seed=1)
    exact, size = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    text = product_text(70, 60, 500, "NN")
    (wide,) = emulate(text, "sm_90a", a, b, precision="f32")
    (rounded_too,) = emulate(text, "sm_90a", a, b)
    reference.close(wide, exact, SUM, size=size)
    assert np.abs(rounded_too - exact).max() > 30 * np.abs(wide - exact).max()


def test_what_is_no_number():
    """Infinities and NaNs stay what they are; what rounds up to 2^128 is infinite."""
    a = np.array([[np.inf, -np.inf, np.nan, np.float32(3.4028235e38), 1e-40]], np.float32).T
    (c,) = emulate(product_text(5, 1, 1, "NN"), "sm_80", np.ascontiguousarray(a), np.ones((1, 1), np.float32))
    assert c[0] == np.inf and c[1] == -np.inf and np.isnan(c[2]) and c[3] == np.inf and abs(c[4]) <= 1.1e-40


@pytest.mark.parametrize("tokens, n, m", [(37, 74, 45), (70, 24, 64)])
def test_epilogue(tokens, n, m):
    x, w, bias = reference.random(tokens, m), reference.random(n, m, seed=1), reference.random(n, seed=2)
    xt, wt, yt = (bf16.tensor(shape, "f32") for shape in (x.shape, w.shape, (tokens, n)))
    text = f"""func.func @main(%x: {xt}, %w: {wt}, %b: tensor<{n}xf32>) -> {yt} {{
  %u = nn.linear %x, %w bias(%b : tensor<{n}xf32>) : {xt}, {wt} -> {yt}
  %y = nn.activation relu %u : {yt}
  return %y : {yt}
}}"""
    (y,) = emulate(text, "sm_80", x, w, bias)
    size = np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(bias)
    of_rounded = rounded(x).astype(np.float64) @ rounded(w).T + bias
    reference.close(y, np.maximum(of_rounded, 0.0), SUM, size=size)


@pytest.mark.parametrize("tokens, n, m", [(70, 66, 65), (130, 200, 64)])
def test_a_weight_of_bf16(tokens, n, m):
    """It is widened, and has no more digits than tf32."""
    x, w = reference.random(tokens, m), bf16.rounded(reference.random(n, m, seed=1))
    xt, wt, yt = (bf16.tensor(shape, "f32") for shape in (x.shape, w.shape, (tokens, n)))
    narrow = bf16.tensor(w.shape, "bf16")
    text = f"""func.func @main(%x: {xt}, %w_f32: {wt}) -> {yt} {{
  %w = arith.truncf %w_f32 : {wt} to {narrow}
  %y = nn.linear %x, %w : {xt}, {narrow} -> {yt}
  return %y : {yt}
}}"""
    (y,) = emulate(text, "sm_90a", x, w)
    exact = check(y, lambda a, b: a @ b.T, (x, w))[0]
    (wide,) = emulate(text, "sm_90a", x, w, precision="f32")
    assert np.abs(y - exact).max() > 30 * np.abs(wide - exact).max()


@pytest.mark.parametrize("tokens, rows, columns, rank", [(40, 1410, 700, 4), (70, 67, 130, 3), (1536, 70, 67, 5)])
def test_lowrank_accumulate(tokens, rows, columns, rank):
    """G = dY^T X of tf32, in tiles of 128 x 64, of 64 x 64, and in parts of the tokens; its folds stay f32."""
    dy, x = reference.random(tokens, rows), reference.random(tokens, columns, seed=1)
    w, u, v = (
        reference.random(*shape, seed=seed)
        for seed, shape in enumerate([(rows, columns), (rows, rank), (rank, columns)], 2)
    )
    arrays = {"dy": dy, "x": x, "w": w, "u": u, "v": v}
    t = {name: bf16.tensor(array.shape, "f32") for name, array in arrays.items()}
    text = f"""pst.criterion @sum(%w: dense, %uv: lowrank) {{
  %s = arith.addf %w, %uv : f32
  pst.yield weight %s
}}
func.func @main({", ".join(f"%{name}: {t[name]}" for name in t)}) -> ({t["u"]}, {t["v"]}) {{
  %du, %dv = pst.lowrank_accumulate %dy, %x, @sum(%w, %u, %v) wrt [1, 2] :
    {t["dy"]}, {t["x"]}, ({t["w"]}, {t["u"]}, {t["v"]}) -> {t["u"]}, {t["v"]}
  return %du, %dv : {t["u"]}, {t["v"]}
}}"""
    du, dv = emulate(text, "sm_90a", *arrays.values())
    g = rounded(dy).T.astype(np.float64) @ rounded(x)
    size = np.abs(dy).T.astype(np.float64) @ np.abs(x)
    reference.close(du, g @ v.T, SUM, size=size @ np.abs(v).T)
    reference.close(dv, u.T @ g, SUM, size=np.abs(u).T @ size)
