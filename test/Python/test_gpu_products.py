# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Products of bf16 by mma.sync, run by the emulator against float64.

The emulator's tensor cores are written from the PTX ISA's tables
(lib/Emulator/WarpModel.h). Products on other paths: test_kernels_products.py,
test_kernels_bf16.py.
"""

import bf16
import nn_reference as reference
import numpy as np
import pytest

import pst

pytestmark = pytest.mark.usefixtures("recorded_checks")


def narrow(*shape, seed=0):
    return bf16.rounded(reference.random(*shape, seed=seed))


def emulate(body, arguments, results):
    text = bf16.function(body, arguments, results)
    function = pst.compile(text, target="emulated", gpu_arch="sm_80")
    return reference.call(function, *(value for _, value, _ in arguments))


# Rows whose length is a multiple of 8, 4, 2 and 1 elements are copied by 16, 8,
# 4 and 2 bytes; tiles and steps of k whole and not; k shorter than the pipeline.
SHAPES = [(1, 8, 5), (64, 128, 96), (72, 136, 168), (68, 60, 100), (66, 70, 130), (65, 67, 33)]


@pytest.mark.parametrize("m, n, k", SHAPES)
@pytest.mark.parametrize("form", ["NT", "NN", "TN"])
def test_product(m, n, k, form):
    a, b = narrow(m, k), narrow(k, n, seed=1)
    expected, size = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    flags = {"NT": "transpose_rhs", "NN": "", "TN": "transpose_lhs"}[form]
    a = np.ascontiguousarray(a.T) if form == "TN" else a
    b = np.ascontiguousarray(b.T) if form == "NT" else b
    types = [bf16.tensor(matrix.shape, "bf16") for matrix in (a, b)]
    wide, rounded = emulate(
        f"%c = nn.matmul %a, %b {{{flags}}} : {types[0]}, {types[1]} -> {bf16.tensor((m, n), 'f32')}\n"
        f"%d = nn.matmul %a, %b {{{flags}}} : {types[0]}, {types[1]} -> {bf16.tensor((m, n), 'bf16')}",
        [("a", a, True), ("b", b, True)],
        [("c", (m, n), False), ("d", (m, n), True)],
    )
    bf16.close(wide, expected, narrow=False, arithmetic=1e-6, size=size)
    np.testing.assert_array_equal(rounded, bf16.rounded(wide))


@pytest.mark.parametrize("tokens, n, m", [(37, 74, 45), (70, 24, 64)])
def test_epilogue(tokens, n, m):
    """Bias and activation of a product, stored in pairs and one by one."""
    x, w, bias = narrow(tokens, m), narrow(n, m, seed=1), reference.random(n, seed=2)
    y_type = bf16.tensor((tokens, n), "bf16")
    (y,) = emulate(
        f"%u = nn.linear %x, %w bias(%b : tensor<{n}xf32>) : {bf16.tensor(x.shape, 'bf16')}, "
        f"{bf16.tensor(w.shape, 'bf16')} -> {y_type}\n%y = nn.activation relu %u : {y_type}",
        [("x", x, True), ("w", w, True), ("b", bias, False)],
        [("y", (tokens, n), True)],
    )
    size = np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(bias)
    bf16.close(y, np.maximum(x.astype(np.float64) @ w.T + bias, 0.0), arithmetic=1e-6, size=size)


@pytest.mark.parametrize("m, n", [(1410, 1416), (1410, 700)])
def test_large_tiles(m, n):
    """Enough of them for tiles of 128 x 128 and x 64, in an order of bands whose last is lower."""
    k = 40
    a, b = narrow(m, k), narrow(n, k, seed=1)
    types = [bf16.tensor(matrix.shape, "bf16") for matrix in (a, b)]
    text = bf16.function(
        f"%c = nn.matmul %a, %b {{transpose_rhs}} : {types[0]}, {types[1]} -> {bf16.tensor((m, n), 'f32')}",
        [("a", a, True), ("b", b, True)],
        [("c", (m, n), False)],
    )
    c = pst.compile(text, target="emulated", gpu_arch="sm_80")(a, b)
    size = np.abs(a).astype(np.float64) @ np.abs(b).T
    bf16.close(c, a.astype(np.float64) @ b.T, narrow=False, arithmetic=1e-6, size=size)


@pytest.mark.parametrize("tokens, rows, columns, rank", [(40, 1410, 700, 4), (70, 67, 130, 3), (1536, 70, 67, 5)])
def test_lowrank_accumulate(tokens, rows, columns, rank):
    """G = dY^T X with factors, in tiles of 128 x 64, of 64 x 64, and in three parts of the tokens:
    dU = G V^T, dV = U^T G."""
    dy, x = narrow(tokens, rows), narrow(tokens, columns, seed=1)
    w, u, v = (
        reference.random(*shape, seed=seed)
        for seed, shape in enumerate([(rows, columns), (rows, rank), (rank, columns)], 2)
    )
    types = [bf16.tensor(matrix.shape, "f32") for matrix in (w, u, v)]
    text = "pst.criterion @sum(%w: dense, %uv: lowrank) {\n%s = arith.addf %w, %uv : f32\npst.yield weight %s\n}\n"
    text += bf16.function(
        f"%du, %dv = pst.lowrank_accumulate %dy, %x, @sum(%w, %u, %v) wrt [1, 2] : {bf16.tensor(dy.shape, 'bf16')}, "
        f"{bf16.tensor(x.shape, 'bf16')}, ({', '.join(types)}) -> {types[1]}, {types[2]}",
        [("dy", dy, True), ("x", x, True), ("w", w, False), ("u", u, False), ("v", v, False)],
        [("du", u.shape, False), ("dv", v.shape, False)],
    )
    du, dv = reference.call(pst.compile(text, target="emulated", gpu_arch="sm_80"), dy, x, w, u, v)
    g, size = dy.T.astype(np.float64) @ x, np.abs(dy).T.astype(np.float64) @ np.abs(x)
    bf16.close(du, g @ v.T, narrow=False, arithmetic=1e-6, size=size @ np.abs(v).T)
    bf16.close(dv, u.T @ g, narrow=False, arithmetic=1e-6, size=np.abs(u).T @ size)


DENSE = "pst.criterion @dense(%w: dense) {\n  pst.yield weight %w\n}\n"


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("tokens, n, m, length", [(37, 74, 45, 37), (132, 200, 64, 11), (40, 64, 2048, 8)])
@pytest.mark.parametrize("narrow_type", ["bf16", "f32"])
def test_dropout_and_residual_in_a_products_epilogue(tokens, n, m, length, arch, narrow_type):
    """By mma.sync, wgmma and multiply-adds, with k in parts, against what nn.dropout and NumPy say."""
    is_narrow = narrow_type == "bf16"
    make = narrow if is_narrow else reference.random
    x, w, r, bias = make(tokens, m), make(n, m, seed=1), make(tokens, n, seed=2), reference.random(n, seed=3)
    probability, seed, site = 0.25, 12345, 6
    x_type, w_type, y_type = (bf16.tensor(value.shape, narrow_type) for value in (x, w, r))
    body = (
        f"%y = pst.masked_matmul %x, @dense(%w) bias(%b) dropout(%seed) probability {probability} site {site} length {length} addend(%r)\n"
        f"  : {x_type}, ({w_type}) bias tensor<{n}xf32> addend {y_type} -> {y_type}"
    )
    arguments = [("x", x, is_narrow), ("w", w, is_narrow), ("b", bias, False), ("r", r, is_narrow), ("seed", "i64")]
    text = DENSE + bf16.function(body, arguments, [("y", (tokens, n), is_narrow)])
    (y,) = reference.call(pst.compile(text, target="emulated", gpu_arch=arch), x, w, bias, r, seed)
    keep = reference.kept(seed, site, probability, (tokens, n), length)
    product = x.astype(np.float64) @ w.T.astype(np.float64) + bias
    assert 0.5 < keep.mean() < 0.9
    size = (np.abs(x).astype(np.float64) @ np.abs(w).T + np.abs(bias)) / (1 - probability) + np.abs(r)
    bf16.close(y, np.where(keep, product / (1 - probability), 0) + r, narrow=is_narrow, arithmetic=1e-6, size=size)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("tokens, n, m, kind", [(37, 75, 45, "tanh"), (132, 200, 64, "gelu"), (40, 64, 2048, "gelu_tanh")])
@pytest.mark.parametrize("narrow_type", ["bf16", "f32"])
def test_activation_and_its_gradient_in_a_products_epilogue(tokens, n, m, kind, arch, narrow_type):
    """What an activation is applied to is kept beside its result, and another product is multiplied by
    its derivative, beside the activation; behind nothing, and behind all else that a product does."""
    is_narrow = narrow_type == "bf16"
    make = narrow if is_narrow else reference.random
    x, w, r, bias = make(tokens, m), make(n, m, seed=1), make(tokens, n, seed=2), reference.random(n, seed=3)
    w, bias = w * np.float32(2.0**-5), bias * np.float32(0.5)  # where activations bend
    probability, seed, site = 0.25, 12345, 6
    x_type, w_type, y_type = (bf16.tensor(value.shape, narrow_type) for value in (x, w, r))
    rest = f"bias(%b) dropout(%seed) probability {probability} site {site} addend(%r)"
    types = f": {x_type}, ({w_type})"
    body = (
        f"%a, %z = pst.masked_matmul %x, @dense(%w) activation {kind} {types} -> {y_type} kept {y_type}\n"
        f"%c, %y = pst.masked_matmul %x, @dense(%w) {rest} activation {kind} {types}"
        f" bias tensor<{n}xf32> addend {y_type} -> {y_type} kept {y_type}\n"
        f"%d = pst.masked_matmul %x, @dense(%w) activation {kind} derivative_at(%r) {types} derivative_at {y_type} -> {y_type}\n"
        f"%e, %f = pst.masked_matmul %x, @dense(%w) addend(%r) activation {kind} derivative_at(%r) {types}"
        f" addend {y_type} derivative_at {y_type} -> {y_type} kept {y_type}"
    )
    arguments = [("x", x, is_narrow), ("w", w, is_narrow), ("b", bias, False), ("r", r, is_narrow), ("seed", "i64")]
    results = [(name, (tokens, n), is_narrow) for name in "azcydef"]
    text = DENSE + bf16.function(body, arguments, results)
    a, z, c, y, d, e, f = reference.call(pst.compile(text, target="emulated", gpu_arch=arch), x, w, bias, r, seed)
    product, size = x.astype(np.float64) @ w.T, np.abs(x).astype(np.float64) @ np.abs(w).T
    keep = reference.kept(seed, site, probability, (tokens, n))
    total = np.where(keep, (product + bias) / (1 - probability), 0) + r
    total_size = (size + np.abs(bias)) / (1 - probability) + np.abs(r)
    at = reference.double(r)
    slope = reference.gradients(reference.activation(kind, at[0]), at, np.ones_like(r))[0].numpy()
    for found, expected, sizes in [
        (z, product, size),
        (a, reference.activation(kind, reference.double(product)[0]), 1.2 * size + 1),
        (y, total, total_size),
        (c, reference.activation(kind, reference.double(total)[0]), 1.2 * total_size + 1),
        (d, product * slope, 1.2 * size + np.abs(product)),
        (e, (product + r) * slope, 1.2 * (size + np.abs(r)) + np.abs(product)),
        (f, reference.activation(kind, at[0]), 1 + np.abs(r)),
    ]:
        bf16.close(found, expected, narrow=is_narrow, arithmetic=1e-6, size=sizes)
